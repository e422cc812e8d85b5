"""Seconds that each encoder takes for a clip of 10 s on this CPU, beside the machine's own linear-layer rate.

    python3 test/benchmark/encoders.py [NAME ...] [--rounds 5] [--threads 2] [--small] [--out FILE.json]

Encoders are of the published base size, with random weights, and folded as stage 4 does; the clip goes through front
end and network. AST, CLAP and HuBERT also run in the library transformers, where that is installed, with the weights
that ours read from what it saved: its network alone, and with its feature extractor ("samples"). A ratio is our time
over its. Everything is measured in turns, and the fastest of all rounds counts. `--small` tries the script.
"""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from torch.utils.flop_counter import FlopCounterMode

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from small_encoders import SMALL  # noqa: E402

from asdkit.config import EncoderConfig  # noqa: E402
from asdkit.encoders import ENCODERS, Encoder, build_encoder  # noqa: E402
from asdkit.infer.network import fold  # noqa: E402
from asdkit.models.size import MORE  # noqa: E402
from asdkit.utils.memory import reuse_freed_memory  # noqa: E402

SECONDS = 10
SHARE, RATIO = 0.8, 0.9  # what is aimed at: at least, at most
NO_NETWORK = ("logmel", "autoencoder")
SPEECH = ("wav2vec2", "unispeech", "hubert", "wavlm")
TEXT = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "vocab_size": 8}
SIZES = {  # of a small network in the library's own words; the base size is its default
    "ast": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "clap": {
        "patch_embeds_hidden_size": 4, "hidden_size": 32, "depths": [1, 2, 1, 1], "num_attention_heads": [1, 2, 2, 2],
    },
    "hubert": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "conv_dim": [16] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
    },
}  # fmt: skip
Jobs = dict[tuple[str, str], Callable[[], object]]


def section(name: str, small: bool, **fields: Any) -> Any:
    """The section of an encoder: of its published base size, or small, or with a checkpoint."""
    own = fields or (SMALL[name] if small else {})
    return TypeAdapter(EncoderConfig).validate_python({"name": name, **own})


def ready(encoder: Encoder) -> Encoder:
    """As stage 4 has it."""
    encoder = encoder.eval().requires_grad_(False)
    fold(encoder, torch.float32)
    return encoder


def gflop(encoder: Encoder, wav: torch.Tensor) -> float:
    """Products and sums of all matrix products, convolutions and attentions of a clip, front end included."""
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=MORE) as counter:
        encoder(encoder.frontend(wav))
    return counter.get_total_flops() / 1e9


def whole(encoder: Encoder, wav: torch.Tensor) -> Callable[[], object]:
    """From samples to tokens."""
    return lambda: encoder(encoder.frontend(wav))


def library(name: str, small: bool, folder: Path) -> tuple[Any, Any, Encoder]:
    """A network of transformers with random weights, its feature extractor, and ours with the same weights.

    All take samples at the extractor's rate.
    """
    import transformers

    sizes = SIZES[name] if small else {}
    if name == "ast":
        config = transformers.ASTConfig(**sizes)
        network, extractor = transformers.ASTModel(config), transformers.ASTFeatureExtractor()
    elif name == "clap":
        network = transformers.ClapModel(transformers.ClapConfig(audio_config=sizes, text_config=TEXT))
        extractor = transformers.ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc")
    else:
        config = transformers.HubertConfig(**sizes)
        network, extractor = transformers.HubertModel(config), transformers.Wav2Vec2FeatureExtractor()
    for part in (network, extractor):
        part.save_pretrained(folder)
    fields = {"checkpoint": str(folder)} | ({"sample_rate": extractor.sampling_rate} if name == "clap" else {})
    ours = ready(build_encoder(section(name, small, **fields)))
    return (network.audio_model if name == "clap" else network).eval().requires_grad_(False), extractor, ours


def beside_the_library(name: str, small: bool, wav: torch.Tensor, folder: Path) -> Jobs:
    """The library's network, on what its extractor made, and both; ours, on the same features and from the samples.

    Raises AssertionError when the same features do not give the same tokens.
    """
    network, extractor, ours = library(name, small, folder)
    rate = extractor.sampling_rate
    clip = F.interpolate(wav[None], scale_factor=rate / 16000)[0]

    def given() -> dict[str, Any]:
        return dict(extractor(clip[0].numpy(), sampling_rate=rate, return_tensors="pt"))

    inputs = given()
    feats = next(iter(inputs.values())).flatten(0, -3) if name != "hubert" else inputs["input_values"]
    theirs = network(**inputs).last_hidden_state
    theirs = theirs.flatten(2).mean(2) if name == "clap" else theirs.mean(1)  # whatever the order of the tokens
    error = (ours(feats).mean(1) - theirs).abs().max() / theirs.abs().max()
    assert error < 1e-3, f"{name}: the library's tokens differ by {error:.1e}"
    return {
        (name, "ours"): lambda: ours(feats),
        (name, "library"): lambda: network(**inputs),
        (name, "ours, samples"): whole(ours, clip),
        (name, "library, samples"): lambda: network(**given()),
    }


def linear(tokens: int = 1984, inputs: int = 768, outputs: int = 3072) -> tuple[Callable[[], object], float]:
    """Linear layers that take about as long as a clip, so that a busy machine disturbs both alike, and their GFLOP."""
    x, weight = torch.randn(tokens, inputs), torch.randn(outputs, inputs)

    def run() -> None:
        for _ in range(10):
            F.linear(x, weight)

    return run, 10 * 2 * tokens * inputs * outputs / 1e9


def measure(jobs: Jobs, rounds: int) -> dict[tuple[str, str], float]:
    """Fastest seconds of each job over all rounds."""
    best: dict[tuple[str, str], float] = {}
    for turn in range(rounds + 1):
        for key, run in jobs.items():
            with torch.inference_mode():
                start = time.perf_counter()
                run()
            if turn:  # the first round warms up
                best[key] = min(best.get(key, float("inf")), time.perf_counter() - start)
        print(f"\rround {turn} of {rounds}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return best


def main() -> None:
    names = [name for name in ENCODERS if name not in NO_NETWORK]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, help="JSON of all figures")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    reuse_freed_memory()  # as every program does
    torch.manual_seed(0)
    wav = 0.1 * torch.randn(1, SECONDS * 16000)
    load = os.getloadavg()
    there = importlib.util.find_spec("transformers") is not None
    if not there:
        print("transformers is not installed: no speech encoders, nothing beside the library", file=sys.stderr)
    run, size = linear()
    jobs: Jobs = {("linear", ""): run}
    work = {"linear": size}
    with tempfile.TemporaryDirectory() as folder:
        for name in args.names or names:
            if name in SPEECH and not there:
                continue
            encoder = build_encoder(section(name, args.small)).eval()
            work[name] = gflop(encoder, wav)
            jobs[name, "clip"] = whole(ready(encoder), wav)
            if name in SIZES and there:
                jobs |= beside_the_library(name, args.small, wav, Path(folder, name))
    best = measure(jobs, args.rounds)
    print(f"torch {torch.__version__}, {args.threads} of {os.cpu_count()} cores, {args.rounds} rounds")
    print(f"load average {load[0]:.2f} before, {os.getloadavg()[0]:.2f} after")
    report(best, work, args.out)


def report(best: dict[tuple[str, str], float], work: dict[str, float], out: Path | None) -> None:
    """Print what was measured, and write it as JSON."""
    rate = work["linear"] / best["linear", ""]
    print(f"linear layers: {rate:.0f} GFLOP/s\n")
    print(f"{'':12}{'GFLOP':>8}{'s/clip':>8}{'GFLOP/s':>9}{f'share, aim {SHARE}':>18}")
    rows = {}
    for (name, what), seconds in best.items():
        if what == "clip":
            speed = work[name] / seconds
            rows[name] = {"gflop": work[name], "seconds": seconds, "share": speed / rate}
            print(f"{name:12}{work[name]:8.1f}{seconds:8.3f}{speed:9.0f}{speed / rate:18.2f}")
    print(f"\n{'':24}{'ours, s':>9}{'library, s':>12}{f'ratio, aim {RATIO}':>18}")
    for name in rows:
        for what in ("", ", samples"):
            if (name, f"library{what}") in best:
                ours, theirs = best[name, f"ours{what}"], best[name, f"library{what}"]
                rows[name][f"ratio{what}"] = ours / theirs
                print(f"{name + what:24}{ours:9.3f}{theirs:12.3f}{ours / theirs:18.2f}")
    if out:
        out.write_text(json.dumps({"rate": rate, "encoders": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
