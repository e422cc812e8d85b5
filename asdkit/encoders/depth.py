"""How deep in an encoder each of its weights lies: below its blocks, in one of them, or above."""

from typing import Any

import torch
from torch import Tensor, nn

from asdkit.encoders.base import Encoder

SECONDS = 2.0  # of noise that goes through


def depths(encoder: Encoder) -> dict[str, int]:
    """Name of each parameter of an encoder -> how deep it lies, from 0 to its number of blocks + 1.

    0: below the first block; N: in block N, or between it and the one before; blocks + 1: above all of them. Below the
    first block lies all that its inputs are computed from, whatever its name: a table of position biases, too, that is
    handed on to all blocks. Raises ValueError for an encoder without blocks.
    """
    blocks = [block.module for block in encoder.blocks()]
    if not blocks:
        raise ValueError("this encoder has no blocks, by which its weights could be told apart")
    found = {id(p): number for number, block in enumerate(blocks, 1) for p in block.parameters()}
    seen: set[Any] = set()
    for number, inputs in enumerate(_inputs(encoder, blocks)):
        for source in _sources(inputs, seen):
            if not number or id(source) not in found:
                found[id(source)] = number + 1 if number else 0
    return {name: found.get(id(p), len(blocks) + 1) for name, p in encoder.named_parameters()}


def freeze(encoder: Encoder, layers: int) -> None:
    """Let the first `layers` blocks and what lies below them learn nothing (`encoder.frozen_layers`).

    Raises ValueError for more blocks than there are.
    """
    if not layers:
        return
    if layers > (there := len(encoder.blocks())):
        raise ValueError(f"encoder.frozen_layers {layers}: the encoder has {there} blocks")
    found = depths(encoder)
    for name, parameter in encoder.named_parameters():
        if found[name] <= layers:
            parameter.requires_grad_(False)


def _inputs(encoder: Encoder, blocks: list[nn.Module]) -> list[list[Tensor]]:
    """The tensors that each block is given, with the graph that they come from."""
    given: dict[nn.Module, list[Tensor]] = {}

    def note(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        given.setdefault(module, [value for value in (*inputs, *named.values()) if isinstance(value, Tensor)])

    trained = {parameter: parameter.requires_grad for parameter in encoder.parameters()}
    modes = {module: module.training for module in encoder.modules()}
    hooks = [block.register_forward_pre_hook(note, with_kwargs=True) for block in blocks]
    wav = 0.1 * torch.randn(1, round(SECONDS * encoder.sample_rate), generator=torch.Generator().manual_seed(0))
    try:
        encoder.eval().requires_grad_(True)
        with torch.no_grad():
            feats = encoder.frontend(wav.to(next(encoder.parameters()).device))
        with torch.enable_grad():
            encoder(feats)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
        for parameter, learns in trained.items():
            parameter.requires_grad_(learns)
    return [given[block] for block in blocks]


def _sources(tensors: list[Tensor], seen: set[Any]) -> list[Tensor]:
    """The leaves of a graph that ends in `tensors`, without what leads to nodes that were `seen`."""
    found = [tensor for tensor in tensors if tensor.grad_fn is None]
    todo = [tensor.grad_fn for tensor in tensors]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        todo += [following for following, _ in node.next_functions]
    return found
