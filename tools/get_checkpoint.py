#!/usr/bin/env python3
"""Gets published weights of an encoder: tells their licence, fetches and checks them.

    .venv/bin/python tools/get_checkpoint.py --list
    .venv/bin/python tools/get_checkpoint.py ced_base [NAME ...]

They come to pretrained/<name> beside this folder, whatever the working directory, or to another folder by --out.
`encoder.checkpoint` then names the file, or the folder of a hub's. Interrupted: the same command goes on.
"""

import logging
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from asdkit.fetch.published import PUBLISHED  # noqa: E402
from asdkit.fetch.weights import Servers, describe, get, state  # noqa: E402
from asdkit.utils import cli  # noqa: E402
from asdkit.utils.files import readable  # noqa: E402


def main(argv: list[str] | None = None) -> None:
    """List what there is, or get what is named, each after its licence is told."""
    parser = cli.parser("Get published weights: tells the licence, fetches, checks, keeps the SHA-256.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to get; --list shows all")
    parser.add_argument("--list", action="store_true", help="show what there is, fetch nothing")
    parser.add_argument("--out", type=Path, default=ROOT / "pretrained", help="folder that gets a folder for each")
    parser.add_argument("--records", default=Servers.records, help="REST interface of records")
    parser.add_argument("--hub", default=Servers.hub, help="server of the hub")
    args = parser.parse_args(argv)
    if args.list:
        print("\n".join(_table(args.out)))
        return
    if not args.names:
        raise ValueError("name what to get; --list shows what there is")
    if unknown := [name for name in args.names if name not in PUBLISHED]:
        raise ValueError(f"no weights {unknown[0]!r}. There are: {', '.join(PUBLISHED)}")
    for name in args.names:
        entry = PUBLISHED[name]
        print("\n".join(describe(entry)), flush=True)
        path = get(entry, args.out / name, Servers(args.records.rstrip("/"), args.hub.rstrip("/")))
        print(f"{name}: complete. --set encoder.name={entry.encoder} --set encoder.checkpoint={path.absolute()}")


def _table(out: Path) -> list[str]:
    rows = [("name", "encoder", "about", "licence", "got", "from")]
    for one in PUBLISHED.values():
        size = readable(one.megabytes * 1e6) if one.megabytes else "-"
        place = f"{one.browser} (with a browser)" if one.browser else one.source()
        rows.append((one.name, one.encoder, size, one.licence, state(out / one.name), place))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


if __name__ == "__main__":
    logging.captureWarnings(True)
    cli.run(main)
