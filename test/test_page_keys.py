"""The page without a mouse, without motion, and in Firefox."""

import pytest
from browser import Browser
from firefox import FOUND as FIREFOX
from firefox import Firefox
from test_page import needs_browser, page_of
from test_page_clips import recorded

TAB = 9
FOCUS = "(e => e.id || e.dataset.play || (e.dataset.clip ? 'clip' : e.dataset.file) || e.textContent)"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    experiment = recorded(tmp_path_factory.mktemp("keys"), machines=("fan",))
    page_of(experiment, "--clips", "1", "--originals", "true")  # whose names hold quotes, brackets and spaces
    return experiment.exp / "report" / "index.html"


@needs_browser
def test_everything_is_reached_and_done_by_keys(page):
    with Browser(1100, 900, prefers_reduced_motion="reduce") as browser:
        browser.open(page)
        reached = []

        def tab_to(wanted):
            for _ in range(80):
                browser.key("Tab", TAB)
                reached.append(browser.run(f"{FOCUS}(document.activeElement)"))
                shown = "(e => { const b = e.getBoundingClientRect(); return b.width > 0 && b.height > 0; })"
                assert browser.run(f"{shown}(document.activeElement)"), f"{reached[-1]}: nobody sees where the focus is"
                if reached[-1] == wanted:
                    return
            raise AssertionError(f"{wanted} is not among {reached}")

        tab_to("handle")
        assert "Skip to the results" in reached and "pick-group" in reached
        before = browser.run("document.getElementById('handle').getAttribute('aria-valuetext')")
        browser.key("ArrowRight", 39)
        assert browser.run("document.getElementById('handle').getAttribute('aria-valuetext')") != before
        assert browser.run("document.activeElement.id") == "handle"
        outline = "getComputedStyle(document.querySelector('#handle circle')).strokeWidth"
        assert browser.run(outline) == "4px", "the focus is seen"
        tab_to("search")
        tab_to("clip")
        browser.run("document.activeElement.scrollIntoView({block: 'center'})")
        browser.key(" ", 32)
        browser.until("document.querySelectorAll('.picture img').length === 3")
        assert browser.run(f"{FOCUS}(document.activeElement)") == "clip", "the focus stays"
        tab_to("play")
        tab_to("near")
        browser.key(" ", 32)
        assert browser.run("document.activeElement.getAttribute('aria-pressed')") == "true"
        browser.run("document.getElementById('play').focus()")
        browser.key(" ", 32)
        browser.until("Number(document.getElementById('seek').value) > 0.1")
        motion = "getComputedStyle(document.documentElement).scrollBehavior"
        assert browser.run(motion) == "auto" and browser.run("document.getAnimations().length") == 0
        assert browser.errors == []
    with Browser() as browser:
        browser.open(page)
        assert browser.run(motion) == "smooth"


@pytest.mark.skipif(not FIREFOX, reason="needs Firefox (Debian: apt-get install firefox-esr)")
def test_firefox_shows_and_plays_it(page):
    with Firefox(1100, 900) as browser:
        browser.open(page)
        limit = "Number(document.getElementById('handle').getAttribute('aria-valuenow'))"
        before = browser.run(limit)
        browser.drag("#handle circle", 60)
        dragged = browser.run(limit)
        browser.key("\ue012")  # to the left
        assert before < browser.run(limit) < dragged
        browser.click("#table tbody button")
        browser.until("[...document.querySelectorAll('.picture img')].filter(i => i.naturalWidth > 4).length === 3")
        browser.click("#play")
        browser.until("Number(document.getElementById('seek').value) > 0.1")
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
