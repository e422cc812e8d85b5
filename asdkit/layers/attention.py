"""Attention with a position bias, for CPUs."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class GatedAttention(torch.autograd.Function):
    """softmax(q k^T / sqrt(d) + gate * bias) v, with gradients for all of them.

    torch has no fused kernel on CPUs for a bias that has a gradient, and left to autograd every step of it would be
    another tensor as large as the scores. Here they go head by head: what a head needs stays in the cache, and no head
    has to be copied out of the projections' outputs, nor its gradient back.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, gate: Tensor, bias: Tensor) -> Tensor:
        """q, k, v [B, heads, N, d], gate [B, heads, N, 1], bias [heads, N, N] or [B, ...] -> [B, heads, N, d]"""
        ctx.scale = q.shape[-1] ** -0.5
        y = torch.empty_like(q)
        weights = []
        for head in range(q.shape[1]):
            scores = gate[:, head] * bias[..., head, :, :]  # [B, N, N]
            scores.baddbmm_(q[:, head], k[:, head].transpose(1, 2), alpha=ctx.scale)
            weights.append(scores.softmax(-1))
            y[:, head] = torch.bmm(weights[-1], v[:, head])
        ctx.save_for_backward(q, k, v, gate, bias, *weights)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of q, k, v, gate and bias."""
        q, k, v, gate, bias, *weights = ctx.saved_tensors
        *_, for_gate, for_bias = ctx.needs_input_grad
        # shaped like q, k and v in memory too: heads side by side
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        grad_gate = torch.empty_like(gate) if for_gate else None
        grad_bias = torch.empty_like(bias) if for_bias else None
        for head, p in enumerate(weights):
            grad_y = gradient[:, head]
            grad_v[:, head] = torch.bmm(p.transpose(1, 2), grad_y)
            grad_p = torch.bmm(grad_y, v[:, head].transpose(1, 2))
            grad_scores = torch._softmax_backward_data(grad_p, p, -1, p.dtype)  # [B, N, N]
            torch.mul(torch.bmm(grad_scores, k[:, head]), ctx.scale, out=grad_q[:, head])
            of_keys = torch.bmm(q[:, head].transpose(1, 2), grad_scores).transpose(1, 2)
            torch.mul(of_keys, ctx.scale, out=grad_k[:, head])
            if grad_bias is not None:
                of_bias = grad_scores * gate[:, head]
                grad_bias[..., head, :, :] = of_bias if bias.ndim == 4 else of_bias.sum(0)
            if grad_gate is not None:
                grad_gate[:, head] = grad_scores.mul_(bias[..., head, :, :]).sum(-1, keepdim=True)
        return grad_q, grad_k, grad_v, grad_gate, grad_bias


def plain_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Plain attention over [B, heads, N, d]: faster on CPUs in bfloat16, for inference.

    The scores take the place of the bias, so that `bias` must be the caller's to give away.
    """
    queries, keys, values = (x.flatten(0, 1) for x in (q, k, v))
    scores = bias.expand(*q.shape[:3], -1).flatten(0, 1).contiguous()  # [B heads, N, N]
    scores.baddbmm_(queries, keys.transpose(1, 2), alpha=q.shape[-1] ** -0.5)
    return torch.bmm(scores.softmax(-1), values).view_as(q)


def relative_buckets(relative: Tensor, buckets: int, max_distance: int) -> Tensor:
    """Row of the bias table for key position minus query position, any shape (T5, Raffel et al., 2020, Sec. 2.1).

    Half of the rows for each direction; in each, half for single steps, the rest on a logarithmic scale up to
    `max_distance`, beyond which the last one holds.
    """
    half = buckets // 2
    exact = half // 2
    distance = relative.abs()
    scale = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = (exact + (scale * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(distance < exact, distance, far) + half * (relative > 0)
