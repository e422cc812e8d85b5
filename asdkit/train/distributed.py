"""One process per GPU: `torchrun` sets the environment, DistributedDataParallel averages the gradients."""

import os
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class World:
    """This process among all: `rank` of `size`, computing on `device`."""

    rank: int
    size: int
    device: torch.device

    def share(self, batch: list) -> list:
        """This process's part of a batch; raises ValueError when it is too small for that."""
        if len(batch) < self.size:
            raise ValueError(f"train.batch_size {len(batch)} is smaller than the number of processes, {self.size}")
        return batch[self.rank :: self.size]

    def wrap(self, module: nn.Module) -> nn.Module:
        """`module` with gradients averaged over all processes."""
        if self.size == 1:
            return module
        from torch.nn.parallel import DistributedDataParallel

        if self.device.type == "cuda":  # torch has no synchronised batch normalisation for CPUs
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        # layer drop leaves whole layers without gradient in some steps
        return DistributedDataParallel(module, find_unused_parameters=True)

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            torch.distributed.barrier()


def join_world(device: str = "auto") -> World:
    """Read torchrun's environment and choose the device: auto = a GPU where there is one."""
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    use_gpu = torch.cuda.is_available() if device == "auto" else device == "cuda"
    if use_gpu and not torch.cuda.is_available():
        raise ValueError("--device cuda: no GPU is visible to torch; use --device cpu or auto")
    local = int(os.environ.get("LOCAL_RANK", 0))
    if use_gpu:
        torch.cuda.set_device(local)
    if size > 1:
        torch.distributed.init_process_group("nccl" if use_gpu else "gloo")
    return World(rank, size, torch.device(f"cuda:{local}" if use_gpu else "cpu"))


def leave_world(world: World) -> None:
    """End the process group."""
    if world.size > 1:
        torch.distributed.destroy_process_group()
