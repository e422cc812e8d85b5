"""A batch as pairs of a clip and a class: what mixup makes two classes of is two pairs, each with its weight."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from asdkit.data.batches import Mixed
from asdkit.utils.device import to_device


class Terms(NamedTuple):
    """Clips `rows` [N] of a batch and a class of each, `labels` [N], with `weights` [N]; None: all weigh the same."""

    rows: Tensor
    labels: Tensor
    weights: Tensor | None = None


def split(labels: Tensor, attributed: Tensor, mixed: Mixed | None = None) -> tuple[Terms, Terms]:
    """Classes of a batch -> the pairs whose attribute is known, and the others.

    A mixture is in both where one of its clips is attributed and the other is not. What has no share is left out.
    """
    if mixed is None:
        known, unknown = attributed.nonzero()[:, 0], (~attributed).nonzero()[:, 0]
        return Terms(known, labels[known]), Terms(unknown, labels[unknown])
    rows = torch.arange(len(labels), device=labels.device).repeat(2)  # [2 B]
    labels, attributed = torch.cat([labels, mixed.labels]), torch.cat([attributed, mixed.attributed])
    weights = torch.cat([mixed.share, 1 - mixed.share])
    chosen = [(mask & (weights > 0)).nonzero()[:, 0] for mask in (attributed, ~attributed)]
    return tuple(Terms(rows[found], labels[found], weights[found]) for found in chosen)


def taken(x: Tensor, terms: Terms) -> tuple[Tensor, Tensor, Tensor | None]:
    """Embeddings of a batch [B, D] -> those of terms [N, D], with their labels and weights; all where x is."""
    rows, labels, weights = (part if part is None else to_device(part, x.device) for part in terms)
    return x.index_select(0, rows), labels, weights


def wholly(known: Terms, unknown: Terms) -> Tensor:
    """Clips of `known` [N], each once, of which no part is among `unknown`."""
    if known.weights is None:
        return known.rows
    rows = known.rows.unique()
    return rows[~torch.isin(rows, unknown.rows)]


def mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of values [N], each with its weight."""
    return values.mean() if weights is None else (values * weights).sum() / weights.sum()


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """Mean cross entropy of logits [N, C] and labels [N], each with its weight."""
    if weights is None:
        return F.cross_entropy(logits, labels)
    return mean(F.cross_entropy(logits, labels, reduction="none"), weights)


def median(values: Tensor, weights: Tensor | None) -> Tensor:
    """The smallest of values [N] that has half of the weight at it or below; of equal weights the lower median."""
    if weights is None:
        return values.median()
    ordered, places = values.sort()
    return ordered[torch.searchsorted(weights[places].cumsum(0), weights.sum() / 2).clamp(max=len(values) - 1)]
