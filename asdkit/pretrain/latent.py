"""Predicting what a moving average of the encoder makes of the clean clip (data2vec, Baevski et al., 2022, Sec. 3)."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asdkit.encoders.beats import Beats
from asdkit.losses.gather import gather
from asdkit.pretrain.config import LatentConfig
from asdkit.pretrain.masking import take


class Latent(nn.Module):
    """The moving average, which sees whole clean clips, and the linear layers that predict it.

    Its targets are the mean over its top layers, each token standardised by itself, then each dimension over all tokens
    of the batch: a network whose tokens are all alike would predict nothing. The clip's mean over patches is
    predicted from the mean over those that are seen, as EAT does with a token of its own (Chen et al., 2024).
    """

    def __init__(self, encoder: Beats, config: LatentConfig, dim: int) -> None:
        super().__init__()
        if config.layers > len(encoder.encoder.layers):
            raise ValueError(f"latent.layers {config.layers}: the encoder has {len(encoder.encoder.layers)} layers")
        self.config = config
        self.average = copy.deepcopy(encoder).requires_grad_(False)
        self.patches = nn.Linear(dim, encoder.dim)
        self.clip = nn.Linear(encoder.dim, encoder.dim)
        self.register_buffer("followed", torch.zeros((), dtype=torch.int64))

    def forward(self, encoder: Beats, clean: Tensor, seen: Tensor, named: Tensor, masked: Tensor) -> dict[str, Tensor]:
        """Errors of hidden patches and of clips, after the average has followed the encoder where that is trained.

        clean: features [B, F, M]. seen: the encoder's tokens [B, V, dim]. named: the predictor's of the places `masked`
        [B, N - V, P].
        """
        if self.training:
            self._follow(encoder)
        targets = self.targets(clean)  # [B, N, dim]
        patches, clip = self.patches(named).float(), self.clip(seen.mean(1)).float()
        return {
            "latent": F.mse_loss(patches, take(targets, masked)),
            "clip": F.mse_loss(clip, targets.mean(1)),
        }

    def weigh(self, errors: dict[str, Tensor]) -> Tensor:
        """Their part of the loss."""
        return self.config.weight * errors["latent"] + self.config.clip * errors["clip"]

    @torch.no_grad()
    def targets(self, clean: Tensor) -> Tensor:
        """Features [B, F, M] -> what is to be predicted of each patch: float32 [B, N, dim]."""
        self.average.eval()
        layers = self.average.layers(clean)[-self.config.layers :]
        mean = torch.stack([F.layer_norm(x.float(), x.shape[-1:]) for x in layers]).mean(0)
        whole = gather(mean)[0].flatten(0, 1)
        return (mean - whole.mean(0)) / whole.std(0).clamp(min=1e-3)

    @torch.no_grad()
    def _follow(self, encoder: Beats) -> None:
        step = int(self.followed)
        share = 1 - min(self.config.decay, (1 + step) / (10 + step))
        own = dict(self.average.named_parameters())
        pairs = [(own[name], value) for name, value in encoder.named_parameters()]
        torch._foreach_lerp_(*map(list, zip(*pairs, strict=True)), share)
        self.followed += 1
