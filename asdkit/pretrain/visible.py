"""An encoder that sees a part of a clip's patches."""

import torch.nn.functional as F
from torch import Tensor

from asdkit.encoders.beats import Beats
from asdkit.pretrain.masking import take
from asdkit.pretrain.tokenizer import cut_patches


def encode_visible(encoder: Beats, feats: Tensor, visible: Tensor) -> list[Tensor]:
    """Features [B, F, M] -> each layer's output for the visible patches alone, at their own places: [B, V, dim].

    The layers see V tokens, whose relative position biases are those of the whole clip. The convolution that gives
    positions runs over the whole grid with nothing in the hidden places and the visible ones scaled by N / V, so that
    it gives the same on average as for a whole clip. With nothing hidden the last is the encoder's own output. Layer
    drop and gradient decay belong to fine-tuning and are not used.
    """
    transformer, convolution = encoder.encoder, encoder.patch_embedding
    patches = cut_patches(feats, encoder.cfg.input_patch_size)
    count = patches.shape[1]
    x = F.linear(take(patches, visible), convolution.weight.flatten(1), convolution.bias)
    x = encoder.project(encoder.layer_norm(x))  # [B, V, D]
    place = visible.unsqueeze(-1).expand_as(x)
    grid = x.new_zeros(x.shape[0], count, x.shape[2]).scatter(1, place, x * (count / visible.shape[1]))
    x = x + take(F.gelu(transformer.pos_conv(grid)), visible)
    if not encoder.cfg.layer_norm_first:
        x = transformer.layer_norm(x)
    bias = None
    if encoder.cfg.relative_position_embedding:
        whole = transformer.position_bias(count)  # [heads, N, N]
        bias = whole[:, visible[:, :, None], visible[:, None, :]].transpose(0, 1)  # [B, heads, V, V]
    outputs = []
    for layer in transformer.layers:
        x = layer(x, bias)
        outputs.append(x)
    if encoder.cfg.layer_norm_first:
        outputs[-1] = transformer.layer_norm(x)
    return outputs
