"""Stage 5: fit detectors on training embeddings, score every test set, decide. Opens no ground truth."""

import argparse
import logging
import shutil
from pathlib import Path

from asdkit.utils import cli


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(
        "Score test clips (higher = more anomalous); write scores and thresholds to seed<K>/score/<backend>, and the "
        "challenge's files to seed<K>/submission."
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="what stage 1 wrote")
    parser.add_argument("--exp", type=Path, required=True, help="exp/<tag>")
    parser.add_argument("--seed", type=int, default=0, help="which seed<K> to score")
    parser.add_argument("--force", type=cli.boolean, default=False, help="score again")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Score every test set of one seed."""
    args = get_parser().parse_args(argv)
    from asdkit.config import load_config
    from asdkit.corpus.description import load_dataset, present_sets
    from asdkit.corpus.manifest import clips_digest, read_manifest
    from asdkit.corpus.names import sets_of
    from asdkit.detectors.scoring import load_set, score_sets, write_scores, write_thresholds
    from asdkit.report.submission import STYLES, write_submission
    from asdkit.utils.done import Done, flatten
    from asdkit.utils.files import sha256_file

    data, seed_dir = args.data, args.exp / f"seed{args.seed}"
    config = load_config(args.exp / "config.yaml").score
    sets = present_sets(data)
    train_sets, test_sets = (sets_of(split, sets) for split in ("train", "test"))
    if not train_sets or not test_sets:
        raise ValueError(f"{data} holds {', '.join(sets)}: scoring needs training clips and test clips")
    style = load_dataset(data).name_style
    inputs = {**flatten({"score": config.model_dump()}), "name_style": style}
    for name in sets:
        embedded = seed_dir / "embed" / name
        if not (embedded / "embedding.scp").exists():  # stage 4 removes it first and writes it last
            raise ValueError(f"{embedded}/embedding.scp does not exist: run stage 4 (extract_embeddings) first")
        inputs[f"{name}.manifest"] = clips_digest(read_manifest(data / name / "manifest.tsv"))
        inputs[f"{name}.embedding"] = sha256_file(embedded / "embedding.ark")
    out = seed_dir / "score" / config.backend
    done = Done(out / ".done", inputs, args.force)
    if done.is_done():
        logging.info("%s: already done", out)
        return
    train, tests = (
        {name: load_set(data, seed_dir / "embed", name) for name in names} for names in (train_sets, test_sets)
    )
    scored = score_sets(config, train, tests)
    for name, scores in scored.scores.items():
        write_scores(out / f"{name}.tsv", scores)
        logging.info("%s: %d clips", out / f"{name}.tsv", len(scores))
    (out / "threshold.tsv").unlink(missing_ok=True)
    submission = seed_dir / "submission"
    if submission.exists():
        shutil.rmtree(submission)
    if not scored.thresholds:
        logging.info("transductive scores: no thresholds, no files to submit")
    else:
        write_thresholds(out / "threshold.tsv", scored.thresholds)
        for name in test_sets if style in STYLES else ():
            count = write_submission(submission / name, tests[name][0], style, scored.scores[name], scored.thresholds)
            logging.info("%s: %d files to submit", submission / name, count)
    done.finish()


if __name__ == "__main__":
    cli.run(main)
