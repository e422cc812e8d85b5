"""The audio branch of CLAP (Wu et al., ICASSP 2023), which is HTSAT (Chen et al., ICASSP 2022)."""

from collections.abc import Iterable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asdkit.config import ClapArch
from asdkit.encoders.base import Encoder
from asdkit.layers.block import Block
from asdkit.layers.mel import MelSpectrogram, Standardise, slaney_filters
from asdkit.layers.resampler import Resampler
from asdkit.layers.swin import STD, Stage, window_order

RATE, FFT, HOP = 48000, 1024, 480
MELS, LOW, HIGH = 64, 50.0, 14000.0
FRAMES = 1001  # of the 10 s that the published networks were trained on
COLUMNS, ROWS = 256, 4  # frames in a row of the image, rows one above the other: 1024 frames
PATCH, SIDE = 4, 64  # an image of 256 x 256 values, 64 x 64 patches
LEVEL, SPREAD = -40.0, 20.0  # dB: what random weights are given for the statistics that training would have found
AT_ONCE = {"cpu": 4, "cuda": 64}  # pieces of 10 s that go through the network together where nothing is trained


class Clap(Encoder):
    """The log-mel spectrogram at 48 kHz, folded into a square image, through windowed attention that grows coarser.

    Every 10 s give 32 x 2 tokens, time-major (index t * 2 + f), each of which has heard all of its 10 s. The network
    takes nothing but 10 s: shorter clips and chunks are repeated to that length, in their features, and longer clips
    are taken in pieces of 10 s, spread evenly over them; the pieces' tokens follow each other. The authors repeat the
    samples, in whole copies with silence after them, and of longer clips draw 10 s.

    Recordings at other rates are resampled in the front end; what lies above half their rate is then empty. The authors
    also round the samples to 16 bits, which is left out, as in the library transformers: it fills empty bands with a
    noise of its own on every device.

    The blocks differ in width and number of tokens, and see these window after window; `layers` and `traced` give them
    time-major, too, as many for each moment as the block has `bands`. The norm over the mel bands keeps its statistics
    in training, and there is no dropout.
    """

    window = 0
    bands = 2

    def __init__(self, arch: ClapArch, sample_rate: int) -> None:
        super().__init__()
        depths, dim = arch.depths, arch.embed_dim
        self.sample_rate, self.hop = sample_rate, sample_rate * HOP // RATE
        self.dim = dim << len(depths) - 1
        self.resampler = Resampler(sample_rate, RATE)
        self.mel = MelSpectrogram(FFT, HOP, slaney_filters(FFT, RATE, MELS, LOW, HIGH))
        self.bn0 = Standardise(MELS, LEVEL, SPREAD)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(1, dim, PATCH, PATCH), "norm": nn.LayerNorm(dim)})
        self.stages = nn.ModuleList(
            Stage(dim << n, depth, heads, SIDE >> n, last=n == len(depths) - 1)
            for n, (depth, heads) in enumerate(zip(depths, arch.num_heads, strict=True))
        )
        self.norm = nn.LayerNorm(self.dim)
        self.stage_of = [n for n, depth in enumerate(depths) for _ in range(depth)]  # of each block
        with torch.device("cpu"):  # even where a network is built on the meta device: the values are never loaded
            self.register_buffer("windows", window_order(SIDE), persistent=False)
            for n in range(len(depths)):
                self.register_buffer(f"times{n}", _time_major(SIDE >> n), persistent=False)
        self._initialise()

    def frontend(self, wav: Tensor) -> Tensor:
        """wav [B, T], floats in [-1, 1] -> mel energies in dB at 48 kHz [B, 1 + T // hop, 64].

        Raises ValueError for clips too short to be reflected at their ends (11 ms).
        """
        shortest = FFT // 2 * self.sample_rate // RATE + 1
        if wav.ndim != 2:
            raise ValueError(f"clap: samples of shape {tuple(wav.shape)}, expected [clips, samples]")
        if wav.shape[1] < shortest:
            raise ValueError(
                f"clap: clip of {wav.shape[1]} samples, at least {shortest} are needed; leave it out or make it longer"
            )
        return self.mel(self.resampler(wav))[:, : 1 + wav.shape[1] // self.hop]

    def forward(self, feats: Tensor) -> Tensor:
        """feats [B, F, 64] -> tokens [B, 64 * pieces, dim]; up to 1001 frames are one piece.

        Raises ValueError for features of another width.
        """
        pieces = _pieces(self._checked(feats))  # [B, P, 1001, 64]
        together = pieces.flatten(0, 1)
        size = len(together) if torch.is_grad_enabled() else AT_ONCE.get(feats.device.type, 1)
        tokens = torch.cat([self.norm(self._through(part)) for part in together.split(size)])
        return self._ordered(tokens, len(self.stages) - 1, feats.shape[0])

    def traced(self, feats: Tensor, wanted: Iterable[int]) -> tuple[Tensor, dict[int, Tensor]]:
        """Features -> tokens [B, N, dim], and the output of some blocks (counted from 0), in one pass.

        Those are [B, N * 4^s, dim / 2^s], s stages before the last.
        """
        tokens, outputs = super().traced(feats, wanted)
        return tokens, {n: self._ordered(x, self.stage_of[n], feats.shape[0]) for n, x in outputs.items()}

    def memory(self, samples: int, clips: int, device: str, precision: str) -> int:
        """The front end's; the network takes a few pieces at a time."""
        together = clips if device != "cpu" else 1
        return together * self.mel.memory(samples * RATE // self.sample_rate)

    def blocks(self) -> list[Block]:
        """The blocks of all stages, first to last."""
        return [
            replace(block.block(), bands=(SIDE >> n) // ROWS)
            for n, stage in enumerate(self.stages)
            for block in stage.blocks
        ]

    def image(self, pieces: Tensor) -> Tensor:
        """Features of 10 s [B, 1001, 64] -> images [B, 256, 256]: below one another four times 64 mel bands."""
        x = self.bn0(pieces).unsqueeze(1)
        x = F.interpolate(x, (ROWS * COLUMNS, MELS), mode="bicubic", align_corners=True)[:, 0]  # [B, 1024, 64]
        return x.view(-1, ROWS, COLUMNS, MELS).transpose(2, 3).flatten(1, 2)

    def patches(self, images: Tensor) -> Tensor:
        """Images [B, 256, 256] -> tokens [B, 4096, D], row by row."""
        return self.patch_embed["norm"](self.patch_embed["proj"](images.unsqueeze(1)).flatten(2).transpose(1, 2))

    def _through(self, pieces: Tensor) -> Tensor:
        """Features of 10 s [B, 1001, 64] -> tokens [B, 64, dim], window after window."""
        x = self.patches(self.image(pieces)).index_select(1, self.windows)
        for stage in self.stages:
            x = stage(x)
        return x

    def _ordered(self, tokens: Tensor, stage: int, clips: int) -> Tensor:
        """Tokens of pieces [B * P, N, D], window after window -> of clips [B, P * N, D], time-major."""
        return tokens.index_select(1, getattr(self, f"times{stage}")).unflatten(0, (clips, -1)).flatten(1, 2)

    def _checked(self, feats: Tensor) -> Tensor:
        if feats.ndim != 3 or feats.shape[2] != MELS:
            raise ValueError(f"clap: features of shape {tuple(feats.shape)}, expected [clips, frames, {MELS}]")
        return feats

    def _initialise(self) -> None:
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=STD)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)


def _pieces(feats: Tensor) -> Tensor:
    """feats [B, F, M] -> pieces of 10 s [B, P, 1001, M]: the clip again and again, or as many as cover it, evenly."""
    frames = feats.shape[1]
    if frames <= FRAMES:
        # Frames are centred: the last of a copy is the first of the next.
        at = torch.arange(FRAMES - 1, device=feats.device) % max(frames - 1, 1)
        return torch.cat([feats.index_select(1, at), feats[:, -1:]], 1).unsqueeze(1)
    count = -(-(frames - 1) // (FRAMES - 1))
    starts = [round(n * (frames - FRAMES) / (count - 1)) for n in range(count)]
    return torch.stack([feats[:, start : start + FRAMES] for start in starts], 1)


def _time_major(side: int) -> Tensor:
    """Where the tokens of an image, which lie window after window, are found one moment after the other: [side^2]."""
    numbers = torch.arange(side**2).view(ROWS, side // ROWS, side).transpose(1, 2).flatten()
    return window_order(side).argsort()[numbers]
