"""Cut the bearing recordings of Case Western Reserve University into clips, laid out for this recipe.

    python3 local/prepare_cwru.py --from FOLDER --out downloads/cwru

FOLDER holds the MATLAB files as the Bearing Data Center numbers them, 97.mat to 265.mat, in any folders inside: the
normal baseline and the drive-end faults at 48 kHz. Each holds the drive end's acceleration, X097_DE_time in 97.mat.
OUT/drive_end/{train,test}/*.wav are clips of --seconds, 24 bits, full scale 20 of the files' unit. Of each normal
recording the first half trains and the second half is tested; of each faulty one the first --clips clips are tested.
There is one recording for each condition, so that normal clips of both parts come from the same run of the rig;
whatever differed from run to run counts as an anomaly.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import soundfile
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

RATE, FULL_SCALE, LOADS = 48000, 20.0, (0, 1, 2, 3)  # horsepower
NORMAL = (97, 98, 99, 100)  # one for each load
FAULTS = {  # diameters in thousandths of an inch; the load is at six o'clock -> one for each load
    "inner_size_007": (109, 110, 111, 112),
    "inner_size_014": (174, 175, 176, 177),
    "inner_size_021": (213, 214, 215, 217),
    "ball_size_007": (122, 123, 124, 125),
    "ball_size_014": (189, 190, 191, 192),
    "ball_size_021": (226, 227, 228, 229),
    "outer_clock_6_size_007": (135, 136, 137, 138),
    "outer_clock_3_size_007": (148, 149, 150, 151),
    "outer_clock_12_size_007": (161, 162, 163, 164),
    "outer_clock_6_size_014": (201, 202, 203, 204),
    "outer_clock_6_size_021": (238, 239, 240, 241),
    "outer_clock_3_size_021": (250, 251, 252, 253),
    "outer_clock_12_size_021": (262, 263, 264, 265),
}


def drive_end(path: Path) -> np.ndarray:
    """Return the acceleration at the drive end, [T]: of the file's own number, or the only one that is in it.

    174.mat holds that of number 173, 99.mat also that of 98. Raises ValueError naming the file.
    """
    try:
        held = loadmat(path)
    except (ValueError, TypeError, OSError, NotImplementedError, MatReadError) as error:
        raise ValueError(f"{path}: not a MATLAB file of version 5: {error}") from None
    names = sorted(name for name in held if name.endswith("_DE_time"))
    own = f"X{int(path.stem):03d}_DE_time"
    name = own if own in names else names[0] if len(names) == 1 else None
    if name is None:
        raise ValueError(f"{path}: holds {', '.join(names) or 'no *_DE_time'}, expected {own}")
    samples = held[name].astype(np.float64).ravel()
    if not np.isfinite(samples).all() or np.abs(samples).max() >= FULL_SCALE:
        raise ValueError(f"{path}: {name} goes up to {np.abs(samples).max():g}, under {FULL_SCALE:g} is expected")
    return samples


def clips(args: argparse.Namespace, found: dict[int, Path]) -> list[tuple[str, np.ndarray]]:
    """Return path below OUT and samples of every clip."""
    length, made = round(args.seconds * RATE), []

    def cut(number: int, load: int, split: str, condition: str, start: int, stop: int, fault: str = "") -> None:
        samples = drive_end(found[number])[start:stop]
        for k in range(len(samples) // length):
            name = f"section_00_source_{split}_{condition}_{1000 * number + k:06d}_hp_{load}{fault}.wav"
            made.append((f"drive_end/{split}/{name}", samples[k * length : (k + 1) * length]))

    for load, number in zip(LOADS, NORMAL, strict=True):
        half = len(drive_end(found[number])) // 2
        cut(number, load, "train", "normal", 0, half)
        cut(number, load, "test", "normal", half, 2 * half)
    for fault, numbers in FAULTS.items():
        for load, number in zip(LOADS, numbers, strict=True):
            if number in found:
                cut(number, load, "test", "anomaly", 0, args.clips * length, f"_fault_{fault}")
    return made


def main(argv: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, required=True, help="folder of the MATLAB files")
    parser.add_argument("--out", type=Path, required=True, help="folder of the clips, which must not be there")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a clip (default 1)")
    parser.add_argument("--clips", type=int, default=5, help="clips of each faulty recording (default 5)")
    args = parser.parse_args(argv)
    if args.out.exists():
        raise ValueError(f"{args.out}: is there already. Remove it or choose another folder")
    if not 0.1 <= args.seconds <= 2 or args.clips < 1:
        raise ValueError(f"--seconds {args.seconds:g}, --clips {args.clips}: 0.1 to 2 s and at least 1 are possible")
    found = {int(path.stem): path for path in sorted(args.source.rglob("*.mat")) if path.stem.isdecimal()}
    if missing := [number for number in NORMAL if number not in found]:
        raise ValueError(f"{args.source}: no {', '.join(f'{n}.mat' for n in missing)}, of the normal baseline")
    if absent := [number for numbers in FAULTS.values() for number in numbers if number not in found]:
        print(f"left out, not in {args.source}: {', '.join(f'{number}.mat' for number in absent)}")
    work = args.out.with_name(f"{args.out.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    made = clips(args, found)
    for name, samples in made:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(work / name, samples / FULL_SCALE, RATE, subtype="PCM_24")
    os.replace(work, args.out)
    print(f"{args.out}: {len(made)} clips, {sum('/train/' in name for name, _ in made)} of them to train on")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"prepare_cwru.py: error: {error}")
