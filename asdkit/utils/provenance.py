"""Where a result comes from: git hash, versions, host, command line."""

import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from asdkit import __version__

PACKAGES = ("torch", "numpy", "scikit-learn", "kaldiio", "soundfile", "pydantic")


def git_hash() -> str:
    """The commit of this source tree, `-dirty` appended when tracked files differ from it, `unknown` outside git."""
    root = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(root), *arguments]  # no lock that a commit would meet
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def source() -> dict[str, str]:
    """What a result keeps of the code that made it: `asdkit`, the version, and `git`, the commit."""
    return {"asdkit": __version__, "git": git_hash()}


def environment() -> dict[str, str]:
    """Git hash, Python and package versions, host, working directory and command line; imports none of the packages."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        **source(),
        "python": platform.python_version(),
        **versions,
        "host": platform.node(),
        "system": platform.platform(),
        "folder": os.getcwd(),
        "command": shlex.join(sys.argv),
    }
