"""Write what scores new recordings to one file: a bundle, which asdkit.bin.detect uses without the experiment."""

import argparse
import importlib.util
import os
from pathlib import Path

from asdkit.utils import cli


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(
        "Write a bundle: the network, what the detectors of machines learnt, thresholds, what is normal for their "
        "sensors, and a model card, in one file that needs neither the experiment nor the training recordings."
    )
    parser.add_argument("--exp", type=Path, required=True, help="exp/<tag>, after stage 5")
    parser.add_argument("--seed", type=int, default=0, help="which seed<K>")
    parser.add_argument("--out", type=Path, required=True, help="file to write, say press.asdkit")
    parser.add_argument("--machines", help="names separated by commas (default: all)")
    parser.add_argument("--score", help="which of the experiment's scores (default: the one that there is)")
    parser.add_argument("--data", type=Path, help="what stage 1 wrote (default: as stages 2 and 4 noted it)")
    parser.add_argument(
        "--onnx", type=cli.boolean, default=True, help="true: the network as an ONNX graph; false: for torch"
    )
    parser.add_argument(
        "--precision",
        choices=["float32", "int8", "auto"],
        default="auto",
        help="of the graph; float32: scores are those of stage 5; int8: a quarter of the size, scores and limits of "
        "its own, for training clips are embedded again; auto: int8 where that is quicker here and all arrays of some "
        "recordings have a cosine of 0.999 to float32",
    )
    parser.add_argument(
        "--recordings",
        help="regular expression: what in the name of a training clip tells the recording that it was cut from, as "
        r"'^(.+)_[0-9]+\.wav'; its clips are not compared with one another",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Check the experiment, pack it, compare what the bundle gives with what the stages gave."""
    args = get_parser().parse_args(argv)
    from asdkit.export.pack import check_member, export_detector
    from asdkit.infer.experiment import Experiment

    _check_place(args.out)
    check_member(args.exp, args.seed)
    experiment = Experiment.open(args.exp, args.seed, args.data, "cpu")
    known = list(experiment.config.score)
    if args.score is None and len(known) > 1:
        raise ValueError(f"{args.exp} has the scores {', '.join(known)}: choose one with --score")
    machines = args.machines.split(",") if args.machines else []
    name = args.score or known[0]
    if args.onnx:
        _check_packages()
    header = export_detector(experiment, args.out, name, machines, args.onnx, args.recordings, args.precision)
    names = ", ".join(dict.fromkeys(machine["machine"] for machine in header["machines"]))
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB, {names}")


def _check_packages() -> None:
    """Raise ValueError, before minutes of work, where no graph can be made."""
    if lacking := [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]:
        raise ValueError(f"--onnx true needs {', '.join(lacking)}: tools/setup_env.sh export, or --onnx false")


def _check_place(out: Path) -> None:
    """Raise ValueError, before minutes of work, where no file can be written."""
    if out.is_dir():
        raise ValueError(f"--out {out}: is a folder: name a file, say {out / 'press.asdkit'}")
    there = next(place for place in out.absolute().parents if place.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise ValueError(f"--out {out}: nothing can be written into {there}: name a file in another folder")


if __name__ == "__main__":
    cli.run(main)
