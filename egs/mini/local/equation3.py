"""What the branches of fully-connected LoRA (Eq. 3 of the paper) do that one branch does not. In egs/mini:

    ./run.sh --config conf/lora.yaml --seeds "0 1 2" && ./run.sh --config conf/fc_lora.yaml --seeds "0 1 2"
    ../../.venv/bin/python local/equation3.py --seeds "0 1 2"

Eq. 3 is W + (sum_i B_i)(sum_j A_j). Every B_i gets the gradient of their sum, every A_j that of theirs, and AdamW makes
equal steps of equal gradients. The sums take n times the step of one branch, and lose by weight decay what one branch
would. So n branches are one branch
    with learning rate n * lr and weight decay / n (their product stays),
    that starts from the sum of n random A_j, whose spread is sqrt(n) times that of one,
    whose gradient counts n times where gradients are clipped (train.grad_clip).
No start changes that: whatever the B_i start from, their differences only decay.

Trained here, for each seed: `one`, that one branch, from the sums of the branches' own start; and `apart`, branches
whose B_i start random with sum 0, so that they differ. Beside them what exp/fc_lora and exp/lora hold. What is finished
is skipped; the table is <out>/RESULTS.md.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asdkit.adapt.lora import LoraLinear, merge_lora
from asdkit.config import Config
from asdkit.data.batches import Framing, loader, training_dataset
from asdkit.data.lists import read_classes
from asdkit.detectors.folder import write_scores
from asdkit.infer.experiment import Experiment
from asdkit.infer.kept import arrays_of, kept_steps, scores_of
from asdkit.infer.network import fold
from asdkit.models.checkpoint import read_checkpoint
from asdkit.report.evaluation import evaluate_set, over_sets
from asdkit.report.tables import cell, table
from asdkit.train.distributed import join_world
from asdkit.train.finetune import fine_tuning
from asdkit.train.loop import Trainer
from asdkit.train.optim import AdamW, learning_rate
from asdkit.utils import cli
from asdkit.utils.files import read_json, write_json, write_text

BRANCHES = """# Eq. 3 on mini

B apart: largest difference between two B_i, relative to the largest value of one. A nearer: what weight decay should
have taken of the differences between the A_j. deviation: the largest from that, relative to the largest difference.

"""
SCORES = """
Official scores in percent, mean ± sample deviation over seeds; root mean square of the weights' change; its largest
difference, over layers and seeds, from that of the connected branches, relative to the root mean square of theirs.

"""
Factors = dict[str, tuple[Tensor, Tensor]]  # layer -> A [branches, rank, in], B [branches, out, rank]


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(
        "Compare n connected LoRA branches with one whose step is n times as long, and with other starts."
    )
    parser.add_argument("--exp", type=Path, default=Path("exp/fc_lora"), help="connected branches, trained by run.sh")
    parser.add_argument("--lora", type=Path, default=Path("exp/lora"), help="one branch, trained by run.sh")
    parser.add_argument("--out", type=Path, default=Path("exp/equation3"), help="folder to write")
    parser.add_argument("--data", type=Path, default=Path("data"), help="what stage 1 wrote")
    parser.add_argument("--dump", type=Path, default=Path("dump"), help="what stage 2 wrote")
    parser.add_argument("--seeds", default="0", help="seeds, as in '0 1 2'")
    return parser


def layers(system: nn.Module) -> dict[str, LoraLinear]:
    """The LoRA layers of a system by name."""
    return {name: module for name, module in system.named_modules() if isinstance(module, LoraLinear)}


def to_one(system: nn.Module) -> None:
    """Make one branch of the branches of every LoRA layer: the sums of their factors."""
    for layer in layers(system).values():
        layer.lora_a = nn.Parameter(layer.lora_a.detach().sum(0, keepdim=True))
        layer.lora_b = nn.Parameter(layer.lora_b.detach().sum(0, keepdim=True))


def to_apart(system: nn.Module) -> None:
    """Start every B_i at random, as large as an A_i, with sum 0: the layer acts as it was, the branches differ."""
    for layer in layers(system).values():
        start = torch.empty_like(layer.lora_b).uniform_(-1, 1) / layer.in_features**0.5
        layer.lora_b.data = start - start.mean(0, keepdim=True)


def step_as(trainer: Trainer, branches: int, clip: float | None) -> None:
    """Let the one branch of each LoRA layer step as `branches` connected ones together do."""
    own = [p for layer in layers(trainer.system).values() for p in (layer.lora_a, layer.lora_b)]
    others = [p for p in trainer.system.trainable().values() if all(p is not one for one in own)]
    settings = trainer.settings
    rest = AdamW(others, settings)
    rest.add_param_group({"params": own, "weight_decay": settings.weight_decay / branches})
    rest.factors.append(float(branches))
    trainer.parameters, trainer.optimizer = [*others, *own], rest

    def before(*_: Any) -> None:
        norms = [nn.utils.get_total_norm([p.grad for p in part if p.grad is not None]) for part in (others, own)]
        total = (norms[0] ** 2 + branches * norms[1] ** 2).sqrt()  # as torch clips, with each branch's gradient
        if clip is not None:
            for parameter in trainer.parameters:
                parameter.grad.mul_((clip / (total + 1e-6)).clamp(max=1.0))

    rest.register_step_pre_hook(before)


def train(args: argparse.Namespace, config: Config, seed: int, kind: str) -> Trainer:
    """Train `one` or `apart` like the experiment, from the same start and on the same batches."""
    folder = args.out / kind / f"seed{seed}"
    lora = config.model.lora
    world = join_world("auto")
    if kind == "one":  # gradients are clipped in step_as
        config = config.model_copy(update={"train": config.train.model_copy(update={"grad_clip": None})})
    trainer = fine_tuning(config, read_classes(args.exp), seed, folder, {"kind": kind}, world, dict)
    clip = read_config(args).train.grad_clip
    if kind == "one":
        to_one(trainer.system)
        step_as(trainer, lora.branches, clip)
    else:
        to_apart(trainer.system)
    trainer.save_steps = ()
    trainer.resume()
    framing = Framing(trainer.system.sample_rate, trainer.system.window, trainer.system.hop)
    dataset = training_dataset(config, framing, args.data, args.dump, args.exp, seed, world.share)
    steps = range(trainer.step + 1, config.train.steps + 1)
    batches = loader(dataset, config.data.workers, world.device, steps)
    trainer.run(cli.progress(batches, f"{kind} seed {seed}", config.train.steps, "step", trainer.step), {})
    return trainer


def read_config(args: argparse.Namespace) -> Config:
    """The configuration of the connected branches."""
    return Experiment.open(args.exp, 0, args.data).config


def evaluated(args: argparse.Namespace, trainer: Trainer, seed: int, out: Path) -> dict[str, float]:
    """Official scores of a trained system by set, as stages 4 to 6 make them."""
    experiment = Experiment.open(args.exp, seed, args.data)
    system = merge_lora(trainer.system).eval()
    fold(system, torch.float32)
    experiment.__dict__["system"] = system
    scored = scores_of(experiment, arrays_of(experiment, args.dump), "knn")
    found, protocol = {}, experiment.dataset.protocol
    for name, scores in scored.scores.items():
        write_scores(out / f"{name}.tsv", scores)
        found[name.removesuffix("_test")] = evaluate_set(args.data / name, out / f"{name}.tsv", protocol)
    return {name: one["official"] for name, one in found.items()} | {"all": over_sets(found, protocol)}


def factors(checkpoint: Path) -> Factors:
    """The factors of every LoRA layer in a checkpoint."""
    model = read_checkpoint(checkpoint)["model"]
    names = [name.removesuffix(".lora_a") for name in model if name.endswith(".lora_a")]
    return {name: (model[f"{name}.lora_a"], model[f"{name}.lora_b"]) for name in names}


def change(found: Factors) -> dict[str, Tensor]:
    """The change of every layer's weight, of connected branches or of one."""
    return {name: b.sum(0) @ a.sum(0) for name, (a, b) in found.items()}


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference of two changes of weights, relative to the root mean square of the first, over layers."""
    return max(float((one[name] - other[name]).abs().max() / one[name].square().mean().sqrt()) for name in one)


def size(found: dict[str, Tensor]) -> float:
    """Root mean square of the change of all weights."""
    return float(torch.cat([x.flatten() for x in found.values()]).square().mean().sqrt())


def branches_over_steps(args: argparse.Namespace, config: Config, seed: int) -> list[list[str]]:
    """How far the branches are from each other after the steps that were kept."""
    trainer = fine_tuning(config, read_classes(args.exp), seed, args.out, {}, join_world("cpu"), dict)
    start = {name: layer.lora_a.detach() for name, layer in layers(trainer.system.model).items()}
    rows = []
    for step in kept_steps(config):
        name = "final" if step == config.train.steps else f"step{step}"
        found = factors(args.exp / f"seed{seed}/checkpoint/{name}.pt")
        b_apart = max(float((b - b[:1]).abs().max() / b[0].abs().max()) for _, b in found.values())
        kept = 1.0
        for past in range(1, step + 1):
            kept *= 1 - learning_rate(config.train, past) * config.train.weight_decay
        a_apart = max(
            float(((a - a[:1]) - kept * (start[n] - start[n][:1])).abs().max() / (start[n] - start[n][:1]).abs().max())
            for n, (a, _) in found.items()
        )
        rows.append([str(seed), str(step), *map(_short, (b_apart, 1 - kept, a_apart))])
    return rows


def main(argv: list[str] | None = None) -> None:
    """Train what is not there, and write the table."""
    args = get_parser().parse_args(argv)
    seeds, config = [int(seed) for seed in args.seeds.split()], read_config(args)
    ours: dict[str, list[dict[str, Any]]] = {"one": [], "apart": []}
    branch_rows = []
    for seed in seeds:
        branch_rows += branches_over_steps(args, config, seed)
        connected = change(factors(args.exp / f"seed{seed}/checkpoint/final.pt"))
        for kind, found in ours.items():
            path = args.out / kind / f"seed{seed}/results.json"
            if not path.exists():
                trainer = train(args, config, seed, kind)
                own = change(factors(path.parent / "checkpoint/final.pt"))
                told = {"from_connected": difference(connected, own), "size": size(own)}
                write_json(path, told | {"official": evaluated(args, trainer, seed, path.parent)})
            found.append(read_json(path))
    text = report(args, seeds, branch_rows, ours)
    write_text(args.out / "RESULTS.md", text)
    print(text, end="")


def report(args: argparse.Namespace, seeds: list[int], branches: list[list[str]], ours: dict[str, list[dict]]) -> str:
    """The tables as Markdown."""
    for name, exp in (("connected", args.exp), ("lora", args.lora)):
        ours[name] = []
        for seed in seeds:
            official = {name: one["official"] for name, one in _result(exp, seed)["sets"].items()}
            own = change(factors(exp / f"seed{seed}/checkpoint/final.pt"))
            connected = change(factors(args.exp / f"seed{seed}/checkpoint/final.pt"))
            told = {"from_connected": difference(connected, own), "size": size(own)}
            ours[name].append({**told, "official": official | {"all": _result(exp, seed)["all"]}})
    titles = {
        "connected": "connected branches",
        "one": "one branch, step matched",
        "apart": "branches that start apart",
        "lora": "one branch, step as it is",
    }
    rows = []
    for name, title in titles.items():
        values = [_spread([one["official"][key] for one in ours[name]]) for key in ("dev", "eval", "all")]
        apart = max(one["from_connected"] for one in ours[name])
        rows.append(
            [title, *map(cell, values), _short(statistics.fmean(one["size"] for one in ours[name])), _short(apart)]
        )
    text = BRANCHES + table(["seed", "step", "B apart", "A nearer", "deviation"], branches) + SCORES
    return text + table(["", "dev", "eval", "all", "change", "difference"], rows)


def _short(value: float) -> str:
    return f"{value:.1e}" if value else "0"


def _result(exp: Path, seed: int) -> dict[str, Any]:
    return read_json(exp / f"seed{seed}/score/knn/results.json")


def _spread(values: list[float]) -> dict[str, Any]:
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else None}


if __name__ == "__main__":
    cli.run(main)
