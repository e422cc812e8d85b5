"""One process per GPU: `torchrun` sets the environment, DistributedDataParallel averages the gradients."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from asdkit.utils.device import choose_device


@dataclass(frozen=True)
class World:
    """This process among all: `rank` of `size`, computing on `device`."""

    rank: int
    size: int
    device: torch.device

    def share(self, batch: Any) -> Any:
        """This process's rows of a batch, a list or a tensor; raises ValueError when it is too small for that."""
        if len(batch) < self.size:
            raise ValueError(f"train.batch_size {len(batch)} is smaller than the number of processes, {self.size}")
        return batch[self.rank :: self.size]

    def as_whole(self, change: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """`change`, which draws random numbers for every row, applied to this process's rows [b, ...] of a batch.

        The others' rows are there as zeros, so that each row gets the numbers that it gets in one process.
        """
        if self.size == 1:
            return change(rows)
        total = torch.tensor(len(rows), device=rows.device)
        torch.distributed.all_reduce(total)
        whole = rows.new_zeros(int(total), *rows.shape[1:])
        self.share(whole).copy_(rows)
        return self.share(change(whole))

    def wrap(self, module: nn.Module, skips: bool) -> nn.Module:
        """`module` with gradients averaged over all processes; `skips`: a step may leave weights without gradient."""
        if self.size == 1:
            return module
        from torch.nn.parallel import DistributedDataParallel

        # Buffers are the same everywhere already; later versions of torch call the option otherwise.
        newer = "forward_sync_buffers" in signature(DistributedDataParallel).parameters
        buffers = {"forward_sync_buffers" if newer else "broadcast_buffers": False}
        # A static graph may hold weights that no step uses.
        return DistributedDataParallel(module, find_unused_parameters=skips, static_graph=not skips, **buffers)

    def mean_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Put the mean over all processes in the place of gradients, where `wrap` does not; none where none has one."""
        if self.size == 1:
            return
        used = torch.tensor([parameter.grad is not None for parameter in parameters], device=self.device).int()
        torch.distributed.all_reduce(used)
        for parameter, count in zip(parameters, used.tolist(), strict=True):
            if count:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= self.size

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            torch.distributed.barrier()


def join_world(device: str = "auto") -> World:
    """Read torchrun's environment and choose the device: auto = a GPU where there is one.

    The processes of a machine divide the CPU threads that the job was given. Raises ValueError for a GPU that is not
    there.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", 0)))
    use_gpu = chosen.type == "cuda"
    if use_gpu:
        torch.cuda.set_device(chosen)
    if size > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // int(os.environ.get("LOCAL_WORLD_SIZE", size))))
        torch.distributed.init_process_group("nccl" if use_gpu else "gloo")
    return World(rank, size, chosen)


def leave_world(world: World) -> None:
    """End the process group."""
    if world.size > 1:
        torch.distributed.destroy_process_group()
