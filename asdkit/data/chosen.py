"""What stage 4 chose for a network where the experiment says `embed.precision: auto`."""

from pathlib import Path
from typing import Any

from asdkit.config import Config
from asdkit.config.identity import embedding_identity, reread_embedding
from asdkit.utils.done import compare
from asdkit.utils.files import read_json

CHOSEN = "precision.json"  # in exp/<tag>/seed<K>
AGAIN = "--stage 4 --force true"


def as_chosen(config: Config, seed_dir: Path) -> Config:
    """The configuration with the precision that was chosen for this seed's network; as it is where none was."""
    path = seed_dir / CHOSEN
    if config.embed.precision != "auto" or not path.exists():
        return config
    return config.model_copy(
        update={"embed": config.embed.model_copy(update={"precision": read_json(path)["precision"]})}
    )


def choice_inputs(config: Config, checkpoint: str) -> dict[str, Any]:
    """What a choice is made from: the settings of stage 4, chosen or not yet, and the SHA-256 of the weights."""
    return embedding_identity(config) | {"embed.precision": "auto", "checkpoint": checkpoint}


def check_choice(config: Config, seed_dir: Path, checkpoint: str) -> None:
    """Raise ValueError where the precision was chosen for other weights or settings than there are."""
    path = seed_dir / CHOSEN
    if path.exists():
        made = reread_embedding(read_json(path)["made_from"])
        compare(path, made, choice_inputs(config, checkpoint), again=AGAIN)
