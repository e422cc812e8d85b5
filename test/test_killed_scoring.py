"""Stage 5 killed at any file that it writes, and repeated: the bits of a run that was never killed."""

import shutil
import subprocess
import sys

import pytest
from corpora import ROOT
from experiments import Experiment

from asdkit.bin import score
from asdkit.utils.files import write_text

CONFIG = """embed: {arrays: {other: {pooling: mean}}}
score:
  density: {per_domain: false, rescale: {kind: variance, k: 2}}
  forest: {detector: iforest, n_estimators: 5}
  whitened: {distance: whitened, per_domain: false}
"""
KILLED = """
import os, signal, sys
from asdkit.bin import score
left, replace = int(sys.argv[1]), os.replace
def counted(*names):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*names)
os.replace = counted
score.main(sys.argv[2:])
"""


def made(experiment: Experiment) -> dict[str, bytes]:
    folder = experiment.exp / "seed0/score"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".tmp" and path.name != ".written"  # which holds times
    }


@pytest.mark.parametrize("files", [9, 20])
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, files):
    experiment = Experiment(tmp_path)
    write_text(experiment.exp / "config.yaml", CONFIG)
    options = ["--data", str(experiment.data), "--exp", str(experiment.exp)]
    code = subprocess.run([sys.executable, "-c", KILLED, str(files), *options], check=False, cwd=ROOT).returncode
    assert code == -9
    half = made(experiment)
    score.main(options)
    repeated = made(experiment)
    assert len(half) < len(repeated)
    shutil.rmtree(experiment.exp / "seed0/score")
    score.main(options)
    assert made(experiment) == repeated
