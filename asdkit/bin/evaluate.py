"""Stage 6: metrics of one seed. The only program that opens ref.tsv."""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from asdkit.utils import cli


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser("Compare scores with the truth by the protocol of the data set; write seed<K>/results.json.")
    parser.add_argument("--data", type=Path, default=Path("data"), help="what stage 1 wrote")
    parser.add_argument("--exp", type=Path, required=True, help="exp/<tag>")
    parser.add_argument("--seed", type=int, default=0, help="which seed<K> to evaluate")
    parser.add_argument("--force", type=cli.boolean, default=False, help="evaluate again")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Evaluate every test set of one seed."""
    args = get_parser().parse_args(argv)
    from asdkit.config import load_config
    from asdkit.corpus.description import load_dataset, present_sets
    from asdkit.corpus.manifest import clips_digest, read_manifest, sizes_digest
    from asdkit.corpus.names import sets_of, split_set
    from asdkit.report.results import evaluate_set, over_sets
    from asdkit.utils.done import Done, flatten
    from asdkit.utils.files import sha256_file, sha256_text, write_json
    from asdkit.utils.provenance import git_hash

    config_path, seed_dir = args.exp / "config.yaml", args.exp / f"seed{args.seed}"
    config = load_config(config_path).score
    folder = seed_dir / "score" / config.backend
    _check_scores(folder, flatten({"score": config.model_dump()}), args.data, seed_dir / "embed")
    dataset = load_dataset(args.data)
    protocol, revealed = dataset.protocol, dataset.revealed_attributes
    names = sets_of("test", present_sets(args.data))
    tables = {}
    for name in names:
        rows, ref = read_manifest(args.data / name / "manifest.tsv"), args.data / name / "ref.tsv"
        tables[f"{name}.manifest.tsv"] = clips_digest(rows)
        tables[f"{name}.utt2bytes"] = sizes_digest(rows) or "(absent)"
        tables[f"{name}.ref.tsv"] = sha256_file(ref) if ref.exists() else "(absent)"
    inputs = {"protocol": protocol, "revealed_attributes": revealed, "config": sha256_file(config_path), **tables}
    inputs |= {f"{name}.scores": sha256_file(folder / f"{name}.tsv") for name in names}
    done = Done(seed_dir / ".done.evaluate", inputs, args.force)
    if done.is_done() and (seed_dir / "results.json").exists():
        logging.info("%s: already done", seed_dir / "results.json")
        return
    sets = {split_set(name)[0]: evaluate_set(args.data / name, folder / f"{name}.tsv", protocol) for name in names}
    result = {
        "tag": args.exp.resolve().name,
        "seed": args.seed,
        "protocol": protocol,
        "backend": config.backend,
        "normalise": config.normalise,
        "revealed_attributes": revealed,
        "config": str(config_path),
        "config_sha256": inputs["config"],
        "data_sha256": sha256_text(json.dumps(tables)),
        "git": git_hash(),
        "all": over_sets(sets, protocol),
        "sets": sets,
    }
    write_json(seed_dir / "results.json", result)
    done.finish()
    logging.info("%s: written", seed_dir / "results.json")


def _check_scores(folder: Path, settings: dict[str, Any], data: Path, embed: Path) -> None:
    """Refuse scores that were made with other settings, or from other embeddings than those that are there."""
    from asdkit.corpus.description import present_sets
    from asdkit.utils.done import compare
    from asdkit.utils.files import read_json, sha256_file

    arks = {name: embed / name / "embedding.ark" for name in present_sets(data)}
    inputs = settings | {f"{name}.embedding": sha256_file(ark) for name, ark in arks.items() if ark.exists()}
    made = read_json(folder / ".done")
    made = {key: value for key, value in made.items() if key in inputs or key.startswith("score.")}
    compare(folder / ".done", made, inputs, again="--stage 5 --force true")


if __name__ == "__main__":
    cli.run(main)
