"""asdkit-detect where there is nothing but what tools/detect-requirements.txt names."""

import csv
import io
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import soundfile

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


@pytest.mark.long
def test_a_bundle_is_used_there_as_stage_5_scored(alone, tmp_path, test_data):
    """BLDC motors and a slide rail, some clips of each: scores and decisions, from files and from standard input."""
    pytest.importorskip("onnxscript")
    corpus, real = tmp_path / "corpus", test_data / "data/real"
    for machine, folder in (("motor", "bldc/dev_data/BLDCMotor"), ("slider", "dcase2020/dev_data/slider")):
        for split, every in (("train", 6), ("test", 13)):
            (corpus / machine / split).mkdir(parents=True)
            for path in sorted((real / folder / split).glob("*"))[::every]:
                (corpus / machine / split / path.name).symlink_to(path)
    out = tmp_path / "motors.asdkit"
    folders = ["--data", f"{tmp_path}/data", "--dump", f"{tmp_path}/dump", "--expdir", f"{tmp_path}/exp"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [ROOT / "egs/custom/run.sh", "--corpus", corpus, *folders, "--nj", "1"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    command = [sys.executable, "-m", "asdkit.bin.export_detector", "--exp", tmp_path / "exp/default", "--out", out]
    command += ["--precision", "float32"]
    subprocess.run(command, env=environment, check=True, cwd=ROOT)
    with open(tmp_path / "exp/default/seed0/score/knn/dev_test.csv") as file:
        stage5 = {row["file"]: row for row in csv.DictReader(file)}
    done = run(alone, "-m", "asdkit.bin.detect", out, corpus / "motor/test", corpus / "slider/test", "--tsv")
    assert done.returncode == 1, done.stderr
    found = list(csv.DictReader(io.StringIO(done.stdout), delimiter="\t"))
    assert len(found) == len(stage5) > 5 and {row["machine"] for row in found} == {"motor", "slider"}
    for row in found:
        wanted = stage5[str(Path(row["recording"]).relative_to(corpus))]
        assert abs(float(row["score"]) - float(wanted["anomaly_score"])) < 1e-4
        assert (float(row["score"]) > float(row["limit"])) == (wanted["anomaly"] == "1")
    clip = corpus / "motor/test" / Path(found[0]["recording"]).name
    options = ["-", "--machine", "motor", "--raw", "s16le", "--rate", "16000", "--channels", "1", "--tsv"]
    samples = soundfile.read(clip, dtype="int16")[0].astype("<i2").tobytes()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(alone), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-S", "-m", "asdkit.bin.detect", out, *options]
    done = subprocess.run(command, env=environment, capture_output=True, input=samples)
    (row,) = csv.DictReader(io.StringIO(done.stdout.decode()), delimiter="\t")
    assert row["score"] == found[0]["score"] and row["verdict"] == found[0]["verdict"]
