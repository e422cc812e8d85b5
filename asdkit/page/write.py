"""report/index.html: one file that opens from disk, without a network."""

import html
import json
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

from asdkit.page.contents import contents
from asdkit.page.curves import curves, scores_over_steps
from asdkit.page.groups import add_groups
from asdkit.page.maps import add_maps
from asdkit.page.media import CLIPS, MARKER, add_media
from asdkit.report.published import System
from asdkit.utils.files import write_text

SCRIPTS = ("numbers.js", "draw.js", "clips.js", "maps.js", "inside.js", "compare.js", "page.js")
# In a script element text ends at what looks like its end tag, and two characters end lines for older readers.
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def make_page(
    exp: Path,
    results: dict[str, Any],
    systems: list[System],
    data: Path | None,
    clips: int | None,
    single: bool = False,
    originals: bool = False,
) -> None:
    """Write exp/<tag>/report: index.html and, unless `single`, pictures and sounds of clips in a folder beside it.

    results: from `report.results.over_seeds`; systems: published ones; data: what stage 1 wrote (None: nothing is told
    of single clips); clips: of each kind and machine (None: all, 0: none); originals: recordings are linked where they
    lie, as far as browsers play them. Raises ValueError for `originals` in a `single` file.
    """
    if single and originals:
        raise ValueError(
            "--originals true links recordings that a single file does not hold: leave out --originals or --single-file"
        )
    folder = exp / "report"
    told, files = gather(exp, results, systems, data), {}
    told["media"] = None
    if data and clips != 0 and told["scores"][0]["clips"]:
        files = add_media(told, exp, data, folder, clips, single, originals)
    if single or told["media"] is None:
        shutil.rmtree(folder / CLIPS, ignore_errors=True)
        (folder / MARKER).unlink(missing_ok=True)
    for test in told["sets"].values():
        del test["path"]
    write_page(folder / "index.html", told, files)


def gather(exp: Path, results: dict[str, Any], systems: list[System], data: Path | None) -> dict[str, Any]:
    """What the page shows but pictures and sounds, as `make_page` takes its arguments.

    What takes long is kept beside the page.
    """
    folder = exp / "report"
    told = contents(exp, results, systems, data, folder)
    told |= {"curves": curves(exp), "steps": scores_over_steps(exp)}
    told |= {"maps": None, "codes": None, "groups": "Without --data nothing is told of clips."}
    if data:
        add_maps(told, exp, data, folder)
        add_groups(told, exp, data, folder)
    return told


def write_page(path: Path, told: dict[str, Any], files: dict[str, str] | None = None) -> None:
    """Write the page.

    told: what it shows, from `contents`; files: those that are put into the page itself, name -> data URL (None:
    they lie beside it).
    """
    held = "".join(
        f'<script type="text/plain" data-file="{html.escape(name)}">{url}</script>\n'
        for name, url in (files or {}).items()
    )
    parts = {
        "title": html.escape(f"{told['tag']}: report"),
        "style": _part("page.css"),
        "data": _json(told),
        "media": held,
        "script": "\n".join(map(_part, SCRIPTS)),
    }
    text = _part("page.html")
    pieces = text.split("@")
    # An even piece is the page's own, an odd one names a part.
    write_text(path, "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces)))


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character, escape in ESCAPES.items():
        text = text.replace(character, escape)
    return text


def _part(name: str) -> str:
    return resources.files("asdkit.page").joinpath(name).read_text(encoding="utf-8")
