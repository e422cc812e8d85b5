"""Before the stages: check an experiment's options, and that its folder was made with the same ones."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from asdkit.utils import cli
from asdkit.utils.done import TAG

if TYPE_CHECKING:
    from asdkit.config import Config


def get_parser() -> argparse.ArgumentParser:
    """Command line of configure."""
    parser = cli.parser("Check an experiment's options against exp/<tag>/config.yaml, which stage 2 writes.")
    parser.add_argument("--config", required=True, help="experiment, conf/x.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="replace a value")
    parser.add_argument("--exp", type=Path, required=True, help="folder of the experiment, exp/<tag>")
    parser.add_argument("--score", help="names that the experiment's scores have to have, separated by commas")
    parser.add_argument(
        "--must-exist",
        type=cli.boolean,
        default=False,
        help="true: the folder must be there; new scores, and settings that change no result, are put into its file",
    )
    parser.add_argument(
        "--force", type=cli.boolean, default=False, help="true: others may take the place of those there"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Check; write nothing but scores."""
    args = get_parser().parse_args(argv)
    from asdkit.config import check_checkpoint, load_config
    from asdkit.config.folder import settle, write
    from asdkit.utils.typed_yaml import given

    config = load_config(args.config, args.set, not (args.exp / "config.yaml").exists() or args.force)
    if not args.must_exist:
        check_checkpoint(config, given(args.set, "encoder.checkpoint") or args.config)
        _check_names(args, settle(config, args.exp, TAG, args.force, chosen=_chosen(args)))
        return
    path = args.exp / "config.yaml"
    if not path.exists():
        raise ValueError(f"{path} does not exist: run stage 2 first, or give the --tag of an experiment that has it")
    elsewhere = "the --config and --set of that run, or from --stage 2 on another --tag"
    config = settle(config, args.exp, elsewhere, args.force, scores_only=True, chosen=_chosen(args))
    _check_names(args, config)
    options = [word for setting in args.set for word in ("--set", setting)]
    write(config, args.exp, f"python3 -m asdkit.bin.configure {shlex.join(['--config', args.config, *options])}")


def _chosen(args: argparse.Namespace) -> list[str] | None:
    return args.score.split(",") if args.score else None


def _check_names(args: argparse.Namespace, config: "Config") -> None:
    wanted = _chosen(args) or []
    there = {path.name for path in args.exp.glob("seed*/score/*")}  # those of other programs, too
    if unknown := [name for name in wanted if name not in {*config.score, *there}]:
        raise ValueError(f"--score {unknown[0]}: the experiment's scores are {', '.join(config.score)}")


if __name__ == "__main__":
    cli.run(main)
