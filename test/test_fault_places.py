"""Recordings, disks and clocks that change while stages run: an error that names the file, or the same results."""

import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from fault_files import Chain, after, in_a_child, results

from asdkit.signals.audio import AudioReader

SEED = "exp/x/seed0"


@pytest.fixture(scope="module", params=["raw", pytest.param("fbank", marks=pytest.mark.long)])
def chain(tmp_path_factory, request):
    """Stages as they ran undisturbed, on a disk of its own, which can be full; skips where none can be mounted."""
    before, root = os.getcwd(), tmp_path_factory.mktemp("disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", root], capture_output=True).returncode:
        pytest.skip("a file system can be mounted by root alone")
    try:
        yield Chain(root, request.param, others=False)
    finally:
        os.chdir(before)
        subprocess.run(["umount", "--lazy", root], check=True)


def hooked(change, nth):
    """Call `change` with the path of the recording that is read, before the read of number `nth`."""
    read, count = AudioReader.read, [0]

    def counted(self, path, *words, **options):
        count[0] += 1
        if count[0] == nth:
            change(Path(path))
        return read(self, path, *words, **options)

    AudioReader.read = counted


def vanish(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    """Another sound of the same name and size."""
    held = path.read_bytes()
    path.write_bytes(held[:-20] + bytes(20))


def disturbed(chain, number, change, nth):
    """Stages after `number`, with a change in their reading; what was there is put back: (outcome, last words)."""
    chain.restore(number)
    kept = chain.root.parent / "recordings"
    shutil.copytree(chain.root / "mini", kept)

    def work():
        hooked(change, nth)
        after(number)

    try:
        return in_a_child(work)
    finally:
        shutil.rmtree(chain.root / "mini")
        shutil.move(kept, chain.root / "mini")


def reading_stages(chain):
    """The stages before those that read recordings: training and embedding, or making features."""
    return [2, 3] if "feats_type: raw" in (chain.root / "x.yaml").read_text() else [1]


@pytest.mark.parametrize(
    ("change", "nth"),
    [
        (vanish, 7),
        (replace, 7),
        pytest.param(vanish, 1, marks=pytest.mark.long),
        pytest.param(replace, 1, marks=pytest.mark.long),
    ],
)
def test_a_recording_that_changes_while_it_is_used(chain, change, nth):
    for number in reading_stages(chain):
        outcome, told = disturbed(chain, number, change, nth)
        assert outcome == "error" and ".wav" in told, (number, outcome, told)
        # put back, the same command makes what it should
        assert in_a_child(lambda number=number: after(number)) == ("", "")
        assert results(chain.root) == chain.whole


@pytest.mark.long
@pytest.mark.parametrize("seed", range(6))
def test_a_disk_that_is_full_at_any_moment(chain, seed):
    rng = random.Random(seed)
    number = rng.randrange(1, 6)
    chain.restore(number)
    size = sum(path.stat().st_size for path in chain.root.rglob("*") if path.is_file())
    left, ballast = rng.randrange(4096, max(8192, size // 4)), chain.root / "ballast"
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(chain.root).free - left))
    outcome, told = in_a_child(lambda: after(number))
    ballast.unlink()
    assert outcome in ("", "error"), told
    assert not outcome or "free" in told or "No space left" in told, told
    assert in_a_child(lambda: after(number)) == ("", "")
    assert results(chain.root) == chain.whole


@pytest.mark.parametrize("number", [pytest.param(1, marks=pytest.mark.long), 3])
def test_an_output_that_cannot_be_written(chain, number):
    chain.restore(number)
    subprocess.run(["mount", "-o", "remount,ro", chain.root.parent], check=True)
    try:
        outcome, told = in_a_child(lambda: after(number))
    finally:
        subprocess.run(["mount", "-o", "remount,rw", chain.root.parent], check=True)
    assert outcome == "error" and "Read-only file system" in told, told
    assert in_a_child(lambda: after(number)) == ("", "") and results(chain.root) == chain.whole


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long), pytest.param(2, marks=pytest.mark.long)])
def test_clocks_that_jump(chain, seed):
    """Times of files in 1970 and in years to come, and a clock that jumps by days."""
    rng, real = random.Random(seed), time.time
    chain.restore(number := rng.randrange(1, 5))
    for path in chain.root.rglob("*"):
        if path.is_file():
            moment = rng.choice([0, 1e9, real() + 1e8])
            os.utime(path, (moment, moment))

    def work():
        time.time = lambda: real() + rng.choice([-1e6, 0, 1e6])
        after(number)

    assert in_a_child(work) == ("", "")
    assert results(chain.root) == chain.whole
