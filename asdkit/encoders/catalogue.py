"""What there is to know of each encoder without building it, and the sizes that were published."""

from dataclasses import dataclass, field
from typing import Any

LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
SMALL = {"embed_dim": 384, "num_heads": 6}
AUTHORS = "the authors' code"  # its outputs for random weights in the published layout, kept as reference tensors
LIBRARY = "transformers runs it"


@dataclass(frozen=True)
class Entry:
    """An encoder: `encoder.name`, what it hears, which files it reads, what its numbers were compared with.

    sizes: name of a published size -> its `arch`, {} for the default one. rate: kHz of what the front end analyses; 0:
    the recordings' own.
    """

    name: str
    frontend: str
    formats: str
    proven: str
    sizes: dict[str, dict[str, Any]] = field(default_factory=lambda: {"base": {}})
    rate: int = 16


CATALOGUE = {
    entry.name: entry
    for entry in (
        Entry("beats", "log-mel, 128 bands, 25 ms every 10 ms", "authors' .pt", AUTHORS),
        Entry("ast", "log-mel, 128 bands, 25 ms every 10 ms", "authors' .pth, transformers", AUTHORS),
        Entry(
            "atst_clip",
            "mel in dB, 64 bands, 64 ms every 10 ms",
            "authors' .ckpt",
            AUTHORS,
            {"small": SMALL, "base": {}},
        ),
        Entry(
            "atst_frame",
            "mel in dB, 64 bands, 64 ms every 10 ms",
            "authors' .ckpt",
            AUTHORS,
            {"small": SMALL, "base": {}},
        ),
        Entry(
            "ced",
            "mel in dB, 64 bands, 32 ms every 10 ms",
            "authors' .pt, hub's folder",
            AUTHORS,
            {
                "tiny": {"embed_dim": 192, "num_heads": 3},
                "mini": {"embed_dim": 256, "num_heads": 4},
                "small": SMALL,
                "base": {},
            },
        ),
        Entry(
            "eat",
            "log-mel, 128 bands, 25 ms every 10 ms",
            "authors' .pt, hub's folder",
            AUTHORS,
            {"base": {}, "large": {"embed_dim": 1024, "depth": 24, "num_heads": 16}},
        ),
        Entry(
            "dasheng",
            "mel in dB, 64 bands, 32 ms every 10 ms",
            "authors' .pt, hub's folder",
            AUTHORS,
            {
                "base": {},
                "0.6B": {"embed_dim": 1280, "depth": 32, "num_heads": 16},
                "1.2B": {"embed_dim": 1536, "depth": 40, "num_heads": 24},
            },
        ),
        Entry(
            "fisher",
            "log spectrum, 25 ms every 10 ms",
            "authors' .pt",
            AUTHORS,
            {"tiny": {"embed_dim": 192, "num_heads": 3}, "mini": {"embed_dim": 256, "num_heads": 4}, "small": {}},
            rate=0,
        ),
        Entry(
            "clap",
            "mel in dB, 64 bands, 21 ms every 10 ms",
            "authors' .pt, transformers",
            AUTHORS,
            {"tiny": {}},
            rate=48,
        ),
        Entry("imagebind", "log-mel, 128 bands, 25 ms every 10 ms", "authors' .pth", AUTHORS, {"huge, audio": {}}),
        Entry(
            "wav2vec2",
            "samples",
            "authors' .pt, transformers",
            f"{AUTHORS}; {LIBRARY}",
            {"base": {}, "large": LARGE, "large LV-60": {**LARGE, **STABLE, "conv_bias": True}},
        ),
        Entry("unispeech", "samples", "transformers", LIBRARY, {"large": {**LARGE, **STABLE, "conv_bias": True}}),
        Entry(
            "hubert", "samples", "transformers", LIBRARY, {"base": {}, "large": {**LARGE, **STABLE, "conv_bias": True}}
        ),
        Entry(
            "wavlm",
            "samples",
            "authors' .pt, transformers",
            f"{AUTHORS}; {LIBRARY}",
            {"base": {}, "large": {**LARGE, **STABLE}},
        ),
        Entry("cnn10", "log-mel, 64 bands, 32 ms every 10 ms", "none: from scratch", "its paper's sizes"),
        Entry("mobilenet", "log-mel, 128 bands, 64 ms every 32 ms", "none: from scratch", "its paper's sizes"),
        Entry("autoencoder", "log-mel, 128 bands, 64 ms every 32 ms", "none: from scratch", "the official baseline"),
        Entry(
            "logmel",
            "log-mel, 128 bands, 25 ms every 10 ms",
            "none: nothing to learn",
            "Kaldi's filterbank",
            {"-": {}},
            rate=0,
        ),
        Entry(
            "envelope",
            "envelope spectrum, 250 bands, 500 ms every 250 ms",
            "none: nothing to learn",
            "closed forms",
            {"-": {}},
            rate=0,
        ),
    )
}
