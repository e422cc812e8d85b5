"""Pictures and sounds on the page: which clips, beside what, and what is said where something is not there."""

import io
import json
import os
import shutil
import zlib
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
from browser import Browser
from experiments import DIM, Experiment
from test_page import needs_browser, page_of, told

from asdkit.bin import report, score
from asdkit.config import KnnConfig
from asdkit.corpus.manifest import read_manifest, write_manifest
from asdkit.detectors.domains import PerDomain
from asdkit.page.pictures import BANDS, LOWEST, palette, picture, sound, spectrogram
from asdkit.utils.ark import read_ark, write_ark
from asdkit.utils.files import write_text

RATE = 16000
MARKUP = "a b/<!--<script>&amp;'\"#%41"  # a folder


def recorded(root, **options):
    """An experiment whose recordings are there: half a second of noise each."""
    experiment = Experiment(root, sets=("dev",), **options)
    text = (experiment.data / "dataset.yaml").read_text().replace("/corpus", str(root / "corpus"))
    write_text(experiment.data / "dataset.yaml", text)
    random = np.random.default_rng(5)
    for name in ("dev_train", "dev_test"):
        path = experiment.data / name / "manifest.tsv"
        rows = read_manifest(path)
        for i, row in enumerate(rows):
            row["wav"] = f"{MARKUP if i % 2 else 'plain'}/{row['wav']}"
            file = root / "corpus" / row["wav"]
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, 0.05 * random.normal(size=RATE // 2), RATE)
        write_manifest(path, rows)
    return experiment


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    experiment = recorded(tmp_path_factory.mktemp("clips"))
    return experiment, page_of(experiment, "--clips", "3")


def embedded(experiment, name):
    return read_ark(experiment.exp / "seed0" / "embed" / name / "embedding.ark")


def test_the_most_wrong_clips_beside_their_nearest_training_clips(made):
    experiment, page = made
    test, scores = page["sets"]["dev"], np.array(page["scores"][0]["clips"]["dev"])
    train, tests = embedded(experiment, "dev_train"), embedded(experiment, "dev_test")
    shown = page["media"]["sets"]["dev"]
    for machine in set(test["machine"]):
        own = [i for i, one in enumerate(test["machine"]) if one == machine]
        normal = sorted((i for i in own if test["condition"][i] == "normal"), key=lambda i: -scores[i])[:3]
        missed = sorted((i for i in own if test["condition"][i] == "anomaly"), key=lambda i: scores[i])[:3]
        assert {i for i in own if str(i) in shown} == {*normal, *missed}
        known = {utt: x / np.linalg.norm(x) for utt, x in train.items() if utt.startswith(f"{machine}-")}
        for i in (*normal, *missed):
            x = tests[test["utt"][i]] / np.linalg.norm(tests[test["utt"][i]])
            nearest = max(known, key=lambda utt: known[utt] @ x)
            near = shown[str(i)]["near"]
            assert near["utt"] == nearest and near["distance"] == pytest.approx(1 - known[nearest] @ x, abs=1e-6)
            assert near["distance"] == pytest.approx(scores[i], abs=1e-9)
            for file in (shown[str(i)]["picture"], shown[str(i)]["sound"], shown[str(i)]["difference"], near["sound"]):
                assert (experiment.exp / "report" / file).stat().st_size > 100
    assert json.dumps(page["media"], allow_nan=False)


def test_made_again_when_something_has_changed(tmp_path):
    experiment = recorded(tmp_path, machines=("fan",))
    page_of(experiment, "--clips", "2")

    def stamps():
        return {path.name: path.stat().st_mtime_ns for path in (experiment.exp / "report" / "clips").iterdir()}

    first = stamps()
    page_of(experiment, "--clips", "2", scored=False)
    assert stamps() == first
    page_of(experiment, "--clips", "1", scored=False)
    assert set(stamps()) < set(first)
    page = page_of(experiment, "--clips", "0", scored=False)
    assert page["media"] is None and not (experiment.exp / "report" / "clips").exists()
    page = page_of(experiment, "--clips", "all", scored=False)
    assert len(page["media"]["sets"]["dev"]) == 40
    before = stamps()
    file = tmp_path / "corpus" / read_manifest(experiment.data / "dev_test" / "manifest.tsv")[0]["wav"]
    soundfile.write(file, np.sin(np.arange(RATE // 2)), RATE)
    page_of(experiment, "--clips", "all", scored=False)
    assert stamps().keys() == before.keys() and stamps() != before


def test_what_is_not_there_is_said(tmp_path):
    experiment = recorded(tmp_path, machines=("fan",))
    (tmp_path / "corpus" / read_manifest(experiment.data / "dev_test" / "manifest.tsv")[3]["wav"]).unlink()
    page = page_of(experiment, "--clips", "all")
    faults = [one["fault"] for one in page["media"]["sets"]["dev"].values() if "fault" in one]
    assert len(faults) == 1 and "cannot be opened" in faults[0]
    shutil.rmtree(experiment.exp / "seed0" / "embed")
    page = page_of(experiment, scored=False)
    assert page["media"]["said"].startswith("No nearest training clips: ") and page["media"]["sets"]["dev"]
    assert not any("near" in one for one in page["media"]["sets"]["dev"].values())
    shutil.rmtree(tmp_path / "corpus")
    page_of(experiment, scored=False)


def test_scores_over_time_that_cannot_be_read_are_said(tmp_path):
    experiment = recorded(tmp_path, machines=("fan",))
    for name in ("dev_train", "dev_test"):
        (experiment.exp / "seed0" / "embed" / name / "embedding.chunks.ark").write_bytes(b"no archive")
    media = page_of(experiment, "--clips", "1")["media"]
    assert media["said"].startswith("No scores over time: ") and "embedding.chunks.ark" in media["said"]
    assert all("near" in one for one in media["sets"]["dev"].values())


@pytest.mark.parametrize("score_of", ["", ", per_domain: false, join: max", ", rescale: {kind: variance, k: 2}"])
def test_bands_make_up_the_score(tmp_path, score_of):
    experiment = recorded(tmp_path, machines=("fan",))
    arrays = "embed: {arrays: {bands: {pooling: mean, bands: true}}}\n"
    write_text(experiment.exp / "config.yaml", f"{arrays}score: {{bands: {{array: bands{score_of}}}}}\n")
    random = np.random.default_rng(2)
    for name in ("dev_train", "dev_test"):
        bands = {u: random.normal(size=(4, 8)).astype(np.float32) for u in experiment.utts(name)}
        write_ark(experiment.exp / "seed0" / "embed" / name / "bands.ark", bands)
    page = page_of(experiment, "--clips", "2")
    for i, one in page["media"]["sets"]["dev"].items():
        scores, value = one["bands"]["scores"], page["scores"][0]["clips"]["dev"][int(i)]
        assert len(scores) == 4 and len(one["bands"]["usual"]) == 4
        joined = max(scores) if one["bands"]["join"] == "max" else np.mean(scores)
        assert joined == pytest.approx(value, abs=1e-12), "of the domain that decides"
    assert "No scores over time" in page["media"]["said"]


def test_usual_in_a_band_is_what_training_clips_score_by_the_others(tmp_path):
    x = np.random.default_rng(4).normal(size=(20, 3, 8)).astype(np.float32)
    detector = PerDomain(KnnConfig(per_domain=False)).fit(x, ["source"] * 20)
    shown, own = detector.by_band(x[:5])
    for band in range(3):
        unit = x[:, band] / np.linalg.norm(x[:, band], axis=1, keepdims=True)
        distances = 1 - unit @ unit.T + 9 * np.eye(20)
        np.testing.assert_allclose(own[band], distances.min(axis=1), atol=1e-6)
    np.testing.assert_allclose(shown, 0, atol=1e-9)
    assert PerDomain(KnnConfig()).fit(x[:, 0], ["source"] * 20).by_band(x[:5, 0]) is None


def test_originals_are_linked_where_browsers_play_them(tmp_path):
    experiment = recorded(tmp_path)
    page = page_of(experiment, "--clips", "2", "--originals", "true")
    shown, folder = page["media"]["sets"]["dev"], experiment.exp / "report"
    assert len(shown) == 8 and not list((folder / "clips").glob("*.ogg"))
    found = [Path(os.path.normpath(folder / unquote(one["sound"]))) for one in shown.values()]
    assert all(path.is_relative_to(tmp_path / "corpus") and path.exists() for path in found)
    assert {one["gain_db"] for one in page["media"]["machines"].values()} == {0.0}
    fan = next(path for path in found if "fandev" in str(path))
    soundfile.write(fan, np.zeros(RATE // 2), RATE, subtype="DOUBLE")  # not in any browser
    media = page_of(experiment, "--clips", "2", "--originals", "true", scored=False)["media"]
    told = {name: one["originals"] for name, one in media["machines"].items()}
    assert told == {"dev\tfandev": False, "dev\tpumpdev": True}
    assert {one["sound"][:6] for one in media["sets"]["dev"].values()} == {"clips/", "../../"}
    with pytest.raises(ValueError, match="a single file does not hold: leave out"):
        page_of(experiment, "--originals", "true", "--single-file", "true", scored=False)


def test_distance_over_time_finds_the_chunk_that_is_odd(tmp_path):
    experiment = recorded(tmp_path, machines=("fan",))
    random, base = np.random.default_rng(1), np.eye(DIM, dtype=np.float32)[0]
    for name in ("dev_train", "dev_test"):
        chunks = {u: (base + 0.01 * random.normal(size=(5, DIM))).astype(np.float32) for u in experiment.utts(name)}
        if name == "dev_test":
            for one in chunks.values():
                one[3] = np.eye(DIM)[1]
        write_ark(experiment.exp / "seed0" / "embed" / name / "embedding.chunks.ark", chunks)
    over = [one["over"] for one in page_of(experiment, "--clips", "2")["media"]["sets"]["dev"].values()]
    assert over and all(int(np.argmax(one["distances"])) == 3 and one["distances"][3] > 0.9 for one in over)
    assert all(0 < one["usual"] < 0.01 and len(one["times"]) == 5 for one in over)


def test_a_tone_is_where_it_belongs():
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    drawn = spectrogram(tone, RATE)
    mel = np.log1p(np.array([LOWEST, 1000, RATE / 2]) / 700)
    expected = (mel[1] - mel[0]) / (mel[2] - mel[0]) * (BANDS + 1) - 1
    assert drawn.shape[0] == BANDS and abs(int(drawn.mean(axis=1).argmax()) - expected) <= 1
    assert drawn.max() == pytest.approx(20 * np.log10(0.5), abs=6)
    assert np.isfinite(spectrogram(np.zeros(100, np.float32), RATE)).all()
    assert spectrogram(np.zeros(60 * RATE, np.float32), RATE).shape[1] <= 400


def test_pictures_hold_their_values():
    values = np.linspace(0, 1, 12).reshape(3, 4)
    content = picture(values, 0, 1)
    assert content.startswith(b"\x89PNG\r\n\x1a\n") and content[16:24] == b"\0\0\0\4\0\0\0\3"
    start = content.index(b"IDAT")
    rows = zlib.decompress(content[start + 4 : start + 4 + int.from_bytes(content[start - 4 : start], "big")])
    steps = np.frombuffer(rows, np.uint8).reshape(3, 5)[:, 1:]
    assert (steps[::-1] == (values * 255).astype(np.uint8)).all()
    light = [0.2126 * r**2.2 + 0.7152 * g**2.2 + 0.0722 * b**2.2 for r, g, b in palette(False)]
    assert light == sorted(light), "a higher level is lighter, in print too"


def test_sounds_are_heard_as_they_were():
    random = np.random.default_rng(2)
    wav = (0.3 * np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE) + 0.01 * random.normal(size=3 * RATE)).astype(
        np.float32
    )
    content = sound(wav, RATE)
    again, rate = soundfile.read(io.BytesIO(content))
    assert rate == RATE and len(again) == len(wav) and len(content) < 60_000
    assert np.corrcoef(again, wav)[0, 1] > 0.99


@pytest.mark.parametrize("rate", [200, 8000, 48000, 256000])
def test_any_rate_is_heard(rate):
    wav = (0.5 * np.sin(2 * np.pi * 40 * np.arange(rate) / rate)).astype(np.float32)
    again, heard = soundfile.read(io.BytesIO(sound(wav, rate)))
    assert heard == min(max(rate, 8000), 96000) and len(again) == heard
    expected = 0.5 * np.sin(2 * np.pi * 40 * np.arange(heard) / heard)
    assert np.corrcoef(again, expected)[0, 1] > 0.98
    assert np.isfinite(spectrogram(wav, rate)).all()


def test_without_truth_the_highest_scores_are_shown(tmp_path):
    experiment = recorded(tmp_path, machines=("fan",))
    (experiment.data / "dev_test" / "ref.tsv").unlink()
    page = page_of(experiment, "--clips", "4")
    scores = np.array(page["scores"][0]["clips"]["dev"])
    assert {int(i) for i in page["media"]["sets"]["dev"]} == set(np.argsort(-scores)[:4].tolist())


def test_a_fusion_or_foreign_scores_have_no_neighbours(made):
    experiment, _ = made
    other = experiment.exp.parent / "foreign"
    shutil.copytree(experiment.exp / "seed0" / "score", other / "seed0" / "score")
    for path in other.rglob(".done*"):
        path.unlink()
    report.main(["--exp", str(other), "--data", str(experiment.data), "--clips", "1"])
    media = told(other)["media"]
    assert "no config.yaml" in media["said"] and len(media["sets"]["dev"]) == 4


@needs_browser
@pytest.mark.parametrize("single", ["false", "true"])
def test_clips_are_looked_at_and_listened_to(tmp_path, single):
    experiment = recorded(tmp_path, machines=("fan",))
    experiment.run(score)
    page_of(experiment, "--single-file", single, "--clips", "2", scored=False)
    folder = experiment.exp / "report"
    assert (folder / "clips").exists() == (single == "false")
    alone = tmp_path / "elsewhere <b>"
    alone.mkdir()
    shutil.copy(folder / "index.html", alone)
    with Browser(1100, 900) as browser:
        browser.open((alone if single == "true" else folder) / "index.html")
        browser.click("#table tbody button")
        drawn = "[...document.querySelectorAll('.picture img')].filter(i => i.complete && i.naturalWidth > 4)"
        browser.until(f"{drawn}.length === 3")
        playing = "document.getElementById('play').textContent === 'Pause'"
        at = "Number(document.getElementById('seek').value)"
        browser.click("#chain")
        browser.until(f"{playing} || {at} > 0")
        browser.until("document.querySelector('[data-play=near]').getAttribute('aria-pressed') === 'true'")
        browser.until(f"!({playing})")
        browser.click("[data-play=clip]")
        move = "s => { s.value = 0.2; s.dispatchEvent(new Event('input')); }"
        browser.run(f"({move})(document.getElementById('seek'))")
        assert browser.run(at) == pytest.approx(0.2, abs=0.02)
        browser.click("[data-play=near]")
        assert browser.run(at) == pytest.approx(0.2, abs=0.02), "the position stays"
        browser.run("document.getElementById('play').focus()")
        browser.key(" ", 32)
        browser.until(f"{at} > 0.25")
        assert browser.run("document.documentElement.scrollWidth") <= 1100
        assert not [error for error in browser.errors if "favicon" not in str(error)]
