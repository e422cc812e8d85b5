"""A small random-weight section of every encoder: quick, but with all that the published size has.

SMALL: `encoder.name` -> the section's fields. What is tested of every encoder runs over it; add each encoder's own.
The speech encoders can be built where the library transformers is installed.
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
    "dasheng": {"arch": {"embed_dim": 16, "depth": 2, "num_heads": 2}},
    "eat": {"arch": {"embed_dim": 16, "depth": 2, "num_heads": 2}},
    "fisher": {"arch": {"embed_dim": 16, "depth": 2, "num_heads": 2}},
    "clap": {"arch": {"embed_dim": 4, "depths": [1, 2, 1, 1], "num_heads": [1, 2, 2, 2]}},
    "cnn10": {"arch": {"channels": 4, "dropout": 0.0}},
    "mobilenet": {"arch": {"width": 0.1}},
    "logmel": {},
    "envelope": {},
}
WEIGHTLESS = ("logmel", "envelope")
SPEECH = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
SMALL |= {
    "wav2vec2": {"arch": SPEECH},
    "unispeech": {"arch": SPEECH | LARGE | {"conv_bias": True}},
    "hubert": {"arch": SPEECH},
    "wavlm": {"arch": SPEECH | LARGE},
}


def small(name: str) -> EncoderConfig:
    """The section of a small encoder."""
    return TypeAdapter(EncoderConfig).validate_python({"name": name, **SMALL[name]})
