"""Stage 5: fit detectors on training embeddings and score every test set. Opens no ground truth."""

import argparse
import logging
from pathlib import Path

from asdkit.utils import cli


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser("Score test clips (higher = more anomalous); write seed<K>/score/<backend>/<set>.tsv.")
    parser.add_argument("--data", type=Path, default=Path("data"), help="what stage 1 wrote")
    parser.add_argument("--exp", type=Path, required=True, help="exp/<tag>")
    parser.add_argument("--seed", type=int, default=0, help="which seed<K> to score")
    parser.add_argument("--force", type=cli.boolean, default=False, help="score again")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Score every test set of one seed."""
    args = get_parser().parse_args(argv)
    from asdkit.backends.scoring import load_set, load_sets, score_clips, write_scores
    from asdkit.config import load_config
    from asdkit.data.description import present_sets
    from asdkit.utils.done import Done, flatten
    from asdkit.utils.files import sha256_file

    data, seed_dir = args.data, args.exp / f"seed{args.seed}"
    config = load_config(args.exp / "config.yaml").score
    sets = present_sets(data)
    train_sets, test_sets = ([name for name in sets if name.endswith(split)] for split in ("train", "test"))
    if not train_sets or not test_sets:
        raise ValueError(f"{data} holds {', '.join(sets)}: scoring needs training clips and test clips")
    inputs = flatten({"score": config.model_dump()})
    for name in sets:
        inputs[f"{name}.manifest"] = sha256_file(data / name / "manifest.tsv")
        inputs[f"{name}.embedding"] = sha256_file(seed_dir / "embed" / name / "embedding.ark")
    out = seed_dir / "score" / config.backend
    done = Done(out / ".done", inputs, args.force)
    if done.is_done():
        logging.info("%s: already done", out)
        return
    train, train_x = load_sets(data, seed_dir / "embed", train_sets)
    scores = {}
    for name in test_sets:
        test, test_x = load_set(data, seed_dir / "embed", name)
        try:
            scores[name] = score_clips(config, train, train_x, test, test_x)
        except ValueError as error:
            raise ValueError(f"{name}, with training clips of {', '.join(train_sets)}: {error}") from None
    for name in test_sets:
        write_scores(out / f"{name}.tsv", scores[name])
        logging.info("%s: %d clips", out / f"{name}.tsv", len(scores[name]))
    done.finish()


if __name__ == "__main__":
    cli.run(main)
