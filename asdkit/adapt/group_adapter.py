"""Machine-aware group adapter (paper Sec. III-C)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asdkit.adapt.around import Around
from asdkit.config import GroupAdapterConfig
from asdkit.encoders.base import Encoder
from asdkit.layers.packed import clips


class GroupAdapter(nn.Module):
    """Adds to every token a mixture of group vectors that the clip's mean token chooses (Eqs. 5 and 6)."""

    def __init__(self, dim: int, groups: int, hidden: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.decide = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, groups))
        self.groups = nn.Parameter(F.normalize(torch.randn(groups, dim), dim=1))

    def probabilities(self, x: Tensor) -> Tensor:
        """Group probabilities p of each clip: tokens [B, N, D] -> [B, groups] (Eq. 5)."""
        return torch.softmax(self.decide(x.mean(1)) / self.temperature, dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, D] -> x + sum_i p_i a_i, with the group vectors a_i at unit length (Eq. 6)."""
        parts = [self._added(part) for part in clips(x)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _added(self, x: Tensor) -> Tensor:
        mixture = self.probabilities(x) @ F.normalize(self.groups, dim=1)  # [B, D]
        return x + mixture.unsqueeze(1).to(x.dtype)


def add_group_adapter(encoder: Encoder, config: GroupAdapterConfig) -> None:
    """Put one group adapter around the module at `config.position` of every transformer block of `encoder`.

    Its weights are named `<block>.adapters.<position>`. Raises ValueError for a position that the blocks do not have.
    """
    for block in encoder.blocks():
        around = block.point(config.position)
        adapter = GroupAdapter(block.dim or encoder.dim, config.groups, config.hidden, config.temperature)
        if not hasattr(block.module, "adapters"):
            block.module.adapters = nn.ModuleDict()
        block.module.adapters[config.position] = adapter.to(next(block.module.parameters()).device)
        around.register_forward_hook(Around(adapter))
