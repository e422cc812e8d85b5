"""Stage 2: resolve the experiment and write exp/<tag>/config.yaml, or compare with the one there."""

import argparse
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from asdkit.utils import cli
from asdkit.utils.done import TAG, compare, flatten

if TYPE_CHECKING:
    from asdkit.config import Config


def get_parser() -> argparse.ArgumentParser:
    """Command line of configure."""
    parser = cli.parser("Write exp/<tag>/config.yaml and env.txt, or check that they agree with the options.")
    parser.add_argument("--config", required=True, help="experiment, conf/x.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="replace a value")
    parser.add_argument("--data", default="data", help="what stage 1 wrote")
    parser.add_argument("--exp", required=True, help="folder of the experiment, exp/<tag>")
    parser.add_argument("--check", type=cli.boolean, default=False, help="true: write nothing, only check the options")
    parser.add_argument(
        "--must-exist", type=cli.boolean, default=False, help="true: the same, and they must have been used before"
    )
    parser.add_argument("--force", type=cli.boolean, default=False, help="true: replace a different configuration")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write the resolved configuration, unless the same one is there; a different one is an error."""
    args = get_parser().parse_args(argv)
    from asdkit.config import check_checkpoint, load_config
    from asdkit.utils.typed_yaml import given

    config = load_config(args.config, args.set)
    if not args.must_exist:
        check_checkpoint(config, given(args.set, "encoder.checkpoint") or args.config)
    path = Path(args.exp) / "config.yaml"
    if path.exists() and not (args.force and not args.must_exist):
        elsewhere = "the --config and --set of that run, or from --stage 2 on another --tag" if args.must_exist else TAG
        old, new = (flatten(found.model_dump(mode="json")) for found in (load_config(path), config))
        compare(path, old, new, elsewhere)
        return
    if args.must_exist:
        raise ValueError(f"{path} does not exist: run stage 2 first, or give the --tag of an experiment that has it")
    if not args.check:
        _write(args, config, path)


def _write(args: argparse.Namespace, config: "Config", path: Path) -> None:
    from asdkit.data.lists import training_sets
    from asdkit.utils.files import write_text
    from asdkit.utils.provenance import environment
    from asdkit.utils.typed_yaml import dump_yaml

    sets = training_sets(config, args.data)
    if absent := [name for name in config.data.sets if name not in sets]:
        logging.info("training on %s; the corpus has no %s", ", ".join(sets), ", ".join(absent))
    options = [word for setting in args.set for word in ("--set", setting)]
    command = f"python3 -m asdkit.bin.configure {shlex.join(['--config', args.config, *options])}"
    head = "\n# ".join(f"# made by: {command}".splitlines()) + "\n"
    write_text(Path(args.exp) / "env.txt", "".join(f"{key}: {value}\n" for key, value in environment().items()))
    write_text(path, head + dump_yaml(config))


if __name__ == "__main__":
    cli.run(main)
