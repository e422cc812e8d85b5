"""What a bundle's network costs: BEATs base in torch as stage 4 runs it, its graph in float32 and int8.

    python3 test/benchmark/detect.py [--threads 2] [--rounds 5] [--arch base|small] [--real /data/bldc/dev_data]

Each way has a process of its own, with weights on disk as a bundle holds them. Measured: seconds from the process's
start to the first embedding of a 10-s clip, seconds for a further clip (the fastest of `rounds`, processes in turns),
the peak of resident memory, and the smallest cosine to torch's embedding. Random weights of the published size; a busy
machine makes all figures worse: look at the ratios. --real: folder of BLDCMotor/{train,test}; the AUC of the shipped
encoder there, nearest training clip by the mean over its tokens.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

SMALL = {"encoder_layers": 2, "encoder_embed_dim": 64, "encoder_ffn_embed_dim": 128, "encoder_attention_heads": 4,
         "embed_dim": 32, "encoder_layerdrop": 0.0}  # fmt: skip
SHIPPED = ROOT / "egs/pretrain/pretrained/asdkit_medium2.pt"
WAYS = ("torch", "float32", "int8")


def clip(rate: int = 16000, seconds: float = 10.0) -> np.ndarray:
    """A clip of noise that comes and goes, [1, T]."""
    samples = round(rate * seconds)
    swing = 1.2 + np.sin(2 * np.pi * 3 / rate * np.arange(samples))
    return (0.05 * swing * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)[None]


def built(encoder: dict):
    """Configuration and system with an encoder, as stage 4 makes it ready."""
    import torch

    from asdkit.config import Config
    from asdkit.infer.network import fold
    from asdkit.models.families import build_system
    from asdkit.utils.typed_yaml import validate

    raw = {"encoder": encoder, "model": {"pooling": "mean", "embedding_dim": None}}
    config = validate(Config, raw, "benchmark")
    torch.manual_seed(0)
    system = build_system(config, ["a", "b"]).eval()
    fold(system, torch.float32)
    return config, system


def encoder_of(arch: str) -> dict:
    """The section of the encoder that is measured."""
    return {"name": "beats"} | ({"arch": SMALL} if arch == "small" else {})


def put(folder: Path, graph: bytes, weights: dict[str, np.ndarray]) -> None:
    """A graph and its weights as files, the weights at pages of one, as in a bundle."""
    folder.mkdir()
    (folder / "graph").write_bytes(graph)
    told, offset = {}, 0
    with open(folder / "weights", "wb") as file:
        for name, array in weights.items():
            told[name] = (offset, array.nbytes, array.dtype.name, array.shape)
            file.write(array.tobytes() + bytes(-array.nbytes % 4096))
            offset += array.nbytes + -array.nbytes % 4096
    (folder / "places.json").write_text(json.dumps(told))


def got(folder: Path) -> tuple[bytes, dict[str, np.ndarray]]:
    """What `put` wrote, mapped."""
    mapped = np.memmap(folder / "weights", np.uint8, "r")
    told = json.loads((folder / "places.json").read_text())
    arrays = {
        name: mapped[offset : offset + length].view(np.ndarray).view(dtype).reshape(shape)
        for name, (offset, length, dtype, shape) in told.items()
    }
    return (folder / "graph").read_bytes(), arrays


def child(way: str, folder: Path, threads: int, rounds: int, arch: str) -> None:
    """Embed a clip again and again and print what it took."""
    if way == "torch":
        import torch

        from asdkit.infer.clips import represent

        torch.set_num_threads(threads)
        config, system = built(encoder_of(arch))

        def run(wav: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                feats = system.frontend(torch.from_numpy(wav))
                return represent(system, feats, config.embed, feats.shape[1], 1)["embedding"].numpy()
    else:
        from asdkit.monitor.session import Session

        session = Session(*got(folder / way), threads)

        def run(wav: np.ndarray) -> np.ndarray:
            return session.run(wav)["embedding"]

    wav = clip()
    embedding = run(wav)
    first = time.time()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        run(wav)
        seconds.append(time.perf_counter() - start)
    status = Path("/proc/self/status").read_text()  # ru_maxrss would count the process that started this one
    peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024
    print(json.dumps({"first": first, "seconds": min(seconds), "peak": peak, "embedding": embedding[0].tolist()}))


def measured(folder: Path, args: argparse.Namespace) -> dict[str, dict]:
    """Each way in a process of its own, three times in turns: the best of each figure, the memory of the worst."""
    found: dict[str, dict] = {}
    for way in WAYS * 3:
        words = [sys.executable, __file__, "--child", way, "--folder", str(folder), "--threads", str(args.threads)]
        words += ["--rounds", str(args.rounds), "--arch", args.arch]
        start = time.time()
        told = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        told["first"] -= start
        before = found.setdefault(way, told)
        for key, best in (("first", min), ("seconds", min), ("peak", max)):
            before[key] = best(before[key], told[key])
    return found


def of_real(real: Path, threads: int) -> dict[str, float]:
    """AUC of each way on the recordings of a machine, by the nearest training clip."""
    import soundfile
    import torch

    from asdkit.export.graph import Whole, export_graph
    from asdkit.export.precision import quantise
    from asdkit.metrics import auc
    from asdkit.monitor.session import Session

    config, system = built({"name": "beats", "checkpoint": str(SHIPPED)})
    graph, weights = export_graph(system, config)
    exact, small = Session(graph, weights, threads), Session(*quantise(graph, weights), threads)
    whole = Whole(system, config).eval()

    def by_torch(wav: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return whole(torch.from_numpy(wav))["embedding"].numpy()

    paths = {part: sorted((real / "BLDCMotor" / part).glob("*.flac")) for part in ("train", "test")}
    wrong = np.array(["anomaly" in path.name for path in paths["test"]])
    ways = (by_torch, lambda wav: exact.run(wav)["embedding"], lambda wav: small.run(wav)["embedding"])
    found = {}
    for name, run in zip(WAYS, ways, strict=True):
        rows = {part: np.concatenate([run(soundfile.read(path, dtype="float32", always_2d=True)[0][None, :, 0])
                                      for path in own]) for part, own in paths.items()}  # fmt: skip
        unit = {part: own / np.linalg.norm(own, axis=1, keepdims=True) for part, own in rows.items()}
        found[name] = auc(1 - (unit["test"] @ unit["train"].T).max(1), wrong)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--arch", choices=("base", "small"), default="base")
    parser.add_argument("--real", type=Path)
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.folder, args.threads, args.rounds, args.arch)
        return
    from asdkit.export.graph import export_graph
    from asdkit.export.precision import quantise

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config, system = built(encoder_of(args.arch))
        graph, weights = export_graph(system, config)
        del system
        put(folder / "float32", graph, weights)
        put(folder / "int8", *quantise(graph, weights))
        found = measured(folder, args)
    exact = np.array(found["torch"]["embedding"])
    print(f"| {args.arch}, {args.threads} threads | s to the first clip | s a clip | peak MiB | cosine to torch |")
    print("|---|---:|---:|---:|---:|")
    for way, told in found.items():
        own = np.array(told["embedding"])
        near = own @ exact / np.linalg.norm(own) / np.linalg.norm(exact)
        print(f"| {way} | {told['first']:.2f} | {told['seconds']:.3f} | {told['peak']:.0f} | {near:.6f} |")
    if args.real:
        told = ", ".join(f"{way} {100 * area:.2f}" for way, area in of_real(args.real, args.threads).items())
        print(f"AUC on {args.real}: {told}")


if __name__ == "__main__":
    main()
