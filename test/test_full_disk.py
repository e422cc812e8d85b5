"""No room on the disk: one line that names the file, nothing half written, and what was there stays."""

import errno
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from asdkit.models.checkpoint import read_checkpoint, save_checkpoint
from asdkit.utils.ark import write_ark
from asdkit.utils.files import disk_full_told, write_text

LARGE = {
    "checkpoint": lambda path: save_checkpoint(path, {"weights": torch.zeros(100_000)}),
    "archive": lambda path: write_ark(path, {f"c{i}": np.ones(1000, np.float32) for i in range(100)}),
    "text": lambda path: write_text(path, "x" * 400_000),
}


@pytest.fixture
def small_files():
    """Files of this process cannot grow beyond 100 kB."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, old)
    signal.signal(signal.SIGXFSZ, before)


@pytest.fixture
def full(tmp_path):
    """A file system of 128 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a file system can be mounted by root alone")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def check(folder, what, words):
    path = folder / "x.pt"
    path.write_bytes(b"as it was")
    with pytest.raises(ValueError, match=rf"x.pt: cannot be written: .*{words}.* has \d+\.\d [MG]B free") as error:
        LARGE[what](path)
    assert "\n" not in str(error.value) and "goes on where it was" in str(error.value)
    assert [file.name for file in folder.iterdir()] == ["x.pt"] and path.read_bytes() == b"as it was"


@pytest.mark.parametrize("what", LARGE)
def test_a_write_that_is_cut_short_is_told(tmp_path, small_files, what):
    check(tmp_path, what, "cut short, as on a full disk" if what == "checkpoint" else "File too large")


@pytest.mark.parametrize("what", LARGE)
def test_a_full_disk_is_told(full, what):
    check(full, what, "cut short, as on a full disk" if what == "checkpoint" else "No space left on device")


def test_a_program_ends_with_one_line(tmp_path):
    code = (
        "import resource, signal, sys, torch\n"
        "from asdkit.models.checkpoint import save_checkpoint\nfrom asdkit.utils.cli import run\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, -1))\n"
        f"run(lambda argv: save_checkpoint({str(tmp_path / 'last.pt')!r}, {{'w': torch.zeros(10000)}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: {tmp_path}/last.pt: cannot be written")


def test_other_errors_stay_what_they_are(tmp_path):
    for error in (RuntimeError("shapes do not fit"), OSError(2, "No such file"), ValueError("x")):
        with pytest.raises(type(error)) as found, disk_full_told(tmp_path / "x"):
            raise error
        assert found.value is error
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        words = f"x: cannot be written: {os.strerror(number)}"
        with pytest.raises(ValueError, match=words), disk_full_told(tmp_path / "none/deeper/x"):
            raise OSError(number, os.strerror(number))
    save_checkpoint(tmp_path / "x.pt", {"a": 1})
    assert read_checkpoint(tmp_path / "x.pt")["a"] == 1
