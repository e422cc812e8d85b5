"""Poolings over time that learn nothing: frames of tokens to one vector per frequency band.

Sources: Wilkinghoff et al., arXiv 2603.04605, sections III and IV: GeM, GWRP, relative deviation pooling
and their hybrid, for embeddings of encoders that are not trained.
"""

import torch
from torch import Tensor

from asdkit.config import PoolingConfig
from asdkit.layers.spectrum import exporting

EPS = 1e-8  # a clip whose frames deviate no more from their mean does not change over time


def mean(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over the valid frames: x [B, T, F, D], mask [B, T] (True: valid; None: all) -> [B, F, D]."""
    return _weighted(x, _uniform(x, mask))


def deviation(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Standard deviation (population) over the valid frames: x [B, T, F, D] -> [B, F, D]."""
    if exporting():  # sums of other libraries are less exact: of small numbers, and none where nothing changes
        x = x - x[:, :1]
    return mean((x - mean(x, mask)[:, None]).square(), mask).sqrt()


def maximum(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Largest value of each dimension over the valid frames: x [B, T, F, D] -> [B, F, D]."""
    return _hidden(x, mask, -torch.inf).amax(1)


def gem(x: Tensor, p: float, mask: Tensor | None = None) -> Tensor:
    """Generalised mean of what is positive, (mean of max(x, 0)^p)^(1/p): x [B, T, F, D] -> [B, F, D]."""
    return _power_mean(x, _uniform(x, mask), p)


def gwrp(x: Tensor, r: float, mask: Tensor | None = None) -> Tensor:
    """Global weighted rank pooling: each dimension's values, the largest first, weighted r^0, r^1, ...

    x [B, T, F, D] -> [B, F, D]; r = 1 is the mean, r = 0 the maximum.
    """
    ordered = _hidden(x, mask, -torch.inf).sort(dim=1, descending=True).values
    ranks = torch.arange(x.shape[1], device=x.device)
    weight = torch.pow(torch.tensor(r, dtype=x.dtype, device=x.device), ranks)  # [T]; 0^0 = 1
    weight = weight.repeat(x.shape[0], 1)  # [B, T]
    if mask is not None:
        weight = torch.where(ranks < mask.sum(1, keepdim=True), weight, 0)
    weight = (weight / weight.sum(1, keepdim=True))[:, :, None, None]
    return torch.where(weight > 0, ordered * weight, 0).sum(1)


def rdp(x: Tensor, gamma: float, per_band: bool = True, mask: Tensor | None = None) -> Tensor:
    """Relative deviation pooling: frames weigh the more, the further they lie from the mean frame.

    x [B, T, F, D] -> [B, F, D]. Weights (1 + d / max d)^gamma over their sum, d a frame's distance to the mean over
    time: for each band by itself (per_band), or one for a whole frame. gamma = 0 is the mean.
    """
    return _weighted(x, deviation_weights(x, gamma, per_band, mask))


def hybrid(x: Tensor, gamma: float, p: float, per_band: bool = True, mask: Tensor | None = None) -> Tensor:
    """The generalised mean with the weights of relative deviation pooling: x [B, T, F, D] -> [B, F, D]."""
    return _power_mean(x, deviation_weights(x, gamma, per_band, mask), p)


def deviation_weights(x: Tensor, gamma: float, per_band: bool = True, mask: Tensor | None = None) -> Tensor:
    """Weights of relative deviation pooling: x [B, T, F, D] -> [B, T, F, 1], or [B, T, 1, 1] for whole frames.

    They sum to 1 over time; frames that are not valid weigh nothing.
    """
    if not per_band:
        x = x.flatten(2).unsqueeze(2)  # [B, T, 1, F D]
    deviation = (x - mean(x, mask)[:, None]).norm(dim=3, keepdim=True)  # [B, T, F, 1]
    largest = _hidden(deviation, mask, 0).amax(1, keepdim=True)
    relative = torch.where(largest > EPS, deviation / largest.clamp(min=EPS), 0)
    return _hidden(gamma * relative.log1p(), mask, -torch.inf).softmax(1)


def pool(tokens: Tensor, bands: int, how: PoolingConfig, mask: Tensor | None = None) -> Tensor:
    """Tokens [B, T * bands, D], time-major, as a configuration says: [B, bands, D], or their mean [B, D]; float32.

    For `cls` the tokens that stand for the whole clip, [B, specials, D], and their mean in each of `bands` parts of the
    spectrum: [B, bands, D], or side by side [B, bands * D]. mask [B, T] as for `mean`.
    """
    if how.pooling == "cls":
        parts = tokens.float().unflatten(1, (bands, -1)).mean(2)
        return parts if how.bands else parts.flatten(1)
    x = tokens.float().unflatten(1, (-1, bands))  # [B, T, F, D]
    found = {
        "mean": lambda: mean(x, mask),
        "std": lambda: deviation(x, mask),
        "max": lambda: maximum(x, mask),
        "gem": lambda: gem(x, how.p, mask),
        "gwrp": lambda: gwrp(x, how.r, mask),
        "rdp": lambda: rdp(x, how.gamma, how.weights == "band", mask),
        "hybrid": lambda: hybrid(x, how.gamma, how.p, how.weights == "band", mask),
    }[how.pooling]()
    return found if how.bands else found.mean(1)


def _uniform(x: Tensor, mask: Tensor | None) -> Tensor:
    """The same weight for each valid frame, [B, T, 1, 1]."""
    return _hidden(x.new_zeros(*x.shape[:2], 1, 1), mask, -torch.inf).softmax(1)


def _hidden(x: Tensor, mask: Tensor | None, value: float) -> Tensor:
    return x if mask is None else x.masked_fill(~mask[:, :, None, None], value)


def _weighted(x: Tensor, weight: Tensor) -> Tensor:
    return torch.where(weight > 0, x * weight, 0).sum(1)


def _power_mean(x: Tensor, weight: Tensor, p: float) -> Tensor:
    # Of values divided by the largest: their powers neither overflow nor vanish.
    x = x.clamp(min=0)
    largest = torch.where(weight > 0, x, 0).amax(1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
    return _weighted((x / largest).pow(p), weight).pow(1 / p) * largest[:, 0]
