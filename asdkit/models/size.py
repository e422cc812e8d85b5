"""How large a network is and what a clip costs: parameters and multiply-accumulates, for which challenges ask."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from asdkit.adapt.lora import merge_lora
from asdkit.models.system import System

SECONDS = 10  # the clip whose cost is told

Shape = tuple[int, ...]


def _product(total: Shape, a: Shape, b: Shape, *others: Any, **named: Any) -> int:
    """FLOPs of total + a b: [..., N, K], [..., K, M]."""
    return 2 * math.prod(a) * b[-1]


def _attention(q: Shape, k: Shape, v: Shape, *others: Any, **named: Any) -> int:
    """FLOPs of attention: q [B, heads, N, d], k [B, heads, M, d], v [B, heads, M, e]."""
    return 2 * math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1])


aten = torch.ops.aten
# What the counter of torch (2.14.1) counts as nothing: products that are added in place, attention on CPUs.
MORE = {
    aten.addmm_: _product,
    aten.baddbmm_: _product,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
}


def size_of(system: System) -> dict[str, int]:
    """Size of what embeds clips, LoRA merged: `parameters`, `trained` ones, and `macs` of a clip of 10 s as a whole.

    macs: multiply-accumulates of all matrix products and convolutions behind the front end. Weights are not read where
    the network can do without (device meta), so that this takes little time and memory.
    """
    network = system.embedding_network()
    bare = merge_lora(without_weights(system)).eval()
    try:
        cost = _cost(bare)
    except (RuntimeError, NotImplementedError):  # the network looks at values
        cost = _cost(merge_lora(copy.deepcopy(system)).eval())
    return {
        "parameters": sum(p.numel() for p in bare.embedding_network().parameters()),
        "trained": sum(p.numel() for p in network.parameters() if p.requires_grad),
        "macs": cost,
    }


def _cost(system: System) -> int:
    device = next((tensor.device for tensor in [*system.parameters(), *system.buffers()]), None)
    with torch.no_grad():
        feats = system.frontend(torch.zeros(1, SECONDS * system.sample_rate, device=device))
    return macs(system, feats)


def macs(system: System, feats: Tensor) -> int:
    """Multiply-accumulates of `represent` for features [B, F, M] (or samples [B, T])."""
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=MORE) as counter:
        system.represent(feats, system.machines[:1])
    return counter.get_total_flops() // 2


def without_weights(module: nn.Module) -> Any:
    """A copy of `module` whose parameters and buffers have shapes alone."""
    memo: dict[int, Any] = {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in module.parameters()}
    memo |= {id(buffer): buffer.to("meta") for buffer in module.buffers()}
    return copy.deepcopy(module, memo)
