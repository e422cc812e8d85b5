"""Files of published weights, written as others write them, from networks with random weights."""

import json
import struct
from pathlib import Path

import torch

from asdkit.encoders.ast import Ast
from asdkit.encoders.ced import Ced
from asdkit.encoders.dasheng import Dasheng
from asdkit.encoders.eat import Eat
from asdkit.encoders.fisher import Fisher


def time_major(x: torch.Tensor, specials: int, bands: int) -> torch.Tensor:
    """Tokens [B, specials + bands * T, D] of a paper whose images have frequency first, in this package's order."""
    body = x[:, specials:].unflatten(1, (bands, -1)).transpose(1, 2).flatten(1, 2)
    return torch.cat([x[:, :specials], body], 1)


def frequency_major(x: torch.Tensor, specials: int, bands: int) -> torch.Tensor:
    """The other way round."""
    body = x[:, specials:].unflatten(1, (-1, bands)).transpose(1, 2).flatten(1, 2)
    return torch.cat([x[:, :specials], body], 1)


def write_safetensors(path: Path, tensors: dict[str, torch.Tensor], **metadata: str) -> Path:
    """As the format's description says; no padding of the table, so that numbers may lie anywhere."""
    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.bool: "BOOL"}
    table, content = ({"__metadata__": metadata} if metadata else {}), b""
    for name, tensor in tensors.items():
        own = tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        place = [len(content), len(content) + len(own)]
        table[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": place}
        content += own
    head = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + content)
    return path


AST_NAMES = {
    "patch_embed.": ("patch_embed.proj.", "embeddings.patch_embeddings.projection."),
    "cls_token": ("cls_token", "embeddings.cls_token"),
    "dist_token": ("dist_token", "embeddings.distillation_token"),
    "pos_embed": ("pos_embed", "embeddings.position_embeddings"),
    "norm.": ("norm.", "layernorm."),
    "trunk.": ("blocks.", "encoder.layer."),
}
AST_BLOCK = {
    ".norm1.": ".layernorm_before.",
    ".norm2.": ".layernorm_after.",
    ".attn.proj.": ".attention.output.dense.",
    ".attn.qkv.": ".attention.attention.qkv.",
    ".mlp.fc1.": ".intermediate.dense.",
    ".mlp.fc2.": ".output.dense.",
}


def save_ast(encoder: Ast, path: Path, dtype: torch.dtype = torch.float32, bare: bool = True) -> None:
    """Write an AST as its authors do (a path ending in .pth), or as transformers does; bare: without a classifier."""
    weights = {name: value.to(dtype) for name, value in encoder.state_dict().items()}
    weights["pos_embed"] = frequency_major(weights["pos_embed"], encoder.specials, encoder.bands)
    weights["patch_embed.weight"] = weights["patch_embed.weight"].transpose(2, 3)
    starts = {name: next(start for start in AST_NAMES if name.startswith(start)) for name in weights}
    original = path.suffix == ".pth"
    weights = {name.replace(starts[name], AST_NAMES[starts[name]][not original], 1): x for name, x in weights.items()}
    if original:
        heads = {"v.head.weight": torch.zeros(5, encoder.dim), "mlp_head.0.bias": torch.zeros(encoder.dim)}
        stored = {f"v.{name}": x for name, x in weights.items()} | heads
        torch.save({f"module.{name}": x for name, x in stored.items()}, path)
        return
    found = {}
    for name, value in weights.items():
        for ours, theirs in AST_BLOCK.items():
            name = name.replace(ours, theirs)
        parts = value.chunk(3) if ".qkv." in name else [value]
        found |= {name.replace("qkv", part): x for part, x in zip(("query", "key", "value"), parts, strict=False)}
    if not bare:
        found = {f"audio_spectrogram_transformer.{name}": x for name, x in found.items()}
        found["classifier.dense.bias"] = torch.zeros(2)
    path.mkdir(exist_ok=True)
    write_safetensors(path / "model.safetensors", found, format="pt")
    block = encoder.trunk[0]
    config = {
        "model_type": "audio-spectrogram-transformer", "hidden_act": "gelu", "qkv_bias": True, "patch_size": 16,
        "num_mel_bins": 128, "num_attention_heads": block.attn.heads, "layer_norm_eps": block.norm1.eps,
        "time_stride": encoder.patch_embed.stride[0], "frequency_stride": encoder.patch_embed.stride[1],
    }  # fmt: skip
    (path / "config.json").write_text(json.dumps(config))


def save_ced(encoder: Ced, path: Path, dtype: torch.dtype = torch.float32, wrapped: bool = False) -> None:
    """Write a CED as its authors do, or, without a suffix, as a folder of the hub; wrapped: under 'model', bare."""
    hub = not path.suffix
    names = {
        "standardise.": "init_bn." if hub else "init_bn.1.",
        "patch_embed.": "patch_embed.proj.",
        "trunk.": "blocks.",
    }
    weights = {name: value.to(dtype) for name, value in encoder.state_dict().items()}
    weights["patch_embed.weight"] = weights["patch_embed.weight"].transpose(2, 3)
    for ours, theirs in names.items():
        weights = {name.replace(ours, theirs) if name.startswith(ours) else name: x for name, x in weights.items()}
    weights[f"{names['standardise.']}num_batches_tracked"] = torch.tensor(7)
    if hub:
        path.mkdir(exist_ok=True)
        stored = {f"encoder.{name}": x for name, x in weights.items()} | {"outputlayer.1.bias": torch.zeros(5)}
        write_safetensors(path / "model.safetensors", stored, format="pt")
        told = {"model_type": "ced", "embed_dim": encoder.dim, "num_heads": encoder.trunk[0].attn.heads}
        (path / "config.json").write_text(json.dumps(told))
        return
    weights["outputlayer.1.bias"] = torch.zeros(5)
    front = {} if wrapped else {"front_end.0.mel_scale.fb": torch.zeros(257, 64)}
    torch.save({"model": weights} if wrapped else weights | front, path)


def under(weights: dict[str, torch.Tensor], names: dict[str, str], prefix: str = "") -> dict[str, torch.Tensor]:
    """Weights under others' names: `names` tells what their beginnings become."""
    found = {}
    for name, value in weights.items():
        ours = next((start for start in names if name.startswith(start)), "")
        found[prefix + names.get(ours, "") + name.removeprefix(ours)] = value
    return found


IMAGE = {
    "cls_token": "modality_encoders.IMAGE.extra_tokens",
    "patch_embed.": "modality_encoders.IMAGE.local_encoder.proj.",
    "positions": "modality_encoders.IMAGE.fixed_positional_encoder.positions",
    "pre_norm.": "modality_encoders.IMAGE.context_encoder.norm.",
    "trunk.": "blocks.",
}


def save_eat(encoder: Eat, path: Path, layout: str = "pretrained") -> Path:
    """Write an EAT as its authors do, pre-trained or fine-tuned, or as a folder of the hub (layout 'hub')."""
    weights = encoder.state_dict()
    if layout == "hub":
        bare = {name: theirs.removeprefix("modality_encoders.IMAGE.") for name, theirs in IMAGE.items()}
        path.mkdir(exist_ok=True)
        stored = under(weights, bare | {"pre_norm.": "pre_norm."}, "model.") | {"model.head.bias": torch.zeros(5)}
        write_safetensors(path / "model.safetensors", stored)
        config = {"model_type": "eat", "num_heads": encoder.trunk[0].attn.heads, "patch_size": 16, "mel_bins": 128}
        (path / "config.json").write_text(json.dumps(config))
        return path
    if layout == "fine_tuned":
        stored = under(weights, IMAGE, "model.") | {
            "fc_norm.bias": torch.zeros(encoder.dim),
            "head.bias": torch.ones(5),
        }
    else:
        stored = under(weights, IMAGE) | {"modality_encoders.IMAGE.decoder.proj.bias": torch.zeros(3)}
        stored["_ema"] = {name: torch.zeros_like(value) for name, value in under(weights, IMAGE).items()}
    torch.save({"cfg": {"model": {}}, "model": stored}, path)
    return path


def save_dasheng(encoder: Dasheng, path: Path, layout: str = "original") -> Path:
    """Write a Dasheng as its authors do, 'original' or 'fine_tuned', or as a folder of the hub (layout 'hub')."""
    names = {"standardise.": "init_bn.1.", "patch_embed.": "patch_embed.proj.", "trunk.": "blocks."}
    weights = encoder.state_dict()
    weights["patch_embed.weight"] = weights["patch_embed.weight"].transpose(2, 3)
    weights = under(weights, names) | {"init_bn.1.num_batches_tracked": torch.tensor(7)}
    heads = {"num_heads": encoder.trunk[0].attn.heads}
    if layout == "hub":
        path.mkdir(exist_ok=True)
        stored = {f"encoder.{name}": value for name, value in weights.items()} | {"outputlayer.1.bias": torch.ones(5)}
        write_safetensors(path / "model.safetensors", stored)
        (path / "config.json").write_text(json.dumps({"model_type": "dasheng", "encoder_kwargs": heads}))
        return path
    weights["front_end.0.mel_scale.fb"] = torch.zeros(257, 64)
    bare = weights | {"outputlayer.1.bias": torch.zeros(5)}
    torch.save(bare if layout == "fine_tuned" else {"model": weights, "config": heads}, path)
    return path


def save_fisher(encoder: Fisher, path: Path, **cfg) -> Path:
    """Write a FISHER as its authors do."""
    told = {"num_heads": encoder.trunk[0].attn.heads, "band_width": encoder.width, "depth": len(encoder.trunk)}
    image = {"patch_size": 16, "flatten": "freq", "max_length": 128}
    model = {**told, "modalities": {"image": image}, **cfg}
    torch.save({"cfg": {"model": model}, "model": under(encoder.state_dict(), IMAGE)}, path)
    return path
