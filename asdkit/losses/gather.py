"""A batch that lies in several processes, put together again."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gather(*tensors: Tensor) -> tuple[Tensor, ...]:
    """This process's rows [b, ...] of some tensors -> those of the whole batch [B, ...], in the order of one process.

    Process r of R holds rows r, r + R, ... (`World.share`), so that shares may differ by one row. What is computed from
    the result is the same in every process. Gradients come back as those of its own rows, times R, so that the mean
    over processes that DistributedDataParallel takes is the gradient of one process with the whole batch. All go to the
    device of the first. A process by itself gets its tensors back.
    """
    if not _several():
        return tensors
    rows = torch.tensor([len(tensors[0])], device=tensors[0].device)
    counts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, rows)
    sizes = torch.cat(counts).tolist()
    return tuple(_Gather.apply(tensor.to(rows.device), sizes) for tensor in tensors)


def mirrored(rows: Tensor) -> Tensor:
    """This process's rows [b, ...] -> the whole batch's last row for its first, and so on: those of its own."""
    whole = gather(rows)[0].flip(0)
    return whole[dist.get_rank() :: dist.get_world_size()] if _several() else whole


def whole_mean(mean: Tensor, rows: int) -> Tensor:
    """A mean over this process's `rows` clips, a scalar -> the mean over the whole batch, of unequal shares too."""
    return gather(mean.reshape(1).expand(rows))[0].mean() if _several() else mean


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: list[int]) -> Tensor:
        ctx.rank, ctx.processes = dist.get_rank(), len(sizes)
        padded = x.new_zeros(max(sizes), *x.shape[1:])
        padded[: len(x)] = x
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        whole = x.new_empty(sum(sizes), *x.shape[1:])
        for rank, (part, size) in enumerate(zip(parts, sizes, strict=True)):
            whole[rank :: ctx.processes] = part[:size]
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[ctx.rank :: ctx.processes] * ctx.processes, None
