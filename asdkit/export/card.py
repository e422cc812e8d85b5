"""The model card in a bundle: what a person should know of where its scores come from."""

from typing import Any

from asdkit.corpus.names import sets_of
from asdkit.fetch.published import PUBLISHED
from asdkit.infer.experiment import Experiment
from asdkit.utils.files import read_json
from asdkit.utils.hub import sha256_weights


def card(experiment: Experiment, name: str) -> dict[str, Any]:
    """Experiment, data, configuration, official scores where they are known, and the licence of the weights."""
    config, marker = experiment.config, read_json(experiment.checkpoint.with_name(".done"))
    results = experiment.seed_dir / "score" / name / "results.json"
    sets = read_json(results)["sets"] if results.exists() else {}
    return {
        "experiment": experiment.exp.name,
        "seed": experiment.seed,
        "checkpoint": config.embed.checkpoint,
        "data": {
            "name": experiment.dataset.name,
            "training": {found: len(experiment.rows(found)) for found in sets_of("train", experiment.sets())},
        },
        "official": {found: told["official"] for found, told in sets.items()},
        "weights": _weights(experiment, str(marker.get("encoder.checkpoint.sha256") or "")),
        "configuration": config.model_dump(mode="json"),
    }


def _weights(experiment: Experiment, digest: str) -> dict[str, Any]:
    """Encoder, file, SHA-256 and licence of the pre-trained weights; the licence as far as the file is known."""
    encoder = experiment.located.encoder
    if not encoder.checkpoint:
        return {"encoder": encoder.name, "file": None, "sha256": None, "licence": "none: no weights of others"}
    digest = digest or sha256_weights(encoder.checkpoint)
    file = str(encoder.checkpoint).rpartition("/")[2]
    known = {one.licence for one in PUBLISHED.values() if one.encoder == encoder.name and one.file == file}
    told = ", ".join(sorted(known)) or "not known: look where the file comes from"
    return {"encoder": encoder.name, "file": file, "sha256": digest, "licence": told}
