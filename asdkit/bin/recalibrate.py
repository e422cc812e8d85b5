"""Tell a bundle which clips are normal or show a known fault: a new bundle with new limits, nothing trained."""

import argparse
from pathlib import Path

from asdkit.utils import cli


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(
        "Add clips that a person has confirmed as normal to a bundle and derive its limits anew, without training. The "
        "new bundle lies beside the old one; nothing is overwritten."
    )
    parser.add_argument("bundle", help="file.asdkit")
    parser.add_argument("recordings", nargs="*", help="normal ones: files and folders")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--machine", help="whose recordings they are, where folders and names do not tell")
    parser.add_argument("--section", help="of which section, where the bundle has several of a machine")
    parser.add_argument(
        "--fault",
        action="append",
        nargs="+",
        default=[],
        metavar=("NAME", "RECORDING"),
        help="recordings of a known fault: what sounds like them raises an alarm of that name; may be given again",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Hear the clips, write the new bundle, show both side by side."""
    parser = get_parser()
    args = parser.parse_args(argv)
    if any(len(words) < 2 for words in args.fault):
        parser.error("--fault NAME RECORDING...: name the fault and its recordings")
    if any(words[0] in ("anomaly", "sensor") for words in args.fault):
        parser.error("--fault: anomaly and sensor are names of other alarms")
    if not (args.recordings or args.fault):
        parser.error("nothing to add: name normal recordings, or --fault NAME RECORDING...")
    from asdkit.monitor.detector import Detector
    from asdkit.monitor.recalibration import hear, recalibrate

    detector = Detector.open(args.bundle)
    normal = hear(detector, args.recordings, args.machine, args.section)
    named: dict[str, list[str]] = {}
    for name, *paths in args.fault:
        named.setdefault(name, []).extend(paths)
    faults = {name: hear(detector, paths, args.machine, args.section) for name, paths in named.items()}
    sides = recalibrate(detector.bundle, normal, faults, args.out)
    for side in sides:
        print(f"{side.title:30} {'old':>10} {'new':>10}")
        print(f"{'  normal recordings':30} {side.clips[0]:>10} {side.clips[1]:>10}")
        print(f"{'  limit':30} {_number(side.limit[0]):>10} {_number(side.limit[1]):>10}")
        print(f"{f'  of the {side.of} new ones above it':30} {side.above[0]:>10} {side.above[1]:>10}")
        if not side.joined:
            print("  its detector is not made of clips: the new ones count for the limit alone")
    for name, groups in faults.items():
        print(f"known fault {name}: {sum(map(len, groups.values()))} recordings")
    print(f"{args.out}: written; {args.bundle} is as it was")


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


if __name__ == "__main__":
    cli.run(main)
