"""Dual-level contrastive loss for clips without attributes (paper Sec. III-D)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asdkit.losses.terms import cross_entropy


class Dlcl(nn.Module):
    """Pulls an embedding to its closest quantiser vector and pushes it from embeddings of attributed clips (Eq. 9).

    All vectors are compared at unit length. The closest vector is the one of largest cosine (Eq. 8 prints argmin).
    The memory bank is a ring of the latest `memory` attributed embeddings, without gradient.
    """

    def __init__(self, dim: int, codes: int, memory: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.codes = nn.Parameter(F.normalize(torch.randn(codes, dim), dim=1))
        self.register_buffer("bank", torch.zeros(memory, dim))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self._filled = 0  # rows of the bank, known here, so that no step waits for a GPU to tell
        self.register_load_state_dict_post_hook(_count)

    def forward(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """Embeddings of unattributed clips [B, D], weights [B] of the mean -> mean loss.

        Zero (with gradient zero) for an empty batch.
        """
        if len(x) == 0:
            return self.codes.sum() * 0
        x = F.normalize(x, dim=1)
        positive = (x @ F.normalize(self.codes, dim=1).T).max(dim=1, keepdim=True).values  # [B, 1]
        negative = x @ self.memory().T  # [B, bank]
        logits = torch.cat([positive, negative], dim=1) / self.temperature
        return cross_entropy(logits, torch.zeros(len(x), dtype=torch.long, device=x.device), weights)

    def memory(self) -> Tensor:
        """A copy of the stored embeddings, at unit length, [min(seen, memory), D]."""
        # a copy: `remember` writes in place while the backward pass still needs what the loss saw
        return self.bank[: self._filled].clone()

    @torch.no_grad()
    def remember(self, x: Tensor) -> None:
        """Store embeddings of attributed clips [B, D], first in, first out."""
        x = F.normalize(x.detach().to(self.bank.dtype), dim=1)[-len(self.bank) :]
        slots = (self.seen + torch.arange(len(x), device=x.device)) % len(self.bank)
        self.bank[slots] = x
        self.seen += len(x)
        self._filled = min(self._filled + len(x), len(self.bank))


def _count(dlcl: Dlcl, _: Any) -> None:
    dlcl._filled = min(int(dlcl.seen), len(dlcl.bank))
