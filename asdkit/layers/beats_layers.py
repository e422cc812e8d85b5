"""The transformer inside BEATs (Chen et al., 'BEATs: Audio Pre-Training with Acoustic Tokenizers', ICML 2023).

The layers are WavLM's (Chen et al., 2022): gated relative position bias; with DeepNet's residuals (Wang et al., 2022).
Attribute names are those of the published files' keys.
"""

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from asdkit.config import check_sizes
from asdkit.layers.attention import GatedAttention, plain_attention, relative_buckets
from asdkit.layers.block import Block
from asdkit.layers.packed import clips
from asdkit.layers.recompute import made_anew
from asdkit.layers.spectrum import exporting
from asdkit.utils.typed_yaml import Section

ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu_accurate": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "tanh": torch.tanh,
    "swish": F.silu,
    "linear": lambda x: x,
}

# Tokens that go through the layers together on a CPU, where larger activations than these only miss the caches.
ROWS = 1024

WINDOWS = 1 << 26  # numbers that the position convolution's windows on a GPU may be at a time


class BeatsConfig(Section):
    """The `cfg` of a published file; only what tells of a classifier may be left out: no other default fits weights."""

    encoder_layers: int = Field(ge=1)
    encoder_embed_dim: int = Field(ge=1)
    encoder_ffn_embed_dim: int = Field(ge=1)
    encoder_attention_heads: int = Field(ge=1)
    activation_fn: Literal["gelu", "gelu_accurate", "relu", "tanh", "swish", "linear"]
    dropout: float = Field(ge=0, le=1)
    attention_dropout: float = Field(ge=0, le=1)
    activation_dropout: float = Field(ge=0, le=1)
    encoder_layerdrop: float = Field(ge=0, le=1)
    dropout_input: float = Field(ge=0, le=1)
    layer_norm_first: bool
    conv_bias: bool
    conv_pos: int = Field(ge=1)
    conv_pos_groups: int = Field(ge=1)
    relative_position_embedding: bool
    num_buckets: int = Field(ge=4, multiple_of=4)
    max_distance: int
    gru_rel_pos: bool
    deep_norm: bool
    input_patch_size: int = Field(ge=1, le=128)
    layer_wise_gradient_decay_ratio: float = Field(gt=0)
    embed_dim: int = Field(ge=1)
    finetuned_model: bool = False
    predictor_dropout: float = Field(0.0, ge=0, le=1)
    predictor_class: int = Field(527, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> "BeatsConfig":
        check_sizes(self)
        if self.max_distance <= self.num_buckets // 4:
            raise ValueError(f"max_distance must be above num_buckets / 4, got {self.max_distance}")
        return self


class Transformer(nn.Module):
    """Convolutional positions, then `encoder_layers` layers that share one table of relative position biases."""

    def __init__(self, cfg: BeatsConfig) -> None:
        super().__init__()
        self.cfg = cfg
        dim = cfg.encoder_embed_dim
        self.pos_conv = nn.Sequential(PositionConv(dim, cfg.conv_pos, cfg.conv_pos_groups))
        self.layers = nn.ModuleList(Layer(cfg) for _ in range(cfg.encoder_layers))
        if cfg.relative_position_embedding:
            table = nn.Embedding(cfg.num_buckets, cfg.encoder_attention_heads)
            for layer in self.layers:
                layer.self_attn.relative_attention_bias = table
        self.layer_norm = nn.LayerNorm(dim)

    def prepare(self, x: Tensor) -> Tensor:
        """Projected patches [B, N, D] -> input of the first layer [B, N, D]."""
        x = x + F.gelu(self.pos_conv(x))
        if not self.cfg.layer_norm_first:
            x = self.layer_norm(x)
        return F.dropout(x, self.cfg.dropout, self.training)

    def forward(self, x: Tensor, all_layers: bool = False) -> list[Tensor]:
        """x [B, N, D] from `prepare` -> the output of the last layer in a list, or of every layer."""
        bias = None
        if self.cfg.relative_position_embedding:
            every = [self.position_bias(part.shape[1]) for part in clips(x)]
            bias = every[0] if len(every) == 1 else every
        if torch.is_grad_enabled() or x.device.type != "cpu" or exporting():
            return self._run(x, bias, all_layers)
        groups = [self._run(part, bias, all_layers) for part in x.split(max(1, ROWS // x.shape[1]))]
        return [torch.cat(layer) for layer in zip(*groups, strict=True)]

    def _run(self, x: Tensor, bias: Tensor | list[Tensor] | None, all_layers: bool) -> list[Tensor]:
        ratio, drop = self.cfg.layer_wise_gradient_decay_ratio, self.cfg.encoder_layerdrop
        outputs: list[Tensor] = []
        for layer in self.layers:
            if ratio != 1.0:
                x = _ScaledGradient.apply(x, ratio)
            if not (self.training and drop > 0 and torch.rand(()) < drop):
                x = layer(x, bias)
            outputs = [*outputs, x] if all_layers else [x]
        return outputs

    def position_bias(self, tokens: int) -> Tensor:
        """Bias of every (query, key) pair before the gate: [heads, N, N]."""
        weight = self.layers[0].self_attn.relative_attention_bias.weight
        relative = torch.arange(1 - tokens, tokens, device=weight.device)
        values = weight[relative_buckets(relative, self.cfg.num_buckets, self.cfg.max_distance)]  # [2 N - 1, heads]
        kind = "cuda" if weight.is_cuda else "cpu"  # autocast knows nothing of weights that are shapes alone
        if torch.is_autocast_enabled(kind):
            values = values.to(torch.get_autocast_dtype(kind))
        if exporting():
            places = torch.arange(tokens, device=weight.device)
            return values.t()[:, places - places[:, None] + tokens - 1]
        # Row i is the window of N values that starts at distance -i: a Toeplitz matrix.
        return values.t().contiguous().unfold(1, tokens, 1).flip(1)


class Layer(nn.Module):
    """Self-attention and feed-forward, normalised after each residual sum (or before: `layer_norm_first`)."""

    def __init__(self, cfg: BeatsConfig) -> None:
        super().__init__()
        dim = cfg.encoder_embed_dim
        self.adapters = nn.ModuleDict()  # before the rest: an optimiser's state goes by the order of weights
        self.self_attn = Attention(cfg)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, cfg.encoder_ffn_embed_dim)
        self.fc2 = nn.Linear(cfg.encoder_ffn_embed_dim, dim)
        self.final_layer_norm = nn.LayerNorm(dim)
        self.layer_norm_first = cfg.layer_norm_first
        self.dropout, self.activation_dropout = cfg.dropout, cfg.activation_dropout
        self.activation = ACTIVATIONS[cfg.activation_fn]
        # DeepNet: the residual branch is multiplied by (2 L)^(1/4); only where the norm follows the sum.
        self.alpha = (2 * cfg.encoder_layers) ** 0.25 if cfg.deep_norm and not cfg.layer_norm_first else 1.0

    def forward(self, x: Tensor, bias: Tensor | list[Tensor] | None) -> Tensor:
        """x [B, N, D], bias [heads, N, N] or [B, heads, N, N]; one for each of `packed.clips` -> [B, N, D]"""
        if self.layer_norm_first:
            x = x + self._attend(self.self_attn_layer_norm(x), bias)
            x = x + self._feed_forward(self.final_layer_norm(x))
        else:
            x = self.self_attn_layer_norm(torch.add(self._attend(x, bias), x, alpha=self.alpha))
            x = self.final_layer_norm(torch.add(self._feed_forward(x), x, alpha=self.alpha))
        return x

    def block(self) -> Block:
        """Where this layer can be changed."""
        attention = {name: (self.self_attn, name) for name in ("q_proj", "k_proj", "v_proj", "out_proj")}
        linears = {**attention, "fc1": (self, "fc1"), "fc2": (self, "fc2")}
        return Block(self, linears, {"mha": (self, "self_attn"), "ffn": (self, "fc2")})

    def _attend(self, x: Tensor, bias: Tensor | list[Tensor] | None) -> Tensor:
        return F.dropout(self.self_attn(x, bias), self.dropout, self.training)

    def _feed_forward(self, x: Tensor) -> Tensor:
        before = self.fc1(x)
        active = self.activation(before)
        hidden = F.dropout(active, self.activation_dropout, self.training)
        with made_anew(active, self.activation, before):
            y = self.fc2(hidden)
        return F.dropout(y, self.dropout, self.training)


class Attention(nn.Module):
    """Multi-head attention whose relative position bias is gated by the query (WavLM, Sec. III-B)."""

    def __init__(self, cfg: BeatsConfig) -> None:
        super().__init__()
        dim, self.heads = cfg.encoder_embed_dim, cfg.encoder_attention_heads
        self.dropout, self.gated = cfg.attention_dropout, cfg.gru_rel_pos
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))
        if self.gated:
            self.grep_linear = nn.Linear(dim // self.heads, 8)
            self.grep_a = nn.Parameter(torch.ones(1, self.heads, 1, 1))

    def forward(self, x: Tensor, bias: Tensor | list[Tensor] | None) -> Tensor:
        """x [B, N, D], bias [heads, N, N] or [B, heads, N, N]; one for each of `packed.clips` -> [B, N, D]"""
        projected = (self._split(linear(x)) for linear in (self.q_proj, self.k_proj, self.v_proj))
        q, k, v = (clips(part, 2) for part in projected)
        every = bias if isinstance(bias, list) else [bias] * len(q)
        parts = [self._attended(*one) for one in zip(q, k, v, every, strict=True)]
        return self._merge(parts[0] if len(parts) == 1 else torch.cat(parts, 2))

    def _attended(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        """q, k, v [B, heads, N, d], bias [heads, N, N] or [B, heads, N, N] -> [B, heads, N, d]"""
        dropout = self.dropout if self.training else 0.0
        on_cpu = q.device.type == "cpu" and not dropout
        if bias is not None:
            gate = self.gate(q).to(q.dtype) if self.gated else q.new_ones(()).expand(*q.shape[:3], 1)
            if on_cpu and torch.is_grad_enabled() and (gate.requires_grad or bias.requires_grad):
                return GatedAttention.apply(q, k, v, gate, bias)
            bias = gate * bias  # [B, heads, N, N]
        if on_cpu and q.dtype == torch.bfloat16:
            return plain_attention(q, k, v, q.new_zeros(q.shape[2], q.shape[2]) if bias is None else bias)
        return F.scaled_dot_product_attention(q, k, v, bias, dropout)

    def gate(self, q: Tensor) -> Tensor:
        """Factor of the position bias, from the projected query: q [B, heads, N, d] -> [B, heads, N, 1].

        With update gate u, reset gate r and a learned scale s per head: 1 + u + (1 - u) s r. The file's first four
        outputs give 1 - u, the last four r, each as a sum before the sigmoid.
        """
        outputs = self.grep_linear(q.transpose(1, 2))  # [B, N, heads, 8], as the projection left it in memory
        keep, reset = outputs.unflatten(-1, (2, 4)).sum(-1, keepdim=True).sigmoid().unbind(-2)
        return (2 + keep * (self.grep_a.transpose(1, 2) * reset - 1)).transpose(1, 2)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, N, D] -> [B, heads, N, d]

    def _merge(self, y: Tensor) -> Tensor:
        return self.out_proj(y.transpose(1, 2).flatten(2))  # [B, heads, N, d] -> [B, N, D]


class PositionConv(nn.Module):
    """Grouped convolution over the tokens with as many outputs as inputs.

    Weight normalisation keeps one length per tap (dimension 2); an even kernel drops its last output.
    """

    def __init__(self, dim: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.kernel, self.groups, self._narrow = kernel, groups, dim // groups < 16
        self.bias = nn.Parameter(torch.zeros(dim))
        self.weight_g = nn.Parameter(torch.empty(1, 1, kernel))
        self.weight_v = nn.Parameter(torch.empty(dim, dim // groups, kernel))
        nn.init.normal_(self.weight_v, std=math.sqrt(4 / (kernel * dim)))
        if not self.weight_v.is_meta:  # torch loads its compiler for a norm there
            self.weight_g.data.copy_(self.weight_v.data.norm(dim=(0, 1), keepdim=True))
        self.register_buffer("folded", None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, D] -> [B, N, D]"""
        weight = self._weight() if self.folded is None else self.folded
        if x.device.type == "cuda":
            return self.products(x, weight)
        if not (self._narrow and torch.is_autocast_enabled("cpu")):
            return self._as_image(x, weight)
        # torch 2.14.1 in bfloat16: with AMX wrong by 100 % for such groups, without it slower than in float32.
        with torch.autocast("cpu", enabled=False):
            y = self._as_image(x.float(), weight)
        return y.to(torch.get_autocast_dtype("cpu"))

    def _as_image(self, x: Tensor, weight: Tensor) -> Tensor:
        # Of height 1, its channels last, [B, D, 1, N]: much faster on CPUs than conv1d.
        image = x.transpose(1, 2).unsqueeze(2)
        y = F.conv2d(image, weight, self.bias, padding=(0, self.kernel // 2), groups=self.groups)
        return y[:, :, 0, : x.shape[1]].transpose(1, 2)

    def products(self, x: Tensor, weight: Tensor) -> Tensor:
        """The same by one matrix product for each group: cuDNN's grouped convolutions take 10 to 100 times as long."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        matrix = weight.reshape(self.groups, -1, weight.shape[1] * self.kernel).to(x.dtype)  # [G, D/G, D/G * kernel]
        clips = max(1, WINDOWS // (x[0].numel() * self.kernel))
        return torch.cat([self._windows(part, matrix) for part in x.split(clips)]) + self.bias.to(x.dtype)

    def _windows(self, x: Tensor, matrix: Tensor) -> Tensor:
        half = self.kernel // 2
        windows = F.pad(x, (0, 0, half, half)).unfold(1, self.kernel, 1)[:, : x.shape[1]]  # [B, N, D, kernel]
        windows = windows.unflatten(2, (self.groups, -1)).flatten(3)  # [B, N, G, D / G * kernel]
        return torch.einsum("bngc,goc->bngo", windows, matrix).flatten(2)

    def fold_for_inference(self, dtype: torch.dtype) -> None:
        """Use the weight as it is now, normalised once, in the precision that it is used in; its channels last."""
        dtype = torch.float32 if self._narrow else dtype
        self.folded = self._weight().detach().to(dtype, memory_format=torch.channels_last)

    def _weight(self) -> Tensor:
        # The function inside torch's own weight norm, whose parametrisation would name the parameters differently.
        return torch._weight_norm(self.weight_v, self.weight_g, 2).unsqueeze(2)  # [D, D / groups, 1, kernel]


class _ScaledGradient(torch.autograd.Function):
    """Identity whose gradient is multiplied by `ratio`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ratio: float) -> Tensor:
        ctx.ratio = ratio
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.ratio, None
