"""Weights on the Hugging Face hub: fetched when a user names them as hub:ID, kept in the hub's own cache."""

from pathlib import Path
from typing import Any

from asdkit.utils.files import sha256_file, sha256_path, sha256_text

PREFIX = "hub:"
# Of the weights, the first that is there; of the others, those that are there.
OTHERS, WEIGHTS = ("config.json", "preprocessor_config.json"), ("model.safetensors", "pytorch_model.bin")


def weights_path(checkpoint: str | Path) -> Path:
    """Where weights lie: the path itself, or for hub:ID (hub:ID@REVISION) a folder of the hub's cache.

    What is in the cache is used as it is, without a question to the hub; otherwise it is fetched, unless HF_HUB_OFFLINE
    is set. Raises ValueError where it cannot be had, and without the package huggingface_hub.
    """
    if not str(checkpoint).startswith(PREFIX):
        return Path(checkpoint)
    name, _, revision = str(checkpoint).removeprefix(PREFIX).partition("@")
    try:
        import huggingface_hub
    except ImportError as error:
        raise ValueError(
            f"{checkpoint}: the package huggingface_hub cannot be used ({error}). It comes with an extra, installed by "
            "'tools/setup_env.sh hf'"
        ) from None
    try:
        return _cached(huggingface_hub, name, revision or None) or _fetched(huggingface_hub, name, revision or None)
    except Exception as error:  # of the hub's, of the network's, of the disk's
        if not isinstance(error, huggingface_hub.errors.LocalEntryNotFoundError | OSError | ValueError):
            raise
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"{checkpoint}: not in the hub's cache, and it cannot be fetched ({reason}). Look at the name and at the "
            "network, or give a folder of weights"
        ) from None


def sha256_weights(checkpoint: str | Path) -> str:
    """SHA-256 as hex of a file or folder of weights; of hub:ID over the files that are used, as over a folder of them.

    Raises ValueError as `weights_path` and `sha256_path`.
    """
    path = weights_path(checkpoint)
    if not str(checkpoint).startswith(PREFIX):
        return sha256_path(path)
    names = [name for name in OTHERS if (path / name).exists()]
    names += [name for name in WEIGHTS if (path / name).exists()][:1]
    return sha256_text("".join(f"{name}\t{sha256_file(path / name)}\n" for name in sorted(names)))


def _cached(hub: Any, name: str, revision: str | None) -> Path | None:
    """The folder of what was fetched before, if all of it is there; the cache also knows what the hub has not."""
    found = {file: hub.try_to_load_from_cache(name, file, revision=revision) for file in (*OTHERS, *WEIGHTS)}
    there = any(isinstance(found[file], str) for file in WEIGHTS) and None not in map(found.get, OTHERS)
    return Path(found[OTHERS[0]]).parent if there else None


def _fetched(hub: Any, name: str, revision: str | None) -> Path:
    """The folder of the cache that the hub's files have been fetched to, all of one revision."""
    config = Path(hub.hf_hub_download(name, OTHERS[0], revision=revision))
    commit = config.parent.name  # the cache has a folder for each
    for kind in (OTHERS[1:], WEIGHTS):
        for file in kind:
            try:
                hub.hf_hub_download(name, file, revision=commit)
                break
            except hub.errors.EntryNotFoundError as error:
                if isinstance(error, hub.errors.LocalEntryNotFoundError) or file == WEIGHTS[-1]:
                    raise
    return config.parent
