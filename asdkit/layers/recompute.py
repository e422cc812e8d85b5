"""What is quick to make anew is not kept for the backward pass."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def made_anew(made: Tensor, function: Callable[[Tensor], Tensor], given: Tensor) -> AbstractContextManager[Any]:
    """Within it, what would be kept `made` for the backward pass keeps `given` instead, and computes it anew.

    made: what `function(given)` is, of any shape; the same bits come again, so that gradients are the same. For what is
    kept elsewhere already, or is much smaller, and quick to compute: an activation between two linear layers. On CPUs
    alone; elsewhere, and without gradients, nothing changes.
    """
    if not torch.is_grad_enabled() or made.device.type != "cpu" or made is given:
        return nullcontext()
    place, like, given = made.data_ptr(), (made.numel(), made.dtype), given.detach()
    autocast = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def pack(tensor: Tensor) -> Any:
        same = tensor.data_ptr() == place and (tensor.numel(), tensor.dtype) == like and tensor.is_contiguous()
        return tensor.shape if same else tensor

    def unpack(kept: Any) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        with torch.no_grad(), torch.autocast("cpu", autocast[1], enabled=autocast[0]):
            return function(given).view(kept)

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)
