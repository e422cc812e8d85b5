"""Stage 5: fit detectors on training embeddings, score every test set, decide. Opens no ground truth."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from asdkit.utils import cli

if TYPE_CHECKING:
    from asdkit.config import ScoreConfig
    from asdkit.infer.experiment import Experiment

MADE_BY = "asdkit.bin.score"


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(
        "Score test clips (higher = more anomalous): for each of the experiment's scores a folder seed<K>/score/<name> "
        "with scores, thresholds, tables and the challenge's files."
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="what stage 1 wrote")
    parser.add_argument("--exp", type=Path, required=True, help="exp/<tag>")
    parser.add_argument("--seed", type=int, default=0, help="which seed<K> to score")
    parser.add_argument("--score", help="names of scores, separated by commas (default: all of the configuration)")
    parser.add_argument("--force", type=cli.boolean, default=False, help="score again")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Score every test set of one seed by every detector asked for."""
    args = get_parser().parse_args(argv)
    from asdkit.infer.experiment import Experiment

    experiment = Experiment.open(args.exp, args.seed, args.data)
    known = experiment.config.score
    names = args.score.split(",") if args.score else list(known)
    if unknown := [name for name in names if name not in known]:
        raise ValueError(
            f"--score {unknown[0]}: {args.exp}/config.yaml has the scores {', '.join(known)}; others are stage 6's"
        )
    experiment.unheard()
    for name in names:
        try:
            _score(args, experiment, name, known[name])
        except ValueError as error:
            raise ValueError(f"score.{name}: {error}") from None


def _score(args: argparse.Namespace, experiment: "Experiment", name: str, settings: "ScoreConfig") -> None:
    from asdkit.config.identity import score_identity
    from asdkit.config.scoring import another_name
    from asdkit.corpus.description import load_dataset, present_sets
    from asdkit.corpus.manifest import clips_digest
    from asdkit.corpus.names import sets_of
    from asdkit.data.chain import reread_scores
    from asdkit.detectors.folder import MADE_FROM, THRESHOLD, TRAIN, read_made_from
    from asdkit.utils.done import Done
    from asdkit.utils.files import sha256_file

    data, seed_dir = args.data, args.exp / f"seed{args.seed}"
    sets = present_sets(data)
    tests = sets_of("test", sets)
    if not sets_of("train", sets):
        raise ValueError(f"{data} holds {', '.join(sets)}: scoring needs training clips: add some, from stage 1")
    if not tests and settings.normalise == "test_zscore":
        raise ValueError("normalise is test_zscore, and there are no test clips: add some, or choose others by --score")
    inputs = {**score_identity(settings), "name_style": load_dataset(data).name_style}
    for found in sets:
        for array in settings.arrays:
            _check_array(experiment, seed_dir / "embed" / found, array)
        experiment.check_embedded(found)
        inputs[f"{found}.manifest"] = clips_digest(experiment.rows(found))
        inputs[f"{found}.clips"] = experiment.prepared.digest(found)
        for array in settings.arrays:
            inputs[f"{found}.{array}"] = sha256_file(seed_dir / "embed" / found / f"{array}.ark")
    out = seed_dir / "score" / name
    done = Done(
        out / ".done",
        inputs,
        args.force,
        another_name(name),
        lambda made: reread_scores(made, inputs, experiment.prepared),
        "--stage 5 --force true",
    )
    scored = [out / f"{found}.{kind}" for found in tests for kind in ("tsv", "csv")]
    files = [out / MADE_FROM, *(scored or [out / TRAIN, out / THRESHOLD])]
    if done.is_done() and all(file.exists() for file in files):
        logging.info("%s: already done", out)
        return
    if not args.force and not done.path.exists() and files[1].exists() and read_made_from(out).made_by != MADE_BY:
        raise ValueError(f"{out} holds scores of another program: take another name, or --stage 5 --force true")
    done.path.unlink(missing_ok=True)
    _write(experiment, out, settings, sets, inputs)
    written = dict.fromkeys([*files, out / TRAIN, out / THRESHOLD])
    done.finish([file for file in written if file.exists()])


def _check_array(experiment: "Experiment", folder: Path, array: str) -> None:
    """Raise ValueError for an array of stage 4 that is not there."""
    if (folder / f"{array}.scp").exists():  # stage 4 removes it first and writes it last
        return
    known = ["embedding", *experiment.config.embed.arrays]
    if array not in known and not array.startswith("score."):
        raise ValueError(
            f"array: this experiment makes no array {array!r}, it makes {', '.join(known)}. Others are named in "
            "embed.arrays, of another --tag"
        )
    raise ValueError(f"{folder / array}.scp does not exist: run stage 4 (extract_embeddings) first")


def _write(experiment: "Experiment", out: Path, settings: "ScoreConfig", sets: list[str], inputs: dict) -> None:
    import math

    from asdkit.config.identity import score_identity
    from asdkit.corpus.names import sets_of
    from asdkit.detectors import DETECTORS
    from asdkit.detectors.folder import MADE_FROM, TRAIN, write_scores
    from asdkit.detectors.scoring import score_sets
    from asdkit.report.decisions import complete
    from asdkit.utils.files import write_json
    from asdkit.utils.provenance import source

    loaded = {name: experiment.stored(name, *settings.arrays, zeros=settings.zeros) for name in sets}
    train, tests = ({name: loaded[name] for name in sets_of(split, sets)} for split in ("train", "test"))
    scored = score_sets(settings, train, tests)
    made_from = {
        "made_by": MADE_BY,
        "detector": settings.detector,
        "non_negative": settings.normalise in ("none", "median")
        and DETECTORS[settings.detector](settings).non_negative,
        "per_section": settings.per_section,
        "transductive": settings.normalise == "test_zscore",
        "threshold_percentile": settings.threshold_percentile,
        "settings": score_identity(settings),
        "inputs": inputs,
        "seed": experiment.seed,
        **source(),
    }
    write_json(out / MADE_FROM, made_from)
    for name, scores in scored.scores.items():
        write_scores(out / f"{name}.tsv", scores)
        logging.info("%s: %d clips", out / f"{name}.tsv", len(scores))
    own = {utt: score for scores in scored.train.values() for utt, score in scores.items() if math.isfinite(score)}
    if scored.train:
        write_scores(out / TRAIN, own)
    else:
        (out / TRAIN).unlink(missing_ok=True)
        logging.info("transductive scores: no thresholds, no files to submit")
    rows = {name: found for name, (found, _) in loaded.items()}
    complete(out, rows, inputs["name_style"], warnings=scored.notes)


if __name__ == "__main__":
    cli.run(main)
