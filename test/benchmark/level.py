"""What data.level does to official scores when the gain of a recording says nothing.

    python3 test/benchmark/level.py --real FOLDER [--out FOLDER]

FOLDER holds bldc/dev_data/BLDCMotor and dcase2020/dev_data/slider. Of slide rail id_00, 50 clips are trained on and 27
are normal test clips; its 2 anomalies and all clips of the other rails are what is to be found. Written twice as 24-bit
wav: all 10 dB lower, and with gains drawn per clip, uniform from -20 to 0 dB (seed 0). Each through egs/custom
with the configurations that train nothing. Prints official scores (mean of AUC and pAUC, percent) of both, and how a
normal test clip scores that is 20 dB lower, in units of the mean score of the anomalies.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from asdkit.detectors.folder import read_scores  # noqa: E402
from asdkit.infer.experiment import Experiment  # noqa: E402
from asdkit.utils.files import read_json  # noqa: E402

MACHINES, LEVELS, CONFIGS = ("BLDCMotor", "slider"), ("keep", "clip_rms", "machine_rms"), ("frozen", "logmel")
Clip = tuple[Path, str, str, str]


def clips_of(real: Path) -> list[Clip]:
    """Recording, machine, split and condition of every clip."""
    found: list[Clip] = []
    for path in sorted((real / "bldc/dev_data/BLDCMotor").glob("*/*.flac")):
        condition = "anomaly" if "_anomaly_" in path.name else "normal"
        found.append((path, MACHINES[0], path.parent.name, condition))
    train = sorted((real / "dcase2020/dev_data/slider/train").glob("normal_id_00_*.flac"))
    test = sorted((real / "dcase2020/dev_data/slider/test").glob("*.flac"))
    found += [(path, MACHINES[1], "train", "normal") for path in train[:50]]
    found += [(path, MACHINES[1], "test", "normal") for path in train[50:]]
    for path in test:
        found.append((path, MACHINES[1], "test", "normal" if path.name.startswith("normal_id_00") else "anomaly"))
    return found


def write(folder: Path, clips: list[Clip], drawn: bool) -> Path:
    """The clips with their gains, and the list of them."""
    rng = np.random.default_rng(0)
    rows = []
    for path, machine, split, condition in clips:
        samples, rate = soundfile.read(path, dtype="float64")
        gain = rng.uniform(-20, 0) if drawn else -10.0
        name = f"{machine}/{split}/{path.stem}.wav"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, samples * 10 ** (gain / 20), rate, subtype="PCM_24")
        rows.append([name, machine, split, condition])
    with open(folder / "list.csv", "w", newline="") as file:
        csv.writer(file).writerows([["path", "machine", "split", "condition"], *rows])
    return folder / "list.csv"


def run(corpus: Path, config: str, level: str) -> Path:
    """exp/<tag> of one run of the recipe."""
    work, tag = corpus.parent, f"{config}_{level}"
    options = ["--corpus", str(corpus), "--config", f"conf/{config}.yaml", "--set", f"data.level={level}", "--tag", tag]
    for key, name in (("data", "data"), ("dump", "dump"), ("expdir", "exp")):
        options += [f"--{key}", str(work / name)]
    subprocess.run(["bash", str(ROOT / "egs/custom/run.sh"), *options], check=True, stdout=subprocess.DEVNULL)
    return work / "exp" / tag


def quieter(exp: Path, corpus: Path, machine: str) -> float:
    """Median score of normal test clips that are made 20 dB quieter, over the mean score of the anomalies."""
    with open(corpus, newline="") as file:
        tests = [row for row in csv.DictReader(file) if row["machine"] == machine and row["split"] == "test"]
    normal = [corpus.parent / row["path"] for row in tests if row["condition"] == "normal"][:10]
    bad = {Path(row["path"]).stem for row in tests if row["condition"] == "anomaly"}
    scores = read_scores(exp / "seed0/score/knn/dev_test.tsv")
    anomalies = [score for utt, score in scores.items() if machine in utt and any(name in utt for name in bad)]
    with tempfile.TemporaryDirectory() as folder:
        copies = []
        for path in normal:
            samples, rate = soundfile.read(path)
            copies.append(Path(folder, path.name))
            soundfile.write(copies[-1], 0.1 * samples, rate, subtype="PCM_24")
        found = Experiment.open(exp, device="cpu").score(copies, machine=machine)
    return float(np.median(found) / np.mean(anomalies))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="where corpora and experiments are kept (default: nowhere)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out, clips = args.out or Path(folder), clips_of(args.real)
        corpora = [write(out / name, clips, drawn) for name, drawn in (("plain", False), ("gains", True))]
        print("| configuration | data.level | motors | with gains | slide rail | with gains | quiet / anomalies |")
        print("|---|---|---:|---:|---:|---:|---:|")
        for config in CONFIGS:
            for level in LEVELS:
                scores: dict[str, list[float]] = {machine: [] for machine in MACHINES}
                exps = [run(corpus, config, level) for corpus in corpora]
                for exp in exps:
                    for row in read_json(exp / "results.json")["scores"]["knn"]["sets"]["dev"]["machines"]:
                        scores[row["machine"]].append(100 * row["score"]["mean"])
                quiet = " / ".join(f"{quieter(exps[0], corpora[0], machine):.2f}" for machine in MACHINES)
                numbers = " | ".join(f"{value:.1f}" for machine in MACHINES for value in scores[machine])
                print(f"| `{config}` | `{level}` | {numbers} | {quiet} |", flush=True)


if __name__ == "__main__":
    main()
