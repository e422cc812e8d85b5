"""asdkit-detect where there is nothing but what tools/detect-requirements.txt names."""

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "pydantic", "sklearn", "kaldiio", "tqdm", "yaml", "scipy")


def named(text):
    return re.match(r"[A-Za-z0-9._-]+", text.strip())[0]


def needed():
    """The packages of the list and what they need themselves."""
    lines = (ROOT / "tools/detect-requirements.txt").read_text().splitlines()
    wanted, found = [named(line) for line in lines if line and line[0] != "#"], {}
    while wanted:
        name = wanted.pop().lower()
        if name not in found:
            found[name] = distribution(name)
            wanted += [named(text) for text in found[name].requires or () if "extra ==" not in text]
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A folder of packages for `python -S`, which knows no other."""
    folder = tmp_path_factory.mktemp("alone")
    try:
        packages = needed()
    except PackageNotFoundError as error:
        pytest.skip(f"{error} is not installed")
    for package in packages.values():
        tops = {
            Path(file.parts[0]) for file in package.files if ".." not in file.parts and "__pycache__" not in file.parts
        }
        for top in tops:
            if not (folder / top).exists():
                (folder / top).symlink_to(package.locate_file(top))
    (folder / "asdkit").symlink_to(ROOT / "asdkit")
    return folder


def run(alone, *args, **options):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(alone), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-S", *args], env=environment, capture_output=True, text=True, **options)


def test_it_starts_without_anything_heavy(alone):
    assert run(alone, "-c", "import torch").returncode == 1
    done = run(alone, "-m", "asdkit.bin.detect", "--help")
    assert done.returncode == 0 and "asdkit.bin.export_detector" in done.stdout
    listed = "import sys, asdkit.bin.detect, asdkit.monitor.output, asdkit.monitor.detector; print(*sys.modules)"
    done = run(alone, "-c", listed)
    assert done.returncode == 0, done.stderr
    assert not {name.partition(".")[0] for name in done.stdout.split()} & set(HEAVY)
