"""What speech encoders do before their first layer: convolutions over samples, a position convolution."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asdkit.layers.beats_layers import PositionConv
from asdkit.utils.device import float32_throughout


class WaveConvolutions(nn.Module):
    """Convolutions over samples, each with its norm (over the clip or over channels, or none) and GELU.

    As products of matrices with the channels last: on CPUs about 0.6 times the time of torch's own convolutions.
    `layers`: each has a `conv` (Conv1d), and where it is normalised a `layer_norm`: LayerNorm, or for the first, over
    samples, GroupNorm of a group per channel.
    """

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(layers)

    def forward(self, wav: Tensor) -> Tensor:
        """Samples [B, T] -> [B, C, N], channels last in memory."""
        x = wav.unsqueeze(2)  # [B, T, 1]
        for layer in self.conv_layers:
            norm = getattr(layer, "layer_norm", None)
            if isinstance(norm, nn.GroupNorm):
                x = F.gelu(_convolved_over_clip(x, layer.conv, norm))
            else:
                x = _convolved(x, layer.conv)
                x = F.gelu(x if norm is None else norm(x))
        return x.transpose(1, 2)


class WavePosition(nn.Module):
    """What the tokens around a token say of its place: a grouped convolution over them, and GELU."""

    def __init__(self, dim: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.conv = PositionConv(dim, kernel, groups)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [B, N, D] -> [B, N, D]"""
        return F.gelu(self.conv(x))


def _convolved(x: Tensor, conv: nn.Conv1d) -> Tensor:
    """x [B, T, C] -> [B, N, D]"""
    (kernel,), (stride,) = conv.kernel_size, conv.stride
    count = (x.shape[1] - kernel) // stride + 1
    weight = conv.weight.transpose(1, 2)  # [D, kernel, C]
    if x.shape[2] == 1 or kernel > 2 * stride:
        windows = x.unfold(1, kernel, stride).transpose(2, 3).flatten(2)  # [B, N, kernel C]
        return F.linear(windows, weight.flatten(1), conv.bias)
    # Of neighbouring windows each has `stride` values of its own, so that these are there as a matrix already.
    first = min(kernel, stride)
    own = x[:, : count * stride].unflatten(1, (count, stride))  # [B, N, stride, C]
    y = F.linear(own[:, :, :first].flatten(2), weight[:, :first].flatten(1), conv.bias)
    if kernel > stride:
        shared = x[:, stride:].unfold(1, kernel - stride, stride)[:, :count]  # [B, N, C, kernel - stride]
        y = y + F.linear(shared.transpose(2, 3).flatten(2), weight[:, stride:].flatten(1))
    return y


def _convolved_over_clip(x: Tensor, conv: nn.Conv1d, norm: nn.GroupNorm) -> Tensor:
    """Samples [B, T, 1] -> [B, N, D], each channel at mean 0 and variance 1 over the clip, times weight plus bias.

    Mean and variance of a channel follow from those of the windows, so that what is normalised is never written down; a
    bias of the convolution falls out.
    """
    windows = x.squeeze(2).unfold(1, conv.kernel_size[0], conv.stride[0])  # [B, N, kernel]
    weight = conv.weight.squeeze(1)  # [D, kernel]
    with float32_throughout(x):
        wide = windows.double()
        mean = wide.mean(1, keepdim=True)  # [B, 1, kernel]
        wide = wide - mean
        covariance = wide.transpose(1, 2) @ wide / wide.shape[1]  # [B, kernel, kernel]
        variance = ((weight.double() @ covariance) * weight.double()).sum(2)  # [B, D]
        scale = norm.weight * (variance.float() + norm.eps).rsqrt()
        weight = weight * scale.unsqueeze(2)  # [B, D, kernel]
        windows = windows - mean.to(x.dtype)
    return torch.baddbmm(norm.bias, windows, weight.transpose(1, 2))
