"""A batch that goes through the network in parts, one after the other (`train.accumulate`)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from asdkit.models.system import System


def losses_in_parts(
    system: System, feats: Tensor, batch: Any, count: int, restart: Callable[[], Any], autocast: Callable[[], Any]
) -> dict[str, Tensor]:
    """`System.losses` of features [B, F, M] and their gradients, added to the parameters', in the memory of a part.

    The objective needs all embeddings at once: they are computed first, without what a gradient needs; the objective
    is computed on all of them; then each part goes through again, and takes up the gradient of its embeddings
    (Gao et al., 2021, Sec. 3.2). The last part's first pass is kept, so that it goes through once.

    count: parts; none is empty. restart: sets torch's generators to where the step begins, before each pass, so that
    both passes of a part draw the same, and all parts leave out the same layers. autocast: makes the context of a
    pass; one for all would hand weights that were cast without a gradient to the passes that need one.
    """
    parts = [part for part in feats.tensor_split(count) if len(part)]

    def embed(part: Tensor, with_gradient: bool) -> Tensor:
        restart()
        with torch.set_grad_enabled(with_gradient), autocast():
            return system.embed(part)

    first = [embed(part, with_gradient=False) for part in parts[:-1]]
    last = embed(parts[-1], with_gradient=True)
    embeddings = torch.cat([*first, last.detach()]).requires_grad_()  # [B, D]
    with autocast():
        losses = system.judge(embeddings, batch)
    losses["loss"].backward()
    assert embeddings.grad is not None
    *others, own = embeddings.grad.tensor_split(len(parts))
    _back(last, own)
    del last
    for part, gradient in zip(parts[:-1], others, strict=True):
        _back(embed(part, with_gradient=True), gradient)
    return losses


def too_large(system: System, batch: int, parts: int) -> tuple[str, str]:
    """What memory may not hold, a batch of so many clips in so many parts, and what to do then: for `memory_told`."""
    what, instead = f"train.batch_size {batch}", ""
    what += f" in {parts} parts (train.accumulate)" if parts > 1 else ""
    more = min(2 * parts, batch)
    if system.separable and more > parts:
        instead = f"set train.accumulate to {more}, which takes longer for the same losses, "
    return what, f"{instead}set a smaller one, or train.precision to bfloat16"


def _back(embeddings: Tensor, gradient: Tensor) -> None:
    if embeddings.requires_grad:  # a step may leave out every layer that learns
        embeddings.backward(gradient)
