"""The training objective: L = L_AAM + lambda L_DLCL (paper Eq. 10)."""

import torch
from torch import Tensor, nn

from asdkit.config import LossConfig
from asdkit.losses.aam import AamSoftmax
from asdkit.losses.dlcl import Dlcl
from asdkit.utils.device import to_device


class Objective(nn.Module):
    """AAM-softmax over attributed clips and DLCL over unattributed ones; without DLCL all clips go to AAM-softmax.

    Embeddings differ little from their mean: by angles alone all of them are one class, and training takes thousands of
    steps to leave that. So the losses see them batch-normalised (`loss.normalise`; BNNeck, Luo et al., 2019), while the
    detector sees them as they are.
    """

    def __init__(self, config: LossConfig, dim: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim, track_running_stats=False) if config.normalise else nn.Identity()
        self.aam = AamSoftmax(dim, classes, config.aam.scale, config.aam.margin)
        self.dlcl = self.weight = None
        if config.dlcl:
            self.weight = config.dlcl.weight
            self.dlcl = Dlcl(dim, config.dlcl.codes, config.dlcl.memory, config.dlcl.temperature)

    def forward(self, x: Tensor, labels: Tensor, attributed: Tensor) -> dict[str, Tensor]:
        """Embeddings x [B, D], labels [B], attributed [B] (bool) -> losses 'loss', 'aam' and, when used, 'dlcl'.

        A batch of only attributed or only unattributed clips is fine. The memory bank takes the attributed embeddings
        after the loss is computed. With `attributed` on the CPU no GPU has to be waited for. In float32 also under
        autocast: of cosines that are multiplied by 30, 16 bits leave little.
        """
        with torch.autocast(x.device.type, enabled=False):
            return self._losses(x.float(), labels, attributed)

    def _losses(self, x: Tensor, labels: Tensor, attributed: Tensor) -> dict[str, Tensor]:
        x = self.norm(x)
        if self.dlcl is None:
            aam = self.aam(x, to_device(labels, x.device))
            return {"loss": aam, "aam": aam.detach()}
        known, unknown = (to_device(mask.nonzero()[:, 0], x.device) for mask in (attributed, ~attributed))
        told = x.index_select(0, known)
        aam = self.aam(told, to_device(labels[attributed], x.device))
        dlcl = self.dlcl(x.index_select(0, unknown))
        self.dlcl.remember(told)
        return {"loss": aam + self.weight * dlcl, "aam": aam.detach(), "dlcl": dlcl.detach()}
