"""The mean of the weights that a training kept on its way (`embed.checkpoint: average`)."""

import logging
from collections.abc import Sequence
from pathlib import Path

from asdkit.config import Config
from asdkit.models.checkpoint import read_checkpoint, save_checkpoint
from asdkit.models.system import System

AVERAGE = "average.pt"  # beside final.pt


def check_average(config: Config, system: System) -> None:
    """Raise ValueError where weights are to be averaged, and the network's are of a kind that cannot be."""
    if config.embed.checkpoint == "average" and not system.separable:
        raise ValueError(
            f"embed.checkpoint average: the running statistics of batch normalisation in {config.encoder.name} are "
            "those of one step's weights, and no mean has any. Take final, or train.ema, which lets them follow"
        )


def write_average(folder: Path, steps: Sequence[int]) -> None:
    """Write checkpoint/average.pt: the mean of the networks of step<N>.pt and final.pt; all else is final.pt's.

    folder: exp/<tag>/seed<K>; steps: those of train.save_steps. The last step counts once. Raises ValueError for a file
    that cannot be read.
    """
    content = read_checkpoint(folder / "checkpoint/final.pt")
    kept = [step for step in sorted(set(steps)) if step != content["step"]]
    total = {name: tensor.double() for name, tensor in content["model"].items()}
    for step in kept:
        for name, tensor in read_checkpoint(folder / f"checkpoint/step{step}.pt")["model"].items():
            total[name] += tensor.double()
    mean = {name: (tensor / (len(kept) + 1)).to(content["model"][name].dtype) for name, tensor in total.items()}
    save_checkpoint(folder / "checkpoint" / AVERAGE, {**content, "model": mean})
    logging.info("%s: the mean of the weights of steps %s", AVERAGE, ", ".join(map(str, [*kept, content["step"]])))
