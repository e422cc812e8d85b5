"""MobileNetV2 (Sandler et al., 'MobileNetV2: Inverted Residuals and Linear Bottlenecks', 2018), from scratch."""

from torch import Tensor, nn

from asdkit.config import MobileNetArch, MobileNetEncoder
from asdkit.encoders.base import Encoder
from asdkit.layers.batch_norm import BatchNorm
from asdkit.layers.block import Block
from asdkit.layers.mel import MelSpectrogram, slaney_filters

MELS, FFT = 128, 1024
# Table 2 of the paper: expansion, channels, repetitions, stride of the first; before it 32 channels, after it 1280.
TABLE = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
FIRST, LAST, HALVED = 32, 1280, 5


class MobileNet(Encoder):
    """Inverted residuals on the log-mel spectrogram of the challenge's baselines: 128 bands every 32 ms.

    A chunk of 2 s is 63 frames, about the 64 of the baselines' pictures. The tokens are the last convolution's values,
    one for each of four frequency bands every 1.024 s; the baselines' mean over them is the pooling `mean`.
    """

    sample_rate, window, hop = 16000, 0, 512
    bands = MELS // 2**HALVED

    def __init__(self, arch: MobileNetArch) -> None:
        super().__init__()
        filters = slaney_filters(FFT, self.sample_rate, MELS, 0.0, self.sample_rate / 2)
        self.mel = MelSpectrogram(FFT, self.hop, filters, floor=2.0**-52, zeros=True)
        size = _channels(FIRST * arch.width)
        parts: list[nn.Module] = [_convolution(1, size, 3, 2)]
        for expansion, wanted, count, stride in TABLE:
            before, size = size, _channels(wanted * arch.width)
            sizes = [before, *[size] * count]
            parts += [
                InvertedResidual(*pair, expansion, 1 if number else stride)
                for number, pair in enumerate(zip(sizes, sizes[1:], strict=False))
            ]
        self.dim = max(LAST, _channels(LAST * arch.width))
        self.parts = nn.Sequential(*parts, _convolution(size, self.dim, 1))

    def frontend(self, wav: Tensor) -> Tensor:
        """wav [B, T], floats in [-1, 1] -> dB [B, 1 + T // 512, 128]."""
        return self.mel(wav)

    def forward(self, feats: Tensor) -> Tensor:
        """feats [B, F, 128] -> tokens [B, 4 * F / 32 rounded up, dim]."""
        return self.parts(feats[:, None]).permute(0, 2, 3, 1).flatten(1, 2)

    def memory(self, samples: int, clips: int, device: str, precision: str) -> int:
        """Three times the values of the widest layer, and the front end; they grow with the length alone."""
        wide = max(part.hidden for part in self.parts if isinstance(part, InvertedResidual))
        return self.mel.memory(samples) + 3 * 4 * clips * wide * MELS // 8 * (samples // self.hop // 8)

    def blocks(self) -> list[Block]:
        """No transformer blocks."""
        return []


class InvertedResidual(nn.Module):
    """Widened by 1 x 1, filtered channel by channel, narrowed by 1 x 1; added to the input where the shapes agree."""

    def __init__(self, before: int, size: int, expansion: int, stride: int) -> None:
        super().__init__()
        self.hidden = hidden = before * expansion
        self.adds = stride == 1 and before == size
        layers = [_convolution(before, hidden, 1)] if expansion > 1 else []
        layers.append(_convolution(hidden, hidden, 3, stride, groups=hidden))
        self.layers = nn.Sequential(*layers, *_convolution(hidden, size, 1)[:2])  # no ReLU behind the narrow end

    def forward(self, x: Tensor) -> Tensor:
        """x [B, before, F, M] -> [B, size, F / stride, M / stride]."""
        return x + self.layers(x) if self.adds else self.layers(x)


def build_mobilenet(config: MobileNetEncoder) -> MobileNet:
    """The network of a configuration, with random weights."""
    return MobileNet(config.size())


def _convolution(before: int, size: int, width: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, size, width, stride, width // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(convolution.weight)
    return nn.Sequential(convolution, BatchNorm(size), nn.ReLU6())


def _channels(wanted: float) -> int:
    """A multiple of 8 near `wanted`, of at least 0.9 times it."""
    near = max(8, int(wanted + 4) // 8 * 8)
    return near if near >= 0.9 * wanted else near + 8
