"""wav2vec 2.0, UniSpeech, HuBERT and WavLM, as the library transformers has them (extra `hf`)."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asdkit.config import SpeechEncoder
from asdkit.encoders.base import Encoder
from asdkit.encoders.checkpoints import shapes_alone
from asdkit.encoders.speech_checkpoint import LIBRARY_EPS, fit, read_speech
from asdkit.layers.block import Block
from asdkit.layers.wave import WaveConvolutions, WavePosition
from asdkit.utils.hub import weights_path

FAMILIES = {"wav2vec2": "Wav2Vec2", "unispeech": "UniSpeech", "hubert": "Hubert", "wavlm": "WavLM"}
BEFORE = -1  # in place of a layer's number: what the first layer is given


class Speech(Encoder):
    """Samples to tokens every 20 ms: convolutions over samples, a position convolution, transformer layers.

    Clips of one length go through together and none is padded: networks whose first convolution is normalised over the
    clip (feat_extract_norm group) would hear the padding. `network`: one of the library's, with its own masking and
    layer drop set as `section` says. `eps`: each clip, or each chunk where chunks go through the network, is brought to
    mean 0 and variance 1, with `eps` added to the variance; None: it is taken as it is.
    """

    sample_rate, window, hop = 16000, 1, 1

    def __init__(self, network: Any, section: SpeechEncoder, eps: float | None) -> None:
        super().__init__()
        self.network, self.section, self.eps = network, section, eps
        self.dim, self.layer_drop = network.config.hidden_size, section.layerdrop

    def frontend(self, wav: Tensor) -> Tensor:
        """wav [B, T], floats in [-1, 1] -> the same: the network takes samples."""
        return wav.float()

    def forward(self, feats: Tensor) -> Tensor:
        """Samples [B, T] -> tokens [B, 1 + (T - 400) // 320, dim]; raises ValueError for clips of under 400 samples.

        In training, `mask_time_prob` of the tokens are masked.
        """
        if (tokens := self._tokens(feats.shape[1])) < 1:
            least = self._samples()
            raise ValueError(
                f"{self.section.name}: clip of {feats.shape[1]} samples, at least {least} "
                f"({least / self.sample_rate:g} s) are needed"
            )
        if self.eps is not None:
            feats = F.layer_norm(feats.float(), feats.shape[1:], eps=self.eps)
        masked = None
        if self.training and self.section.mask_time_prob:
            drawn = spans(len(feats), tokens, self.section.mask_time_prob, self.section.mask_time_length)
            masked = drawn.to(feats.device, non_blocking=True)
        return self.network(feats, mask_time_indices=masked).last_hidden_state

    def _tokens(self, samples: int) -> int:
        """Tokens of a clip of so many samples, 0 or fewer where it is too short."""
        for kernel, stride in zip(self.network.config.conv_kernel, self.network.config.conv_stride, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples

    def memory(self, samples: int, clips: int, device: str, precision: str) -> int:
        """What the first convolution and the next hold, and WavLM's bias for each pair of tokens and each head.

        Measured on CPUs: 2.5 times what the first convolution gives, with bfloat16 half of that; WavLM's attention has
        16 bytes for each head and pair, with bfloat16 14. The others' attention keeps nothing for pairs.
        """
        config, half = self.network.config, precision == "bfloat16"
        first = samples // config.conv_stride[0] * config.conv_dim[0] * (5 if half else 10)
        tokens = max(self._tokens(samples), 0)
        pairs = tokens**2 * config.num_attention_heads * (14 if half else 16) if self.section.name == "wavlm" else 0
        return clips * (4 * samples + max(first, pairs))

    def blocks(self) -> list[Block]:
        """The transformer layers, first to last."""
        return [_block(layer) for layer in self.network.encoder.layers]

    def layers(self, feats: Tensor) -> list[Tensor]:
        """Samples [B, T] -> the output of every layer; of one that is left out in training, that of the one before.

        Each is [B, N, dim]. They are noted as they pass, for the library's `hidden_states` have no entry for a layer
        that is left out.
        """
        layers = self.network.encoder.layers
        found: dict[int, Tensor] = {}

        def note(number: int, module: nn.Module, inputs: Any, output: Any) -> None:
            found[number] = output[0] if isinstance(output, tuple) else output

        places = {BEFORE: self.network.encoder.dropout, **dict(enumerate(layers))}
        hooks = [module.register_forward_hook(partial(note, number)) for number, module in places.items()]
        try:
            self(feats)
        finally:
            for hook in hooks:
                hook.remove()
        outputs = [found[BEFORE]]
        for number in range(len(layers)):
            outputs.append(found.get(number, outputs[-1]))
        return outputs[1:]

    def _samples(self) -> int:
        """Samples of the shortest clip."""
        samples, config = 1, self.network.config
        for kernel, stride in reversed(list(zip(config.conv_kernel, config.conv_stride, strict=True))):
            samples = (samples - 1) * stride + kernel
        return samples


def spans(clips: int, tokens: int, share: float, length: int) -> Tensor:
    """Masks over time under torch's generator, on the CPU: [clips, tokens], True: masked.

    Each clip has share * tokens / length spans of `length` tokens, rounded up or down at random, so that their mean is
    that; they may overlap. A clip that is shorter than a span has none.
    """
    starts = tokens - length + 1
    if starts < 1:
        return torch.zeros(clips, tokens, dtype=torch.bool)
    counts = (share * tokens / length + torch.rand(clips, 1)).floor()
    first = torch.rand(clips, starts).argsort(1) < counts  # [clips, starts]: as many as counted, any of them
    return F.max_pool1d(F.pad(first.float(), (length - 1, length - 1)), length, 1) > 0


def build_speech(config: SpeechEncoder) -> Speech:
    """The network of a configuration: that of a folder or file of weights, or one with random weights.

    Raises ValueError without the library, and as `read_speech` and `fit`.
    """
    settings_of, network_of = _library(config.name)
    found = read_speech(weights_path(config.checkpoint), config.name) if config.checkpoint else None
    own = {"layerdrop": config.layerdrop, "mask_time_prob": config.mask_time_prob, "mask_feature_prob": 0.0}
    given = found.settings if found else config.size().model_dump()
    given |= own | {"apply_spec_augment": True}
    if not found:
        return Speech(quicker(network_of(settings_of.from_dict(given))), config, LIBRARY_EPS)
    try:
        with shapes_alone():
            network = quicker(network_of(settings_of.from_dict(given)))
    except Exception as error:  # the library's own, of several kinds
        raise ValueError(f"{config.checkpoint}: its configuration makes no network: {error}") from None
    fit(network, found, config.checkpoint)
    return Speech(network, config, found.eps)


def quicker(network: Any) -> Any:
    """The network with convolutions of ours in the place of the library's, where CPUs take up to half of the time."""
    config = network.config
    network.feature_extractor = WaveConvolutions(network.feature_extractor.conv_layers)
    if not getattr(config, "conv_pos_batch_norm", False):
        network.encoder.pos_conv_embed = WavePosition(
            config.hidden_size, config.num_conv_pos_embeddings, config.num_conv_pos_embedding_groups
        )
    return network


def _library(name: str) -> tuple[Any, Any]:
    """The library's configuration and network of a family."""
    try:
        import transformers
    except ImportError as error:
        raise ValueError(
            f"encoder.name {name}: the package transformers cannot be used ({error}). It is an extra, installed by "
            "'tools/setup_env.sh hf'"
        ) from None
    return getattr(transformers, f"{FAMILIES[name]}Config"), getattr(transformers, f"{FAMILIES[name]}Model")


def _block(layer: Any) -> Block:
    holders = [layer.attention] * 4 + [layer.feed_forward] * 2
    linears = {name: (holder, name) for holder, name in zip(holders, SpeechEncoder.LINEARS, strict=True)}
    return Block(layer, linears, {"mha": (layer, "attention"), "ffn": (layer, "feed_forward")})
