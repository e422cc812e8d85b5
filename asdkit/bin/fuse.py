"""Make one system of several: their scores on one scale, joined, as an experiment of its own."""

import argparse
import logging
from pathlib import Path
from typing import Any

from asdkit.utils import cli

NAME = "fusion"  # of the scores: exp/<tag>/seed<K>/score/fusion


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(
        "Fuse scores of several experiments (or of one: its scores, its seeds) into exp/<tag>/seed<K>/score/fusion, "
        "which stage 6 evaluates like any other."
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="what stage 1 wrote")
    parser.add_argument("--exp", type=Path, required=True, help="exp/<tag> to write")
    parser.add_argument(
        "--members", nargs="+", required=True, help="exp/<tag>, or exp/<tag>:<score> of an experiment with several"
    )
    parser.add_argument(
        "--scale",
        choices=("zscore", "median", "minmax", "none", "rank"),
        default="zscore",
        help="scores by those of training clips, each scored without itself; rank: among test clips, transductive",
    )
    parser.add_argument("--join", choices=("mean", "max", "min"), default="mean", help="one score from the members'")
    parser.add_argument("--weights", type=float, nargs="+", help="of the members in a mean (default: all equal)")
    parser.add_argument(
        "--over-seeds",
        type=cli.boolean,
        default=False,
        help="true: all seeds of all members in one system (seed0); else members pair by seed",
    )
    parser.add_argument("--threshold-percentile", type=float, default=90.0, help="of training clips' scores")
    parser.add_argument("--force", type=cli.boolean, default=False, help="fuse again")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write a folder of scores for each seed."""
    args = get_parser().parse_args(argv)
    if args.weights and (len(args.weights) != len(args.members) or min(args.weights) <= 0 or args.join != "mean"):
        raise ValueError(
            f"--weights {args.weights}: positive numbers, one for each of {len(args.members)} members, with --join mean"
        )
    if not 0 < args.threshold_percentile < 100:
        raise ValueError(f"--threshold-percentile is between 0 and 100, not {args.threshold_percentile}")
    if (args.exp / "config.yaml").exists():
        raise ValueError(f"{args.exp} is a trained experiment: take another tag for the fusion")
    for seed, folders in _seeds(args).items():
        _fuse(args, seed, folders)


def _seeds(args: argparse.Namespace) -> dict[int, list[tuple[Path, float]]]:
    """Seed to write -> members' folders of scores with their weights."""
    from asdkit.report.results import seed_folders

    weights = args.weights or [1.0] * len(args.members)
    found: dict[str, dict[int, Path]] = {}
    for member in args.members:
        exp, _, name = member.partition(":")
        seeds = {seed: _score_folder(path, name) for seed, path in seed_folders(exp).items()}
        if not seeds:
            raise ValueError(f"--members {member}: {exp} holds no seed<K>: is it an experiment?")
        found[member] = seeds
    if len(found) < len(args.members):
        raise ValueError(f"--members: one is named twice: {' '.join(args.members)}")
    if args.over_seeds:
        return {0: [(path, w) for seeds, w in zip(found.values(), weights, strict=True) for path in seeds.values()]}
    if len({tuple(seeds) for seeds in found.values()}) > 1:
        told = "; ".join(f"{member} has {', '.join(map(str, seeds))}" for member, seeds in found.items())
        raise ValueError(f"members pair by seed, but seeds differ: {told}. Make the missing ones, or --over-seeds true")
    if len(found) < 2:
        raise ValueError("one member: name two or more, or --over-seeds true to fuse its seeds")
    return {seed: [(seeds[seed], w) for seeds, w in zip(found.values(), weights, strict=True)] for seed in seeds}


def _score_folder(seed_dir: Path, name: str) -> Path:
    from asdkit.report.results import score_folders

    there = [path.name for path in score_folders(seed_dir)]
    if not name and len(there) == 1:
        name = there[0]
    if name not in there:
        wanted = f"no score {name!r}" if name else "several scores: name one, as TAG:SCORE"
        raise ValueError(
            f"{seed_dir}/score: {wanted if there else 'no scores: run stage 5'}; there: {', '.join(there)}"
        )
    return seed_dir / "score" / name


def _fuse(args: argparse.Namespace, seed: int, folders: list[tuple[Path, float]]) -> None:
    from asdkit.corpus.description import load_dataset, present_sets
    from asdkit.corpus.manifest import clips_digest
    from asdkit.corpus.names import sets_of
    from asdkit.detectors.folder import MADE_FROM, TRAIN, write_scores
    from asdkit.detectors.members import MADE_BY, OWN, fuse, read_member
    from asdkit.report.decisions import complete, read_sets
    from asdkit.utils.done import Done, flatten
    from asdkit.utils.files import locked, write_json
    from asdkit.utils.provenance import git_hash

    sets = present_sets(args.data)
    rows, tests = read_sets(args.data, sets), sets_of("test", sets)
    members = [read_member(folder, tests) for folder, _ in folders]
    told = [{**member.provenance(), "weight": weight} for member, (_, weight) in zip(members, folders, strict=True)]
    settings = {"scale": args.scale, "join": args.join, "threshold_percentile": args.threshold_percentile}
    inputs = {**settings, **{f"{name}.manifest": clips_digest(rows[name]) for name in sets}}
    inputs |= {f"members.{number}.{key}": value for number, one in enumerate(told) for key, value in one.items()}
    out = args.exp / f"seed{seed}" / "score" / NAME
    out.mkdir(parents=True, exist_ok=True)
    with locked(args.exp / ".fuse.lock"):
        done = Done(out / ".done", flatten(inputs), args.force)
        if done.is_done() and (out / f"{tests[0]}.tsv").exists():
            logging.info("%s: already done", out)
            return
        done.path.unlink(missing_ok=True)
        fused = fuse(members, rows, args.scale, args.join, [w for _, w in folders] if args.join == "mean" else None)
        own = fused.pop(OWN, {})
        made_from: dict[str, Any] = {
            "made_by": MADE_BY,
            "detector": f"{args.join} of {len(members)} ({args.scale})",
            "non_negative": False,
            "per_section": any(member.made_from.per_section for member in members),
            "transductive": args.scale == "rank" or any(member.made_from.transductive for member in members),
            "threshold_percentile": args.threshold_percentile,
            "members": told,
            "seed": seed,
            "git": git_hash(),
        }
        write_json(out / MADE_FROM, made_from)
        for name, scores in fused.items():
            write_scores(out / f"{name}.tsv", scores)
            logging.info("%s: %d clips, %d members", out / f"{name}.tsv", len(scores), len(members))
        (out / TRAIN).unlink(missing_ok=True)
        if own and not made_from["transductive"]:
            write_scores(out / TRAIN, own)
        complete(out, rows, load_dataset(args.data).name_style)
        done.finish()


if __name__ == "__main__":
    cli.run(main)
