"""The training objective: L = L_AAM + lambda L_DLCL (paper Eq. 10), or with another loss of classes."""

import torch
from torch import Tensor, nn

from asdkit.config import LossConfig
from asdkit.data.batches import Mixed
from asdkit.losses.aam import AamSoftmax
from asdkit.losses.adacos import AdaCos
from asdkit.losses.centre import CentreLoss
from asdkit.losses.cross_entropy import CrossEntropy
from asdkit.losses.dlcl import Dlcl
from asdkit.losses.exchange import Exchange
from asdkit.losses.terms import split, taken, wholly
from asdkit.utils.device import to_device


class Objective(nn.Module):
    """A loss of classes over attributed clips and DLCL over unattributed ones; without DLCL all clips are of classes.

    The loss of classes is AAM-softmax, AdaCos or cross entropy (`kind`); centre loss may be added to it. Embeddings
    differ little from their mean: by angles alone all of them are one class, and training takes thousands of steps to
    leave that. So the losses see them batch-normalised (`loss.normalise`; BNNeck, Luo et al., 2019), while the detector
    sees them as they are.
    """

    def __init__(self, config: LossConfig, dim: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim, track_running_stats=False) if config.normalise else nn.Identity()
        self.kind, loss = _of_classes(config, dim, classes)
        self.add_module(self.kind, loss)
        self.centre = CentreLoss(dim, classes, config.centre.rate) if config.centre else None
        self.exchange = None
        if config.exchange:
            self.exchange = Exchange(_of_classes(config, dim, 3 * classes)[1], classes, config.exchange)
        self.centre_weight = config.centre.weight if config.centre else 0.0
        self.dlcl = self.weight = None
        if config.dlcl:
            self.weight = config.dlcl.weight
            self.dlcl = Dlcl(dim, config.dlcl.codes, config.dlcl.memory, config.dlcl.temperature)

    def forward(
        self,
        x: Tensor,
        labels: Tensor,
        attributed: Tensor,
        mixed: Mixed | None = None,
        exchanged: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Embeddings x [B, D], labels [B], attributed [B] (bool) -> losses.

        These are 'loss', which is minimised, and its parts: `kind`, 'centre', 'exchange' and 'dlcl'.

        mixed: what was mixed into the clips. A mixture counts as two clips with its embedding, one of each class, which
        weigh as much as their shares: with cross entropy that is the one of soft classes. Its unattributed share goes
        to DLCL. exchanged [B] (bool): clips that take something from another, where `loss.exchange` asks for it.

        A batch of only attributed or only unattributed clips is fine. The memory bank takes the embeddings that are
        attributed as a whole after the loss is computed. With `attributed` on the CPU no GPU has to be waited for. In
        float32 also under autocast: of cosines that are multiplied by 30, 16 bits leave little.
        """
        with torch.autocast(x.device.type, enabled=False):
            return self._losses(x.float(), labels, attributed, mixed, exchanged)

    def _losses(
        self, x: Tensor, labels: Tensor, attributed: Tensor, mixed: Mixed | None, exchanged: Tensor | None
    ) -> dict[str, Tensor]:
        x = self.norm(x)
        if self.dlcl is None:
            attributed = torch.ones_like(attributed)
            mixed = mixed and mixed._replace(attributed=attributed)
        known, unknown = split(labels, attributed, mixed)
        if self.dlcl is None and mixed is None:
            found = self._of_classes(x, to_device(labels, x.device))
        else:
            found = self._of_classes(*taken(x, known))
        if self.exchange is not None:
            assert exchanged is not None
            exchange = self.exchange(x, known, exchanged)
            loss = found["loss"] + self.exchange.weight * exchange
            found = {**found, "loss": loss, "exchange": exchange.detach()}
        if self.dlcl is None:
            return found
        whole = to_device(wholly(known, unknown), x.device)
        apart, _, weights = taken(x, unknown)
        dlcl = self.dlcl(apart, weights)
        self.dlcl.remember(x.index_select(0, whole))
        return {**found, "loss": found["loss"] + self.weight * dlcl, "dlcl": dlcl.detach()}

    def _of_classes(self, x: Tensor, labels: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
        loss = self.get_submodule(self.kind)(x, labels, weights)
        found = {"loss": loss, self.kind: loss.detach()}
        if self.centre is not None:
            centre = self.centre(x, labels, weights)
            found |= {"loss": loss + self.centre_weight * centre, "centre": centre.detach()}
        return found


def _of_classes(config: LossConfig, dim: int, classes: int) -> tuple[str, nn.Module]:
    """Name and module of the loss over classes."""
    if config.adacos:
        return "adacos", AdaCos(dim, classes, config.adacos.centres)
    if config.cross_entropy:
        return "cross_entropy", CrossEntropy(dim, classes)
    assert config.aam is not None
    return "aam", AamSoftmax(dim, classes, config.aam.scale, config.aam.margin, config.aam.centres)
