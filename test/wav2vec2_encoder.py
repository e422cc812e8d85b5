"""A network of the library transformers as an encoder: the wrapper, its builder and its section in one file."""

from typing import Any, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from asdkit.config import AnyEncoder
from asdkit.encoders.base import Encoder
from asdkit.layers.block import Block

LINEARS = ("q_proj", "k_proj", "v_proj", "out_proj", "intermediate_dense", "output_dense")


class Wav2Vec2Encoder(AnyEncoder):
    """The section of the configuration; `checkpoint` is a folder that `save_pretrained` wrote."""

    LINEARS = LINEARS
    spectrogram = False

    name: Literal["wav2vec2"] = Field("wav2vec2", description="wav2vec2")
    sizes: dict[str, Any] = Field({}, description="sizes of a network with random weights")


class Wav2Vec2(Encoder):
    """wav2vec 2.0: recordings to tokens every 20 ms."""

    sample_rate, window, hop = 16000, 1, 1

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network, self.dim = network, network.config.hidden_size

    def frontend(self, wav: Tensor) -> Tensor:
        return wav.float()

    def forward(self, feats: Tensor) -> Tensor:
        if feats.shape[1] < 400:
            raise ValueError(f"wav2vec2: clip of {feats.shape[1]} samples, at least 400 are needed")
        return self.network(F.layer_norm(feats, feats.shape[1:])).last_hidden_state

    def blocks(self) -> list[Block]:
        return [_block(layer) for layer in self.network.encoder.layers]


def _block(layer: Any) -> Block:
    holders = [layer.attention] * 4 + [layer.feed_forward] * 2
    linears = {name: (holder, name) for holder, name in zip(holders, LINEARS, strict=True)}
    return Block(layer, linears, {"mha": (layer, "attention"), "ffn": (layer, "feed_forward")})


def build_wav2vec2(config: Wav2Vec2Encoder) -> Wav2Vec2:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    off = {"apply_spec_augment": False, "layerdrop": 0.0}  # the trainer augments, and every block is run
    if not config.checkpoint:
        return Wav2Vec2(Wav2Vec2Model(Wav2Vec2Config(**config.sizes, **off)))
    network, notes = Wav2Vec2Model.from_pretrained(
        config.checkpoint, local_files_only=True, output_loading_info=True, **off
    )
    if missing := sorted(notes["missing_keys"]):
        raise ValueError(f"{config.checkpoint}: lacks {len(missing)} tensor(s), the first {missing[0]!r}")
    return Wav2Vec2(network)
