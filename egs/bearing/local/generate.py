"""Generate the bearing corpus: one bearing behind three amounts of noise, by accelerometer and by microphone.

    python3 local/generate.py --out downloads/bearing

OUT/acceleration (25.6 kHz, 24-bit wav, full scale 100 m/s^2) and OUT/sound (48 kHz, full scale 20 Pa) hold the same
takes, <machine>/{train,test}/section_00_DOMAIN_SPLIT_CONDITION_NUMBER_rpm_..._load_..._wear_....wav. A machine is the
bearing at one ratio of its own root mean square, in order, at 1500 rpm and 1 kN, to that of the noise: bearing_6dB,
bearing_0dB, bearing_min6dB. In the source domain it runs at 1200 and 1800 rpm, in the target domain at 1500, under
other loads. Every take has its own random numbers, drawn from the seed and its place in the corpus alone. What faults
do: bearing.py.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import soundfile
from bearing import FAULTS, SENSORS, Take, hall, orders, recorded

from asdkit.utils.cli import progress

VERSION = 1  # raise it whenever a change alters a sample
RATIOS = {"bearing_6dB": 6, "bearing_0dB": 0, "bearing_min6dB": -6}
POINTS = {  # rpm, load in kN
    "source": ((1200, 1.0), (1800, 1.0), (1200, 2.0), (1800, 2.0)),
    "target": ((1500, 1.5), (1500, 3.0)),
}
DOMAINS, SPLITS, CONDITIONS = ("source", "target"), ("train", "test"), ("normal", "anomaly")
SIZES = (0.3, 1.0)


def takes(count: int) -> list[tuple[str, str, str, int]]:
    """Return split, domain, condition and number of every take; `count` of each domain and condition are tested."""
    target = max(1, round(0.4 * count))
    sizes = {("train", "source", "normal"): 4 * count - target, ("train", "target", "normal"): target}
    sizes |= {("test", domain, condition): count for domain in DOMAINS for condition in CONDITIONS}
    return [(*group, number) for group, size in sizes.items() for number in range(size)]


def write_take(root: Path, split: str, domain: str, condition: str, number: int, args: argparse.Namespace) -> None:
    """Write a take of every sensor and ratio; they differ in the noise's strength alone."""
    key = (SPLITS.index(split), DOMAINS.index(domain), CONDITIONS.index(condition), number)
    rng = np.random.default_rng([args.seed, *key])
    rpm, load = POINTS[domain][number % len(POINTS[domain])]
    wear = round(rng.uniform(), 2)
    fault = FAULTS[number % len(FAULTS)] if condition == "anomaly" else ""
    if fault:  # every fault at every point
        rpm, load = POINTS[domain][number // len(FAULTS) % len(POINTS[domain])]
    take = Take(rng, args.seconds, rpm, load, wear, fault, rng.uniform(*SIZES) if fault else 0.0)
    state = f"rpm_{rpm}_load_{load:g}_wear_{wear:.2f}" + (f"_fault_{fault}_size_{take.size:.2f}" if fault else "")
    name = f"section_00_{domain}_{split}_{condition}_{number:04d}_{state}.wav"
    for sensor in SENSORS:
        signal = recorded(take, sensor)
        noise = hall(rng, sensor, len(signal))
        for machine, ratio in RATIOS.items():
            heard = (signal + sensor.level * 10 ** (-ratio / 20) * noise) / sensor.full_scale
            path = root / sensor.name / machine / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.clip(heard, -1, 1 - 2**-23), sensor.rate, subtype="PCM_24")


def is_done(out: Path, wanted: dict[str, float]) -> bool:
    """Tell whether the corpus is there; ValueError where something else is."""
    marker = out / ".done"
    if not marker.is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ValueError(f"{out}: exists, but holds no finished corpus. Remove it or choose another folder")
        return False
    if (found := json.loads(marker.read_text(encoding="utf-8"))) != wanted:
        raise ValueError(f"{out}: made with {found}, now {wanted}. Remove it or choose another folder")
    return True


def generate(args: argparse.Namespace) -> None:
    """Make the corpus in a folder beside the wanted one, then rename it."""
    out = args.out.resolve()
    work = out.with_name(f"{out.name}.partial")
    wanted = {key: getattr(args, key) for key in ("seed", "clips_per_domain", "seconds")} | {"version": VERSION}
    if args.force == "true" and (out / ".done").is_file():
        shutil.rmtree(out)
    if is_done(out, wanted):
        print(f"{out}: already generated")
        return
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        todo = takes(args.clips_per_domain)
        for take in progress(todo, "generate", len(todo)):
            write_take(work, *take, args)
        (work / ".done").write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
        os.replace(work, out)  # an empty folder of that name is replaced
    finally:
        shutil.rmtree(work, ignore_errors=True)
    tell(out, args)


def tell(out: Path, args: argparse.Namespace) -> None:
    """Print what was made."""
    found = orders()
    print(f"a turn: {', '.join(f'{name} {order:.3f}' for name, order in found.items())}")
    for rpm in sorted({rpm for points in POINTS.values() for rpm, _ in points}):
        print(f"{rpm} rpm: {', '.join(f'{name} {order * rpm / 60:.1f} Hz' for name, order in found.items())}")
    for sensor in SENSORS:
        for machine in RATIOS:
            train, test = (len(list((out / sensor.name / machine / split).iterdir())) for split in SPLITS)
            print(f"{sensor.name}/{machine}: {train} + {test} clips of {args.seconds:g} s, {sensor.rate} Hz")


def get_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--seed", type=int, default=0, help="random seed, 0 or more (default 0)")
    parser.add_argument(
        "--clips-per-domain", type=int, default=24,
        help="test clips of each machine, domain and condition; training has four times as many, a tenth of them "
        "target clips (default 24: 96 + 96 clips of each machine)",
    )  # fmt: skip
    parser.add_argument("--seconds", type=float, default=2.0, help="length of every clip (default 2)")
    parser.add_argument(
        "--force", choices=("true", "false"), default="false", help="true: make a finished corpus again (default false)"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run from the command line."""
    args = get_parser().parse_args(argv)
    for name, least, most in (("seed", 0, 2**32), ("clips_per_domain", 1, 2000), ("seconds", 1, 60)):
        if not least <= getattr(args, name) <= most:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(args, name)}: must be {least} to {most}")
    generate(args)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"generate.py: error: {error}")
