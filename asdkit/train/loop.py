"""The training loop, for every family of networks."""

import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asdkit.config import OptimizeConfig, TrainConfig
from asdkit.models.checkpoint import read_checkpoint, save_checkpoint
from asdkit.models.system import System
from asdkit.train.averaged import Averaged
from asdkit.train.curve import Curve
from asdkit.train.distributed import World
from asdkit.train.optim import AdamW, learning_rate
from asdkit.train.parts import losses_in_parts, too_large
from asdkit.train.seeding import seed_everything
from asdkit.train.stopping import Stop, Stopped, tell_stopped
from asdkit.utils.device import set_precision, to_device
from asdkit.utils.done import compare
from asdkit.utils.files import needs_space
from asdkit.utils.memory import memory_told, most_used

Augment = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Between:
    """What is done between steps: after each of `steps`, and before the step's checkpoints are written.

    Step 0 comes before the first step of a training that starts anew. `act` is given the step and called in every
    process. Its numbers go into the curve, in a row that ends with this step. It leaves weights, optimiser and torch's
    random numbers as they were. When a training is resumed, `act` is called again for steps after the checkpoint alone:
    what it changed elsewhere at earlier ones has to be read back from where it put it.
    """

    steps: Collection[int]
    act: Callable[[int], dict[str, float]]


class Trainer:
    """One training run with one seed: trains a system, writes checkpoints, resumes after a kill to the same bits.

    `folder`: gets checkpoint/{last,final,step<N>}.pt and train.tsv. `inputs`: what the run is made from; a `last.pt`
    with other inputs is refused. `augment`: changes the features [B, F, M] of every batch, given a generator on the
    CPU. `save_steps`: steps whose weights are kept. `reread`: brings `inputs` of an older version into today's terms.
    `factors`: of the learning rate of each trained parameter, in the order of `System.trainable`; none: all 1.
    `between` is a list for what is done between steps, empty at first.

    Several processes train what one trains, up to rounding: everything random comes from (seed, step), is drawn for the
    whole batch, and each process takes its rows; losses are those of the whole batch (`System.losses`). What cannot
    agree are the masks of dropout inside a network, which each process draws for its rows, and layer drop of a network
    that has dropout too, on CPUs, where both use one generator. BEATs' published dropout is 0. The same is true of a
    batch that goes through in parts (`train.accumulate`).
    """

    def __init__(
        self,
        system: System,
        settings: OptimizeConfig,
        seed: int,
        folder: Path,
        inputs: dict[str, Any],
        world: World,
        augment: Augment | None = None,
        save_steps: Collection[int] = (),
        reread: Callable[[dict[str, Any]], dict[str, Any]] = dict,
        factors: Sequence[float] = (),
    ) -> None:
        self.system = system.to(world.device).train()
        self.settings, self.seed, self.inputs, self.world = settings, seed, inputs, world
        self.parts = settings.accumulate if isinstance(settings, TrainConfig) else 1
        self.augment, self.save_steps, self.reread = augment, save_steps, reread
        self.checkpoints = folder / "checkpoint"
        self.curve = Curve(folder, settings.log_every)
        self.step = 0
        self.between: list[Between] = []
        self.copies = 0  # checkpoints that will be made of these
        self.stop = Stop()
        self.parameters = list(system.trainable().values())
        self.optimizer = AdamW(self.parameters, settings, factors)
        ema = settings.ema if isinstance(settings, TrainConfig) else None
        self.averaged = Averaged(system, ema) if ema is not None else None
        self._unseen: list[tuple[int, Any, list[str], Tensor]] = []  # losses that nobody has looked at yet
        set_precision(settings.precision, world.device)

    def resume(self) -> bool:
        """Continue from last.pt, if there is one, and say so; raises ValueError when it was made from other inputs."""
        path = self.checkpoints / "last.pt"
        if not path.exists():
            return False
        content = read_checkpoint(path)
        compare(path, self.reread(content["inputs"]), self.inputs)
        self.system.load_state(content, path)
        self.optimizer.load_state_dict(content["optimizer"])
        self.curve.load(content["curve"])
        if self.averaged:
            self.averaged.load(content["ema"])
        self.step = content["step"]
        logging.info("resumed from %s at step %d", path, self.step)
        return True

    def prepare(self, batch: Any) -> None:
        """Let the system do what it does once on a GPU, given a batch like those to come; before readers are started.

        Several processes do without. Raises ValueError as `run` does.
        """
        if self.world.device.type == "cuda" and self.world.size == 1:
            with memory_told(*too_large(self.system, self.settings.batch_size, self.parts)), self._autocast():
                feats = self._features(batch)
                self.system.prepare(feats[: len(feats) // self.parts])

    def run(self, batches: Iterable[Any], env: dict[str, str], again: Iterable[Any] = ()) -> None:
        """Train on `batches`, which start at the step after the current one, and write final.pt.

        again: all that there is to train on, once more, for `System.conclude`.

        A batch holds `wavs` [B, T] or `feats` [B, F, M] (the other is None), `utts` (names, may be empty), and what the
        system's losses ask for; of several processes each is given its own share. Raises ValueError for a loss that is
        not finite, on a GPU when the losses are looked at next, and for a batch that the GPU's memory does not hold.
        After SIGTERM the step at hand is finished, then last.pt written and `Stopped` raised. Of several processes the
        first one does so; the others go on until they are ended, for the step is not finished without them.
        """
        whole = self.parts == 1
        module = self.world.wrap(self.system, self.system.skips_layers) if whole else self.system
        if self.world.rank == 0:
            self._check_space()
        start, first = time.monotonic(), self.step
        if not first:
            self._act()
        with self.stop.listening():
            self._train(module, batches, env)
        self._look()
        self.system.conclude(again)
        if self.world.rank == 0:
            self.curve.close(self.step, self._rate())
            self._keep("final", env)
            logging.info("trained steps %d to %d in %.0f s", first + 1, self.step, time.monotonic() - start)
        self.world.barrier()

    def _train(self, module: nn.Module, batches: Iterable[Any], env: dict[str, str]) -> None:
        for number, batch in enumerate(batches):
            self.step += 1
            what, instead = too_large(self.system, self.settings.batch_size, self.parts)
            with memory_told(f"step {self.step}: {what}", instead):
                losses = self._update(module, batch)
            # one tensor for all of them; the names of the recordings, for what may have to be said of them later
            numbers = torch.stack([value.detach().float() for value in losses.values()])
            self._unseen.append((self.step, batch.utts, list(losses), numbers))
            if self._looks_now():
                self._look()
            if number == 1:  # a step when everything is there
                logging.info("a step needs %s (%s)", most_used(self.world.device), what)
            self._act()
            if self.world.rank == 0:
                self._save(env)
                if self.stop.asked and self.step < self.settings.steps:
                    self._stop(env)

    def _autocast(self) -> torch.autocast:
        kind, enabled = self.world.device.type, self.settings.precision == "bfloat16"
        # A weight is used once a step, so that the cache of what was cast is of no use; CUDA graphs do not allow it.
        return torch.autocast(kind, torch.bfloat16, enabled=enabled, cache_enabled=kind != "cuda")

    def _looks_now(self) -> bool:
        """Whether the losses are read after this step; a GPU has to be waited for then, a CPU never."""
        regular = not self.step % self.settings.log_every or not self.step % self.settings.checkpoint_every
        chosen = self.step in self.save_steps or any(self.step in one.steps for one in self.between)
        return regular or chosen or self.world.device.type == "cpu"

    def _act(self) -> None:
        """What is to be done between this step and the next."""
        numbers: dict[str, float] = {}
        due = [one for one in self.between if self.step in one.steps]
        with self._kept() if due else nullcontext():
            for one in due:
                numbers |= one.act(self.step)
        if numbers and self.world.rank == 0:
            self.curve.measured(self.step, numbers, self._rate() if self.step else 0.0)

    def _look(self) -> None:
        """Put the losses of the steps since the last look into the curve; ValueError for one that is not finite."""
        rows = torch.stack([numbers for *_, numbers in self._unseen]).tolist() if self._unseen else []
        for (step, utts, names, _), row in zip(self._unseen, rows, strict=True):
            values = dict(zip(names, row, strict=True))
            if not all(map(math.isfinite, row)):
                raise ValueError(
                    f"step {step}: the loss is not finite ({values}){_clips(utts)}, "
                    "or lower train.lr, or set train.grad_clip lower"
                )
            if self.world.rank == 0:
                self.curve.add(step, values, self._rate())
        self._unseen = []

    def _update(self, module: nn.Module, batch: Any) -> dict[str, Tensor]:
        settings = self.settings
        feats = self._features(batch)
        self.optimizer.set_rate(self._rate())
        self.optimizer.zero_grad(set_to_none=True)
        if self.parts == 1:
            with self._autocast():
                losses = module(feats, batch)
            losses["loss"].backward()
        else:
            losses = losses_in_parts(self.system, feats, batch, self.parts, self._restart, self._autocast)
            self.world.mean_gradients(self.parameters)
        if settings.grad_clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, settings.grad_clip)
        self.optimizer.step()
        if self.averaged:
            self.averaged.follow(self.step)
        return losses

    def _kept(self) -> AbstractContextManager[None]:
        """Within it the system has the weights that a checkpoint of this step keeps."""
        return self.averaged.in_place() if self.averaged else nullcontext()

    def _restart(self) -> torch.Generator:
        """Set torch's generators to where the step begins; returns that of the features."""
        return seed_everything(self.seed, self.step, 0)

    @torch.no_grad()
    def _features(self, batch: Any) -> Tensor:
        device, generator = self.world.device, self._restart()
        feats = to_device(batch.wavs if batch.feats is None else batch.feats, device)
        if batch.feats is None:
            parts = [self.system.frontend(part) for part in feats.tensor_split(self.parts) if len(part)]
            feats = torch.cat(parts) if len(parts) > 1 else parts[0]
        feats = self.system.exchange(feats, batch)
        if self.augment is None:
            return feats
        return self.world.as_whole(lambda whole: self.augment(whole, generator), feats)

    def _rate(self) -> float:
        return learning_rate(self.settings, self.step) if self.step else self.settings.lr

    def _check_space(self) -> None:
        """Of all checkpoints to come, and of the copy from which one is renamed; what is there already counts."""
        weights = _size(self.system.state())
        kept = sum(step > self.step for step in self.save_steps) + 1 + self.copies
        moments = 2 * sum(parameter.nbytes for parameter in self.parameters)  # AdamW's two for each weight
        averages = _size(self.averaged.mean) if self.averaged else 0
        last = weights + moments + averages if self.settings.checkpoint_every < self.settings.steps else 0
        there = sum(path.stat().st_size for path in self.checkpoints.glob("*.pt"))
        advice = "Make room, choose another --expdir, or lower the number of train.save_steps"
        needs_space(self.checkpoints, kept * weights + last + max(weights, last) - there, "checkpoints", advice)

    def _save(self, env: dict[str, str]) -> None:
        if self.step in self.save_steps:
            self._keep(f"step{self.step}", env)
        if self.step % self.settings.checkpoint_every == 0 and self.step < self.settings.steps:
            self._save_last(env)

    def _keep(self, name: str, env: dict[str, str]) -> None:
        with self._kept():
            save_checkpoint(self.checkpoints / f"{name}.pt", self._content(env))

    def _save_last(self, env: dict[str, str]) -> None:
        content = self._content(env) | {
            "optimizer": self.optimizer.state_dict(),
            "curve": self.curve.state(),
            "inputs": self.inputs,
        }
        content |= {"ema": self.averaged.state()} if self.averaged else {}
        save_checkpoint(self.checkpoints / "last.pt", content)

    def _stop(self, env: dict[str, str]) -> None:
        self._look()
        self._save_last(env)
        self.curve.flush()
        tell_stopped()
        logging.info("stopped at step %d as asked (SIGTERM): the same command goes on from here", self.step)
        raise Stopped

    def _content(self, env: dict[str, str]) -> dict[str, Any]:
        return self.system.state() | {"env": env, "seed": self.seed, "step": self.step}


def _size(content: Any) -> int:
    values = content.values() if isinstance(content, dict) else ()
    return content.nbytes if isinstance(content, Tensor) else sum(map(_size, values))


def _clips(utts: Any) -> str:
    return f" on the clips {' '.join(utts)}. Look at these recordings" if utts else ". Look at the curve"
