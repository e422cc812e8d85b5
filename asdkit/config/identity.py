"""What an experiment's results depend on: the settings that done markers hold.

A marker holds a key only where that key can change the bits. What an older version wrote is brought into today's terms
before it is compared: renamed keys, keys that did not exist, values such as null that stand for others.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic import TypeAdapter, ValidationError

from asdkit.config.experiment import Config, read_older
from asdkit.config.scoring import ScoreConfig
from asdkit.config.upgrade import today, unflatten
from asdkit.utils.hub import sha256_weights
from asdkit.utils.typed_yaml import settings_of

Flat = dict[str, Any]
TRAINING = ("encoder", "data", "model", "loss", "train")
CHECKPOINT = "encoder.checkpoint"


def training_identity(config: Config, checkpoint: str | None = None) -> Flat:
    """The settings that the trained weights depend on.

    `checkpoint`: SHA-256 of the pre-trained file, which counts in place of its path; None: of the file that is there.
    """
    flat = settings_of(config.encoder.resolved(), "encoder")
    flat |= {key: value for part in TRAINING[1:] for key, value in settings_of(getattr(config, part), part).items()}
    if path := flat.pop(CHECKPOINT, None):
        flat[f"{CHECKPOINT}.sha256"] = checkpoint or sha256_weights(path)
    if config.model.lora and config.model.lora.targets is None and config.encoder.LINEARS:
        flat["model.lora.targets"] = list(config.encoder.LINEARS)
    if not config.encoder.spectrogram:
        flat = {key: value for key, value in flat.items() if not key.startswith("train.specaugment")}
    if config.encoder.family == "autoencoder":
        unused = ("model.", "loss.", "data.balance", "train.specaugment")
        return {key: value for key, value in flat.items() if not key.startswith(unused)}
    if config.model.pooling != "attentive":
        del flat["model.attention_dim"]
    if config.encoder.layers != "concatenated":
        del flat["model.layers_dim"]
    if config.train.steps == 0:
        kept = ("train.steps",)
        flat = {key: value for key, value in flat.items() if key in kept or not key.startswith(("train.", "loss."))}
        return {key: value for key, value in flat.items() if not key.startswith(("data.balance", "data.held_out"))}
    return flat


def embedding_identity(config: Config) -> Flat:
    """The settings that embeddings depend on, beside the weights that they are made with."""
    flat = settings_of(config.embed, "embed")
    if config.embed.segment == "clip" and not config.embed.chunks:
        del flat["embed.hop_seconds"]
    return flat | {
        f"data.{key}": getattr(config.data, key) for key in ("feats_type", "chunk_seconds", "level", "reference")
    }


def score_identity(settings: ScoreConfig) -> Flat:
    """The settings that scores depend on, beside the embeddings."""
    return settings_of(settings, "score")


def experiment_identity(config: Config) -> Flat:
    """The settings of `exp/<tag>`: what is trained and embedded, but not how it is scored. Reads no file."""
    flat = training_identity(config, "-") | embedding_identity(config)
    flat.pop(f"{CHECKPOINT}.sha256", None)
    return flat | ({CHECKPOINT: config.encoder.checkpoint} if config.encoder.checkpoint else {})


def reread_training(marker: Flat) -> Flat:
    """A marker of stage 3, of this version or an older one, in today's terms."""
    today = _reread(marker, partial(training_identity, checkpoint=marker.get(f"{CHECKPOINT}.sha256")))
    if today.get("train.steps") == 0:  # weights that nothing was trained with, whatever the clips
        clips = ("dataset.", "labels")
        ends = (".manifest", ".utt2num_samples")
        today = {key: value for key, value in today.items() if not key.startswith(clips) and not key.endswith(ends)}
    return today


def reread_embedding(marker: Flat) -> Flat:
    """A marker of stage 4, of this version or an older one, in today's terms."""
    return _reread(marker, embedding_identity)


def reread_score(marker: Flat) -> Flat:
    """A marker of stage 5, of this version or an older one, in today's terms."""
    own = {key: value for key, value in marker.items() if key.startswith("score.")}
    others = {key: value for key, value in marker.items() if key not in own}
    raw = today({"score": {"knn": unflatten(own).get("score", {})}})["score"]["knn"]
    try:
        settings = TypeAdapter(ScoreConfig).validate_python(raw, context={"older": True})
    except ValidationError:  # of a later version: compared as it stands
        return marker
    return score_identity(settings) | others


def _reread(marker: Flat, identity: Callable[[Config], Flat]) -> Flat:
    digest = f"{CHECKPOINT}.sha256"
    own = {key: value for key, value in marker.items() if key.partition(".")[0] in Config.model_fields}
    if not own:
        return marker
    others = {key: value for key, value in marker.items() if key not in own}
    raw = unflatten({key: value for key, value in own.items() if key != digest})
    if digest in own:
        raw.setdefault("encoder", {})["checkpoint"] = "-"  # its path does not count
    # A marker of stage 4 tells which of the kept weights it used, but not which were kept.
    if (step := str(raw.get("embed", {}).get("checkpoint", "final")).removeprefix("step")).isdigit():
        raw.setdefault("train", {}).setdefault("save_steps", [int(step)])
    elif step in ("best", "average"):
        raw.setdefault("train", {}).setdefault("save_steps", [1])
        raw.setdefault("data", {}).setdefault("held_out", {})
    try:
        config = read_older(raw, "marker")
    except ValueError:  # of a later version: compared as it stands
        return marker
    return identity(config) | others
