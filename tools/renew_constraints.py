#!/usr/bin/env python3
"""Write constraints.txt: the versions that an installation of today gets, on each Python.

    tools/renew_constraints.py python3.10 python3.11 python3.12 python3.13

Asks the pip (22.2 or newer) of each interpreter what it would install, and installs nothing. Where the answers differ,
lines carry a marker; a Python that is newer than those named takes the newest one's versions.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = "test,dev,tensorboard,hf,files,report,export,mqtt"
HEADER = f"""# Versions that asdkit is tested with and that make installs. To renew them: CONTRIBUTING.md, 'Versions'.
# Made for .[{EXTRAS}] on Linux by tools/renew_constraints.py.
"""


def resolve(python: str) -> tuple[tuple[int, int], dict[str, str]]:
    """The interpreter's version and what its pip would install: normalised name -> version without its local part."""
    command = [python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    answer = subprocess.run([*command, f"{ROOT}[{EXTRAS}]"], stdout=subprocess.PIPE, text=True, check=True).stdout
    report = json.loads(answer)
    major, minor = report["environment"]["python_version"].split(".")
    found = {}
    for package in report["install"]:
        name = re.sub(r"[-_.]+", "-", package["metadata"]["name"]).lower()
        found[name] = package["metadata"]["version"].partition("+")[0]
    del found["asdkit"]
    return (int(major), int(minor)), found


def lines(name: str, versions: dict[tuple[int, int], str]) -> list[str]:
    """The lines of one package: one for each run of Pythons that agree."""
    starts = [python for python in sorted(versions) if not _agrees(python, versions)]
    if len(starts) == 1:
        return [f"{name}=={versions[starts[0]]}"]
    made = []
    for number, start in enumerate(starts):
        low, high = _text(start), _text(starts[number + 1]) if number + 1 < len(starts) else None
        markers = [f'python_version >= "{low}"'] if number else []
        markers += [f'python_version < "{high}"'] if high else []
        made.append(f"{name}=={versions[start]} ; {' and '.join(markers)}")
    return made


def _agrees(python: tuple[int, int], versions: dict[tuple[int, int], str]) -> bool:
    before = [other for other in versions if other < python]
    return bool(before) and versions[max(before)] == versions[python]


def _text(python: tuple[int, int]) -> str:
    return ".".join(map(str, python))


def main(pythons: list[str]) -> None:
    """Resolve for each interpreter and write the file."""
    if not pythons:
        sys.exit("Usage: tools/renew_constraints.py PYTHON...")
    table: dict[str, dict[tuple[int, int], str]] = {}
    for python in pythons:
        version, found = resolve(python)
        for name, number in found.items():
            table.setdefault(name, {})[version] = number
    text = HEADER + "".join(f"{line}\n" for name in sorted(table) for line in lines(name, table[name]))
    temporary = ROOT / "constraints.txt.tmp"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(ROOT / "constraints.txt")


if __name__ == "__main__":
    main(sys.argv[1:])
