"""Generate the mini corpus: five machines made by physical models, laid out and named like DCASE 2023 and later years.

    python3 local/generate.py --out downloads

Development machines: fan, gearbox, valve. Evaluation machines: pump, bearing. Gearbox and bearing hide their operating
attributes (`noAttribute`). Every clip has its own random numbers, drawn from the seed and its own name alone; level,
length and file size say nothing about its condition. What the machines and their faults do: machines.py.
"""

import argparse
import csv
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import soundfile
from acoustics import RATE, factory, filtered, limited, microphone, unit
from machines import MACHINES, Machine, Take

from asdkit.utils.cli import progress

VERSION = 2  # raise it whenever a change alters a sample
SPLITS, DOMAINS, CONDITIONS = ("train", "test"), ("source", "target"), ("normal", "anomaly")
# per domain: hum of the distant machine (Hz), microphone tilt (dB per octave), dip (Hz), change of the SNR (dB)
SCENES = {"source": (95.0, -0.5, 1500.0, 0.0), "target": (140.0, 0.8, 2600.0, 2.0)}
LEVEL_DB = (-28.5, -23.5)  # root mean square of a clip, re full scale
SEVERITY = (0.35, 1.0)


@dataclass(frozen=True)
class Recording:
    """A clip to be written: where it belongs and its number among those like it."""

    machine: Machine
    split: str
    domain: str
    condition: str
    number: int

    @property
    def point(self) -> dict[str, int]:
        """Operating point: the domain's points take turns."""
        points = getattr(self.machine, self.domain)
        return points[self.number % len(points)]

    @property
    def attributes(self) -> dict[str, int]:
        """What the name may tell of the operating point."""
        return self.point if self.machine.attributed else {}

    @property
    def labelled_name(self) -> str:
        """File name with domain, condition and attributes."""
        attr = "_".join(f"{key}_{value}" for key, value in self.attributes.items()) or "noAttribute"
        return f"section_00_{self.domain}_{self.split}_{self.condition}_{self.number:04d}_{attr}.wav"


def render(recording: Recording, seed: int, n: int) -> np.ndarray:
    """Return the clip as int16 [n]; it depends on the seed and the recording alone."""
    machine = recording.machine
    domain, condition = DOMAINS.index(recording.domain), CONDITIONS.index(recording.condition)
    key = [MACHINES.index(machine), SPLITS.index(recording.split), domain, condition, recording.number]
    rng = np.random.default_rng([seed, *key])
    faults = machine.faults if condition else ("",)
    fault = faults[recording.number // len(getattr(machine, recording.domain)) % len(faults)]
    severity = rng.uniform(*SEVERITY) * condition
    hum, tilt, dip, snr = SCENES[recording.domain]
    sound = unit(machine.sound(Take(rng, n, recording.point, fault, severity)))
    background = unit(factory(rng, n, hum)) * np.float32(10 ** (-(machine.snr + snr + rng.uniform(-2, 2)) / 20))
    heard = limited(unit(filtered(sound + background, microphone(rng, n, tilt, dip))))
    heard = unit(heard - heard.mean())
    # Steps of the golden ratio fill the range evenly within every group, so no condition or domain is the louder one.
    place = (recording.number * 0.6180339887 + rng.uniform(0, 0.05)) % 1
    level = 10 ** ((LEVEL_DB[0] + (LEVEL_DB[1] - LEVEL_DB[0]) * place) / 20)
    dither = rng.random(n, dtype=np.float32) + rng.random(n, dtype=np.float32) - 1  # triangular, two steps wide
    return np.round(heard * np.float32(level * 32767) + dither).astype(np.int16)


def recordings(machine: Machine, split: str, count: int) -> list[Recording]:
    """Return a split's recordings: test has `count` per domain and condition, train 4 x count normals, 9 to 1."""
    target = max(1, round(0.4 * count))
    if split == "train":
        sizes = {("source", "normal"): 4 * count - target, ("target", "normal"): target}
    else:
        sizes = {(domain, condition): count for domain in DOMAINS for condition in CONDITIONS}
    return [Recording(machine, split, *group, k) for group, size in sizes.items() for k in range(size)]


def write_machine(root: Path, machine: Machine, args: argparse.Namespace) -> Iterator[Path]:
    """Write one machine's folder and, for an evaluation machine, its ground truth; gives each clip that is written."""
    folder = root / f"{machine.part}_data" / machine.name
    hidden = machine.part == "eval"
    rows: list[list[str]] = []
    for split in SPLITS:
        (folder / split).mkdir(parents=True)
        clips = recordings(machine, split, args.clips_per_domain)
        names = [clip.labelled_name for clip in clips]
        if hidden and split == "test":
            rng = np.random.default_rng([args.seed, MACHINES.index(machine)])
            names = [f"section_00_{k:04d}.wav" for k in rng.permutation(len(clips))]
            write_truth(root, machine.name, dict(zip(names, clips, strict=True)))
        else:
            rows += [attribute_row(clip) for clip in clips]
        for name, clip in zip(names, clips, strict=True):
            samples = render(clip, args.seed, round(args.seconds * RATE))
            soundfile.write(folder / split / name, samples, RATE, subtype="PCM_16")
            yield folder / split / name
    pairs = max(len(row) for row in rows) // 2
    write_csv(folder / "attributes_00.csv", [attribute_header(pairs), *rows])
    print(f"{machine.part}_data/{machine.name}: {8 * args.clips_per_domain} clips", flush=True)


def attribute_header(pairs: int) -> list[str]:
    """Return the header of attributes_00.csv for so many parameters."""
    return ["file_name", *(f"d{k}{kind}" for k in range(1, pairs + 1) for kind in "pv")]


def attribute_row(clip: Recording) -> list[str]:
    """Return the clip's row of attributes_00.csv: path from the set's folder, then parameter and value pairs."""
    values = (text for key, value in clip.attributes.items() for text in (key, str(value)))
    return [f"{clip.machine.name}/{clip.split}/{clip.labelled_name}", *values]


def write_truth(root: Path, machine: str, clips: dict[str, Recording]) -> None:
    """Write condition (1 = anomaly) and domain (1 = target) of an evaluation machine's test clips, no header."""
    truth = {"data": ("condition", "anomaly"), "domain": ("domain", "target")}
    for kind, (field, one) in truth.items():
        folder = root / "ground_truth" / f"ground_truth_{kind}"
        folder.mkdir(parents=True, exist_ok=True)
        rows = [[name, str(int(getattr(clip, field) == one))] for name, clip in sorted(clips.items())]
        write_csv(folder / f"ground_truth_{machine}_section_00_test.csv", rows)


def write_csv(path: Path, rows: list[list[str]]) -> None:
    """Write rows as CSV with line feeds."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def settings(args: argparse.Namespace) -> dict[str, int | float]:
    """Return what the corpus is made from."""
    return {
        "version": VERSION,
        "seed": args.seed,
        "clips_per_domain": args.clips_per_domain,
        "seconds": args.seconds,
    }


def is_done(out: Path, wanted: dict[str, int | float]) -> bool:
    """Tell whether the corpus is there; ValueError if something else is."""
    marker = out / ".done"
    if not marker.is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ValueError(f"{out}: exists, but holds no finished mini corpus. Remove it or choose another folder")
        return False
    found = json.loads(marker.read_text(encoding="utf-8"))
    for key in sorted({*found, *wanted}):
        if found.get(key) != wanted.get(key):
            raise ValueError(
                f"{out}: made with {key} = {found.get(key)}, now {wanted.get(key)}. Remove it or choose another folder"
            )
    return True


def generate(args: argparse.Namespace) -> None:
    """Make the corpus in a folder beside the wanted one, then rename it."""
    out = args.out.resolve()
    work = out.with_name(f"{out.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    if args.force == "true" and (out / ".done").is_file():
        os.replace(out, work)
        shutil.rmtree(work)
    if is_done(out, settings(args)):
        print(f"{out}: already generated")
        return
    work.mkdir(parents=True)
    # A large block, freed at once, raises glibc's threshold for giving memory back: transforms run three times as fast.
    np.empty(1 << 24, np.uint8)
    try:
        clips = chain.from_iterable(write_machine(work, machine, args) for machine in MACHINES)
        for _ in progress(clips, "generate", 8 * args.clips_per_domain * len(MACHINES)):
            pass
        (work / ".done").write_text(json.dumps(settings(args), indent=1) + "\n", encoding="utf-8")
        os.replace(work, out)  # an empty folder of that name is replaced
    finally:
        shutil.rmtree(work, ignore_errors=True)


def get_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--seed", type=int, default=0, help="random seed, 0 or more (default 0)")
    parser.add_argument(
        "--clips-per-domain", type=int, default=25,
        help="test clips per machine, domain and condition; training has four times as many, a tenth of them "
        "target clips (default 25: 100 + 100 clips per machine)",
    )  # fmt: skip
    parser.add_argument("--seconds", type=float, default=3.0, help="length of every clip (default 3)")
    parser.add_argument(
        "--force", choices=("true", "false"), default="false", help="true: make a finished corpus again (default false)"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run from the command line."""
    args = get_parser().parse_args(argv)
    if args.seed < 0:
        raise ValueError(f"--seed {args.seed}: must be 0 or more")
    if not 1 <= args.clips_per_domain <= 2000:
        raise ValueError(f"--clips-per-domain {args.clips_per_domain}: must be 1 to 2000")
    if not 1 <= args.seconds <= 60:
        raise ValueError(f"--seconds {args.seconds}: must be 1 to 60")
    generate(args)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"generate.py: error: {error}")
