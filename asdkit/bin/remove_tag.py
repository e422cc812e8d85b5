"""Remove an experiment, and its row from the comparison beside it, for utils/remove_tag.sh, which has its lock."""

import argparse
import shutil
import sys
from pathlib import Path

from asdkit.utils import cli
from asdkit.utils.files import readable


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser("Show what exp/<tag> holds, ask, and remove it, with its row in exp/RESULTS.md.")
    parser.add_argument("--exp", type=Path, required=True, help="exp/<tag>")
    parser.add_argument("--yes", type=cli.boolean, default=False, help="true: do not ask")
    parser.add_argument(
        "--features", type=cli.boolean, default=False, help="true: and what it has dumped, if no other tag uses it"
    )
    parser.add_argument("--dump", type=Path, default=Path("dump"), help="folder of lists and features")
    parser.add_argument("--published", type=Path, help="others' figures in exp/RESULTS.md: conf/published.yaml")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Check that it is an experiment, show it, ask, remove it."""
    args = get_parser().parse_args(argv)
    from asdkit.report.comparison import write_comparison
    from asdkit.report.published import load_published

    exp = args.exp
    systems = load_published(args.published) if args.published else []
    if exp.is_symlink():
        raise ValueError(f"{exp}: a symbolic link to {exp.readlink()}, which is not followed: name that folder instead")
    fusion = any(exp.glob("seed*/score/*/made_from.json"))  # scores alone, without a configuration
    if not (exp / "config.yaml").is_file() and not fusion:
        raise ValueError(f"{exp}: no experiment, for it has no config.yaml; nothing is removed. Name exp/<tag>")
    whole = [exp]
    print(f"{exp}: {readable(_size(exp))}")
    for path in sorted(exp.iterdir()):
        print(f"  {path.name}: {readable(_size(path))}")
    for link in sorted(path for path in exp.rglob("*") if path.is_symlink()):
        print(f"  {link.relative_to(exp)} is a link; {link.readlink()} stays")
    features = _features(exp, args.dump)
    if features:
        print(f"{features}: {readable(_size(features))}{'' if args.features else ' (stays; --features true)'}")
        whole += [features] if args.features else []
    if not args.yes and not _agreed():
        print("nothing was removed")
        return
    for folder in reversed(whole):
        _remove(folder)
    if (exp.parent / "RESULTS.md").exists():
        write_comparison(exp.parent, systems)
    print(f"removed {', '.join(map(str, whole))}")


def _size(path: Path) -> int:
    """Bytes of a file or of all files in a folder; links count as what they are."""
    if path.is_dir() and not path.is_symlink():
        return sum(_size(part) for part in path.iterdir())
    return path.lstat().st_size


def _features(exp: Path, dump: Path) -> Path | None:
    """The folder of the features that this experiment has dumped, unless another experiment beside it reads it too."""
    own = _dumped(exp)
    folder = dump / own if own else None
    if folder is None or folder.is_symlink() or not folder.is_dir():
        return None
    others = [path.parent for path in exp.parent.glob("*/config.yaml") if not path.parent.samefile(exp)]
    return None if any(_dumped(other, unknown=own) == own for other in others) else folder


def _dumped(exp: Path, unknown: str | None = None) -> str | None:
    """The folder of what an experiment has dumped; None: it reads recordings; `unknown`: a broken configuration."""
    from asdkit.config import open_config
    from asdkit.data.chain import dump_folder

    try:
        config = open_config(exp / "config.yaml")
    except ValueError:
        return unknown
    return dump_folder(config)


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise ValueError("nobody is there to be asked: say --yes true")
    return input("Remove all this? [y/N] ").strip().lower() in ("y", "yes")


def _remove(folder: Path) -> None:
    """What makes it an experiment goes last: after a kill, the same command goes on."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in ("config.yaml", ".lock"):
            path.unlink()
    shutil.rmtree(folder)


if __name__ == "__main__":
    cli.run(main)
