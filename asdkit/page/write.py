"""report/index.html: one file that opens from disk, without a network."""

import html
import json
from importlib import resources
from pathlib import Path
from typing import Any

from asdkit.utils.files import write_text

SCRIPTS = ("numbers.js", "draw.js", "clips.js", "page.js")
# In a script element text ends at what looks like its end tag, and two characters end lines for older readers.
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


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
