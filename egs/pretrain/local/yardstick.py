"""What frozen encoders are worth for machines in noise: official scores in percent, a row for each kind of noise.

Called by yardstick.sh. Noise (asdkit.signals.noise) is added to training and test clips alike, at each clip's own
level, from a seed that is the clip's name; none of it is heard in pre-training. Figures, for every encoder:

    mean        conf/frozen.yaml of egs/custom: nearest neighbour by cosine of the mean over tokens
    both        mean and deviation, standardised
    default     conf/default.yaml of egs/custom: mean and deviation, whitened, of tokens and log-mels

for log-mels, as the encoders hear them, the same without tokens (whitened: all of conf/default.yaml that is left), and
conf/logmel.yaml. These detectors draw nothing at random; the random weights have seeds.
"""

import argparse
import statistics
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from asdkit.config import load_config
from asdkit.corpus.description import load_dataset
from asdkit.corpus.manifest import Row, read_manifest, read_ref
from asdkit.detectors.scoring import score_sets
from asdkit.detectors.tables import side_by_side
from asdkit.encoders.beats import Beats
from asdkit.encoders.beats_checkpoint import load_beats, save_beats
from asdkit.models.embedder import Embedder
from asdkit.pretrain.probe import find_clips, probe
from asdkit.protocols import ScoredClip, evaluate
from asdkit.report.tables import table
from asdkit.signals.noise import with_noise
from asdkit.utils.cli import progress, run
from asdkit.utils.files import read_json, sha256_file, sha256_text, write_json, write_text

CUSTOM = Path(__file__).resolve().parents[2] / "custom/conf"
KINDS, SNRS = ("pink", "brown", "factory"), (0, -6, -12, -18)
NOISY = tuple(f"{kind}_{snr}" for kind in KINDS for snr in SNRS)
LENGTHS = ("2s", "5s")  # of clips that last longer; all of BLDC's and of slide rail's
QUIETER = 0.25  # noisy clips, so that they stay far from full scale
PARTS = {"mini dev": ("mini", "dev"), "mini eval": ("mini", "eval"), "real": ("real", "dev")}
VIEWS = "{array: [%s], distance: %s, per_domain: false}"
DETECTORS = {
    "mean": ("frozen", []),  # configuration of egs/custom, settings; the last of its scores counts
    "both": ("default", [f"score.both={VIEWS % ('embedding, deviation', 'standardised')}"]),
    "default": ("default", []),
}
MELS = {
    "log-mels, mean": ("default", ["score.mel={array: mel}"]),
    "log-mels, both": ("default", [f"score.mels={VIEWS % ('mel, mel_deviation', 'standardised')}"]),
    "log-mels, whitened": ("default", [f"score.mels={VIEWS % ('mel, mel_deviation', 'whitened')}"]),
}
LOGMEL = "logmel.yaml"  # of egs/custom: title, figure and file


def heard(samples: np.ndarray, rate: int, utt: str, condition: str) -> np.ndarray:
    """A clip as it is under a condition: clean, in noise (KIND_SNR), or its first seconds (Ns)."""
    if condition == "clean":
        return samples
    if condition in LENGTHS:
        return samples[: rate * int(condition[:-1])]
    kind, _, snr = condition.partition("_")
    return QUIETER * with_noise(samples, kind, float(snr), zlib.crc32(utt.encode()), rate)


def embed(systems: list[Embedder], data: Path, rows: list[Row], condition: str) -> list[dict[str, np.ndarray]]:
    """For each network all arrays of conf/default.yaml for the clips of a manifest: name -> [clips, D]."""
    dataset = load_dataset(data)
    reader = dataset.reader()
    found: list[dict[str, list]] = [{} for _ in systems]
    for batch in progress(list(_alike(rows)), f"{data.name} {condition}", unit="batch"):
        wavs = [
            heard(reader.read(Path(dataset.root, rows[i]["wav"])), reader.sample_rate, rows[i]["utt"], condition)
            for i in batch
        ]
        samples = torch.from_numpy(np.stack(wavs).astype(np.float32))
        with torch.inference_mode():
            for system, arrays in zip(systems, found, strict=True):
                for name, x in system.represent(system.encoder.frontend(samples)).items():
                    places = arrays.setdefault(name, [None] * len(rows))
                    for i, value in zip(batch, x.float().numpy(), strict=True):
                        places[i] = value
    return [{name: np.stack(values) for name, values in arrays.items()} for arrays in found]


def _alike(rows: list[Row], size: int = 16) -> Iterator[list[int]]:
    """Numbers of rows of one length, up to `size` at once."""
    order = sorted(range(len(rows)), key=lambda i: int(rows[i]["samples"]))
    while order:
        same = [i for i in order[:size] if rows[i]["samples"] == rows[order[0]]["samples"]]
        yield same
        order = order[len(same) :]


def scores(arrays: dict, rows: dict, part: str, data: Path, config: str, settings: list[str]) -> dict[str, float]:
    """Official scores in percent of one set's test clips: of each machine, and of all as ''."""
    known = load_config(CUSTOM / f"{config}.yaml", settings).score
    score = known[list(known)[-1]]
    train, test = f"{part}_train", f"{part}_test"
    joined = {name: (rows[name], side_by_side([arrays[name][own] for own in score.arrays])) for name in (train, test)}
    found = score_sets(score, {train: joined[train]}, {test: joined[test]}).scores[test]
    truth = read_ref(data / test / "ref.tsv")
    clips = [
        ScoredClip(row["machine"], row["section"], truth[row["utt"]][1], truth[row["utt"]][0], found[row["utt"]])
        for row in rows[test]
    ]
    result = evaluate(clips, load_dataset(data).protocol)
    return {row["machine"]: 100 * row["score"] for row in result["machines"]} | {"": 100 * result["official"]}


def measure(files: dict[str, Path], out: Path, corpus: str, condition: str) -> dict[str, dict]:
    """Title of a network -> name of a figure -> part -> machine -> score, read where it was measured before."""
    data = out / "data" / corpus
    used = [(CUSTOM / f"{config}.yaml").read_text() for config, _ in DETECTORS.values()]
    parts = [part for own, part in PARTS.values() if own == corpus]
    sets = [f"{part}_{split}" for part in parts for split in ("train", "test")]
    rows = {name: read_manifest(data / name / "manifest.tsv") for name in sets}
    clips = [(row["utt"], row["digest"]) for name in sets for row in rows[name]]
    how = sha256_text(repr((DETECTORS, MELS, used, clips)))[:8]  # other detectors or recordings are measured again
    kept = {
        title: out / "scores" / f"{sha256_file(path)[:16]}.{how}.{corpus}.{condition}.json"
        for title, path in files.items()
    }
    new = [title for title, path in kept.items() if not path.exists()]
    if new:
        systems = [network(files[title]) for title in new]
        made = {name: embed(systems, data, rows[name], condition) for name in sets}
        for number, title in enumerate(new):
            arrays = {name: found[number] for name, found in made.items()}
            wanted = {LOGMEL: ("logmel", [])} if title == LOGMEL else DETECTORS | MELS
            figures = {
                name: {part: scores(arrays, rows, part, data, *how) for part in parts} for name, how in wanted.items()
            }
            write_json(kept[title], figures)
    return {title: read_json(path) for title, path in kept.items()}


def network(path: Path) -> Embedder:
    """A configuration of egs/custom, or its conf/default.yaml with this encoder."""
    if path.suffix == ".yaml":
        return Embedder(load_config(path)).eval()
    return Embedder(load_config(CUSTOM / "default.yaml", [f"encoder.checkpoint={path.absolute()}"])).eval()


def untrained(path: Path, seeds: list[int], folder: Path) -> list[Path]:
    """Files of networks of the same size with random weights, one for each seed."""
    arch = load_beats(path).cfg
    found = []
    for seed in seeds:
        digest = sha256_text(arch.model_dump_json())[:8]
        found.append(folder / f"random.{digest}.{seed}.pt")
        if not found[-1].exists():
            torch.manual_seed(seed)
            save_beats(Beats(arch), found[-1])
    return found


def rows_of(measured: dict) -> dict[str, dict[str, float]]:
    """Row of the table -> column -> score; machines in recordings have rows of their own."""
    found: dict[str, dict[str, float]] = {}
    for (corpus, condition), titles in measured.items():
        for title, figures in titles.items():
            for name, by_part in figures.items():
                column = name if name in MELS or name == LOGMEL else f"{title}, {name}"
                for part, own in by_part.items():
                    machines = {f"mini {part}": own[""]} if corpus == "mini" else {m: v for m, v in own.items() if m}
                    for machine, value in machines.items():
                        found.setdefault(f"{machine}, {condition.replace('_', ' ')}", {})[column] = value
    return found


def show(found: dict[str, dict[str, float]], random: dict[str, list[str]], probed: dict[str, str]) -> str:
    """The table in Markdown: means over seeds of the random weights; last the mean of all rows."""
    for row in found.values():
        for title, seeds in random.items():
            for name in DETECTORS:
                row[f"{title}, {name}"] = statistics.mean(row.pop(f"{seed}, {name}") for seed in seeds)
    columns = list(dict.fromkeys(column for row in found.values() for column in row))
    columns.sort(key=lambda column: column not in MELS and column != LOGMEL)
    lines = [[name, *(f"{row[column]:.1f}" for column in columns)] for name, row in found.items()]
    lines.append(["mean", *(f"{statistics.mean(row[column] for row in found.values()):.1f}" for column in columns)])
    if probed:
        lines.append(["ESC-10 probe", *(probed.get(column, "") for column in columns)])
    return table(["", *columns], lines)


def probes(files: dict[str, Path], clips: Path, out: Path) -> dict[str, str]:
    """Accuracies of the linear probe in percent, by column; what was measured is read."""
    found = {}
    for title, path in files.items():
        kept = out / "scores" / f"{sha256_file(path)[:16]}.probe.json"
        if not kept.exists():
            write_json(kept, probe(load_beats(path), find_clips(clips), title))
        for name, values in zip(("mean", "both"), read_json(kept).values(), strict=True):
            found[f"{title}, {name}"] = f"{statistics.mean(values):.1f}"
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", type=Path, nargs="+", required=True)
    parser.add_argument("--random-seeds", default="0 1 2")
    parser.add_argument("--real", action="store_true", help="the recordings of OUT/data/real as well")
    parser.add_argument("--probe-clips", type=Path)
    parser.add_argument("--conditions", default="")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    every = ("clean", *NOISY, *LENGTHS)
    conditions = args.conditions.split() or every
    if unknown := [condition for condition in conditions if condition not in every]:
        raise ValueError(f"--conditions {unknown[0]}: allowed are {' '.join(every)}")
    seeds = args.random_seeds.split()
    if wrong := [seed for seed in seeds if not seed.isdigit()]:
        raise ValueError(f"--random-seeds {wrong[0]}: give whole numbers, separated by spaces")
    (args.out / "scores").mkdir(parents=True, exist_ok=True)
    files: dict[str, Path] = {}
    random: dict[str, list[str]] = {}
    for path in args.encoders:
        title = path.stem if path.stem != "encoder" else path.parent.name
        if title in files:
            raise ValueError(f"--encoders: {files[title]} and {path} would both be called {title}: rename one of them")
        files[title] = path
    for title, path in dict(files).items():
        made = untrained(path, [int(seed) for seed in seeds], args.out)
        if made and str(made[0]) not in {str(file) for file in files.values()}:
            random[f"random as {title}"] = [file.stem for file in made]
            files |= {file.stem: file for file in made}
    encoders = list(files)
    files[LOGMEL] = CUSTOM / LOGMEL
    measured = {
        (corpus, condition): measure(files, args.out, corpus, condition)
        for corpus in ("mini", *(["real"] if args.real else []))
        for condition in conditions
        if corpus == "real" or condition not in LENGTHS
    }
    asked = {title: files[title] for title in encoders if title not in sum(random.values(), [])}
    probed = probes(asked, args.probe_clips, args.out) if args.probe_clips else {}
    text = show(rows_of(measured), random, probed)
    write_text(args.out / "table.md", text)
    print(text)


if __name__ == "__main__":
    run(main)
