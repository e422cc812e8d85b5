"""A small random-weight section of every encoder: quick, but with all that the published size has.

SMALL: `encoder.name` -> the section's fields. What is tested of every encoder runs over it; add each encoder's own.
"""

from typing import Any

from pydantic import TypeAdapter

from asdkit.config import EncoderConfig

SMALL: dict[str, dict[str, Any]] = {
    "beats": {
        "arch": {
            "encoder_layers": 2,
            "encoder_embed_dim": 16,
            "encoder_ffn_embed_dim": 16,
            "encoder_attention_heads": 2,
            "embed_dim": 8,
            "conv_pos": 8,
            "conv_pos_groups": 2,
            "encoder_layerdrop": 0.0,
        }
    },
    "atst_clip": {"arch": {"embed_dim": 16, "depth": 2, "num_heads": 2}},
    "atst_frame": {"arch": {"embed_dim": 16, "depth": 2, "num_heads": 2}},
    "imagebind": {"arch": {"embed_dim": 16, "depth": 2, "num_heads": 2}},
    "ast": {"arch": {"embed_dim": 16, "depth": 2, "num_heads": 2}},
    "ced": {"arch": {"embed_dim": 16, "depth": 2, "num_heads": 2}},
    "clap": {"arch": {"embed_dim": 4, "depths": [1, 2, 1, 1], "num_heads": [1, 2, 2, 2]}},
    "logmel": {},
}


def small(name: str) -> EncoderConfig:
    """The section of a small encoder."""
    return TypeAdapter(EncoderConfig).validate_python({"name": name, **SMALL[name]})
