"""Small corpora and lists for tests."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[1]

DATASET_2022 = {
    "name": "tiny",
    "name_style": "dcase2022",
    "protocol": "dcase2022",
    "sets": {"dev": {"path": "dev_data"}, "eval": {"path": "eval_data"}},
    "ground_truth": "ground_truth",
}


def noise(seconds: float, rate: int = 16000, seed: int = 0, channels: int = 1) -> np.ndarray:
    """Noise of amplitude below 1, float32 [T] or [T, channels]."""
    shape = round(seconds * rate) if channels == 1 else (round(seconds * rate), channels)
    return np.random.default_rng(seed).uniform(-0.5, 0.5, shape).astype("float32")


def write_clip(
    path: Path, seconds: float = 0.1, rate: int = 16000, channels: int = 1, seed: int = 0, **options
) -> Path:
    """Write noise as wav or flac, by the path's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, noise(seconds, rate, seed, channels), rate, **options)
    return path


def write_dataset(path: Path, **changes) -> Path:
    """Write a dataset description: DATASET_2022 with changes; a value None removes the key."""
    import yaml

    values = {key: value for key, value in (DATASET_2022 | changes).items() if value is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values))
    return path


def write_corpus(root: Path, seconds: float = 0.1, train: int = 4, per_test: int = 2, channels: int = 1) -> Path:
    """Write a corpus in the layout of 2022 and later.

    dev_data/raw/{fan,valve} with labelled test names (valve without attributes), eval_data/raw/pump with anonymous
    ones and their ground truth. train: source clips per machine, half as many target clips; per_test: clips per group.
    """
    seed = 0
    for machine in ("fan", "valve", "pump"):
        folder = root / ("eval_data" if machine == "pump" else "dev_data") / "raw" / machine
        truth = []
        for domain, count in (("source", train), ("target", train // 2)):
            for number in range(count):
                attr = "noAttribute" if machine == "valve" else f"spd_{number % 2}"
                name = f"section_00_{domain}_train_normal_{number:04d}_{attr}.wav"
                write_clip(folder / "train" / name, seconds, channels=channels, seed=(seed := seed + 1))
        for domain in ("source", "target"):
            for condition in ("normal", "anomaly"):
                for number in range(per_test):
                    name = f"section_00_{domain}_test_{condition}_{number:04d}_spd_1.wav"
                    if machine == "pump":
                        name = f"section_00_{len(truth):04d}.wav"
                        truth.append((name, int(condition == "anomaly"), int(domain == "target")))
                    write_clip(folder / "test" / name, seconds, channels=channels, seed=(seed := seed + 1))
        if truth:
            write_truth(root / "ground_truth", machine, truth)
    return root


def base_clip(path: Path, seed: int, machine: str = "press", anomaly: bool = False, seconds: float = 2) -> Path:
    """Write a hum with its harmonic in noise, 16 kHz, 16 bits; an anomaly has a chopped tone at 3.1 kHz as well."""
    rng, time = np.random.default_rng([seed, len(machine)]), np.arange(round(16000 * seconds)) / 16000
    pitch = (180 if machine == "press" else 420) + rng.uniform(-2, 2)
    wave = 0.1 * np.sin(2 * np.pi * pitch * time) + 0.05 * np.sin(4 * np.pi * pitch * time)
    wave += 0.02 * rng.standard_normal(len(time))
    if anomaly:
        wave += 0.1 * np.sin(2 * np.pi * 3100 * time) * (time % 0.1 < 0.05)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, 16000, subtype="PCM_16")
    return path


def write_base(root: Path, machines: tuple[str, ...] = ("press", "pump"), train: int = 12, per_test: int = 4) -> Path:
    """Write normal training clips and normal and anomalous test clips of some machines, 2 s each."""
    for machine in machines:
        for number in range(train):
            base_clip(root / machine / f"train/normal_{number:04d}.wav", number, machine)
        for number in range(per_test):
            base_clip(root / machine / f"test/normal_{number:04d}.wav", 100 + number, machine)
            base_clip(root / machine / f"test/anomaly_{number:04d}.wav", 200 + number, machine, anomaly=True)
    return root


def write_truth(
    folder: Path, machine: str, rows: list[tuple[str, int, int]], section: str = "00", end: str = "\n"
) -> None:
    """Write (file name, anomaly 0|1, target 0|1) as the organisers do."""
    for kind, column in (("data", 1), ("domain", 2)):
        path = folder / f"ground_truth_{kind}" / f"ground_truth_{machine}_section_{section}_test.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{row[0]},{row[column]}{end}" for row in rows), newline="")


def prepare(tmp: Path, *options: str, **changes) -> Path:
    """Run stage 1 on tmp/corpus into tmp/data."""
    from asdkit.bin import prepare_data

    dataset = write_dataset(tmp / "conf" / "dataset.yaml", **changes)
    prepare_data.main(
        ["--dataset", str(dataset), "--corpus", str(tmp / "corpus"), "--data", str(tmp / "data"), *options]
    )
    return tmp / "data"


def lists(tmp: Path, experiment: str = "{}", tag: str = "a") -> Path:
    """Run make_lists and extract_feats (2 shards) for an experiment given as YAML; returns exp/<tag>."""
    from asdkit.bin import extract_feats, make_lists

    conf, exp = tmp / "conf" / f"{tag}.yaml", tmp / "exp" / tag
    conf.write_text(experiment)
    work = ["--data", str(tmp / "data"), "--exp", str(exp), "--dump", str(tmp / "dump")]
    make_lists.main(["--config", str(conf), *work])
    for job in ("1", "2"):
        extract_feats.main([*work, "--num-jobs", "2", "--job", job])
    extract_feats.main([*work, "--num-jobs", "2", "--merge", "true"])
    return exp


def program(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `python -m asdkit.bin.<name>` in a process of its own."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"asdkit.bin.{name}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder and its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def manifest_of(data: Path, name: str) -> dict[str, dict[str, str]]:
    """Rows of a set's manifest by utt."""
    from asdkit.corpus.manifest import read_manifest

    return {row["utt"]: row for row in read_manifest(data / name / "manifest.tsv")}
