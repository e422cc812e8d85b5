"""What computing on a GPU asks for that computing on a CPU does not."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; a copy to a GPU waits for nothing, since it goes out of memory that a GPU reads itself."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.contiguous().pin_memory().to(device, non_blocking=True)


def choose_device(name: str = "auto", number: int = 0) -> torch.device:
    """auto: a GPU if there is one; cpu; cuda. number: which GPU. Raises ValueError for a GPU that is not there."""
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ValueError("--device cuda: no GPU is visible to torch; use --device cpu or auto")
    return torch.device(f"cuda:{number}" if there and name != "cpu" else "cpu")


def set_precision(precision: str, device: torch.device) -> None:
    """Let products of float32 on a GPU be made in TF32 where `precision` is tf32, and in float32 where it is not.

    Left alone, torch makes convolutions in TF32, so that a GPU would give other embeddings than a CPU.
    """
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = precision == "tf32"


def float32_throughout(tensor: torch.Tensor) -> torch.autocast:
    """Within it, what is made of `tensor` is made without autocast; it may be a shape alone (device meta), too."""
    return torch.autocast("cuda" if tensor.is_cuda else "cpu", enabled=False)
