"""CUDA graphs of an encoder's blocks: a GPU is told in one call what Python would tell it in hundreds."""

from typing import Any

import torch
from torch import Tensor, nn

from asdkit.adapt.around import HOOKS
from asdkit.encoders.base import Encoder


def graph_blocks(encoder: Encoder, feats: Tensor) -> None:
    """Record forward and backward pass of every transformer block; each is replayed in training from now on, in place.

    Blocks are recorded one by one, so that layer drop can still leave any of them out, and with the kernels that run
    without graphs: results are the same. `feats`: features of a batch, whose shape all later batches must have; the
    autocast of the training must be on, without its cache. Weights must not be replaced afterwards, and no other thread
    may use the GPU meanwhile. Raises ValueError for blocks that take anything but tensors, or that run more than once.
    """
    blocks = [block.module for block in encoder.blocks()]
    inputs = _inputs(encoder, blocks, feats)
    # What is put around a block itself is not recorded with it: torch refuses modules with hooks.
    tables = [{name: getattr(block, name) for name in HOOKS} for block in blocks]
    for block in blocks:
        for name, table in tables[0].items():
            setattr(block, name, type(table)())
    try:
        torch.cuda.make_graphed_callables(tuple(blocks), inputs, allow_unused_input=True)
    finally:
        for block, kept in zip(blocks, tables, strict=True):
            for name, table in kept.items():
                setattr(block, name, table)


def _inputs(encoder: Encoder, blocks: list[nn.Module], feats: Tensor) -> tuple[tuple[Tensor, ...], ...]:
    """What each block is given for these features: copies for the recording."""
    given: list[tuple[Any, ...]] = []

    def note(block: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        given.append((*inputs, *named.items()))  # what is given by name cannot be recorded

    hooks = [block.register_forward_pre_hook(note, with_kwargs=True) for block in blocks]
    training = encoder.training
    try:
        # no layer drop, so that every block is seen; with gradients, so that it is known what has any
        encoder.eval()
        encoder(feats)
    finally:
        encoder.train(training)
        for hook in hooks:
            hook.remove()
    if len(given) != len(blocks):
        raise ValueError(
            "train.graphs: chunks of this length go through this encoder's blocks in pieces: set it to false, or "
            "data.chunk_seconds to what goes through at once"
        )
    copies = []
    for inputs in given:
        if not all(isinstance(value, Tensor) for value in inputs):
            raise ValueError("train.graphs: this encoder's blocks take more than tensors: set it to false")
        tokens, *others = (value.detach().clone().requires_grad_(value.requires_grad) for value in inputs)
        # The first block's tokens may have no gradient, and any block may be the first where layers are left out.
        copies.append((tokens.requires_grad_(), *others))
    return tuple(copies)
