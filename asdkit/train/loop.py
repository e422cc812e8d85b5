"""Fine-tuning by steps (paper Sec. IV-F)."""

import logging
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asdkit.config import Config
from asdkit.config.identity import reread_training
from asdkit.losses.objective import Objective
from asdkit.models.checkpoint import backbone_record, load_model, model_state, read_checkpoint, save_checkpoint
from asdkit.models.embedder import Embedder
from asdkit.train.curve import Curve
from asdkit.train.distributed import World
from asdkit.train.optim import adamw, learning_rate
from asdkit.train.seeding import seed_everything
from asdkit.train.specaugment import spec_augment
from asdkit.utils.done import compare


class TrainingStep(nn.Module):
    """Model and objective as one module, so that one backward pass covers both."""

    def __init__(self, model: Embedder, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, feats: Tensor, labels: Tensor, attributed: Tensor) -> dict[str, Tensor]:
        """Features [B, F, M], labels [B], attributed [B] -> losses."""
        return self.objective(self.model(feats), labels, attributed)


class Trainer:
    """One training run with one seed: builds the model, trains it, writes checkpoints, resumes after a kill.

    `folder`: exp/<tag>/seed<K>. `inputs`: what the run is made from; a `last.pt` with other inputs is refused.
    """

    def __init__(
        self, config: Config, classes: list[str], seed: int, folder: Path, inputs: dict[str, Any], world: World
    ) -> None:
        seed_everything(seed)
        model = Embedder(config)
        if config.train.steps and not model.trainable():
            raise ValueError(
                f"train.steps is {config.train.steps}, but nothing of this model learns: set it to 0, or use "
                "encoder.train, model.lora, model.group_adapter, model.embedding_dim or attentive pooling"
            )
        objective = Objective(config.loss, model.dim, len(classes))
        self.config, self.classes, self.seed, self.inputs, self.world = config, classes, seed, inputs, world
        self.checkpoints = folder / "checkpoint"
        self.curve = Curve(folder, config.train.log_every)
        self.backbone = backbone_record(config.encoder.checkpoint)
        self.step = 0
        self.module = TrainingStep(model, objective).to(world.device).train()
        self.parameters = [p for p in self.module.parameters() if p.requires_grad]
        self.optimizer = adamw(self.parameters, config.train)
        log_parameters(model)

    def resume(self) -> None:
        """Continue from last.pt where there is one; raises ValueError when it was made from other inputs."""
        path = self.checkpoints / "last.pt"
        if not path.exists():
            return
        content = read_checkpoint(path)
        compare(path, reread_training(content["inputs"]), self.inputs)
        load_model(self.module.model, content, path)
        self.module.objective.load_state_dict(content["objective"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.curve.load(content["curve"])
        self.step = content["step"]
        logging.info("resumed from %s at step %d", path, self.step)

    def run(self, batches: Any, env: dict[str, str]) -> None:
        """Train on `batches`, which start at the step after the current one, and write final.pt."""
        step_module = self.world.wrap(self.module)
        start, first = time.monotonic(), self.step
        for batch in batches:
            self.step += 1
            losses = self._update(step_module, batch)
            if self.world.rank == 0:
                self.curve.add(self.step, losses, self.optimizer.param_groups[0]["lr"])
                self._save(env)
        if self.world.rank == 0:
            self.curve.close(self.step, self.optimizer.param_groups[0]["lr"])
            save_checkpoint(self.checkpoints / "final.pt", self._content(env))
            seconds = time.monotonic() - start
            logging.info("trained steps %d to %d in %.0f s", first + 1, self.step, seconds)
        self.world.barrier()

    def _update(self, module: nn.Module, batch: Any) -> dict[str, float]:
        config = self.config.train
        generator = seed_everything(self.seed, self.step, self.world.rank)
        feats = self._features(batch, generator)
        device = self.world.device
        with torch.autocast(device.type, torch.bfloat16, enabled=config.amp == "bfloat16"):
            losses = module(feats, batch.labels.to(device), batch.attributed.to(device))
        values = {name: float(value.detach()) for name, value in losses.items()}
        if not all(value == value and abs(value) != float("inf") for value in values.values()):
            raise ValueError(
                f"step {self.step}: the loss is not finite ({values}) on the clips {' '.join(batch.utts)}. "
                "Look at these recordings, or lower train.lr, or set train.grad_clip"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        if config.grad_clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, config.grad_clip)
        self.optimizer.step()
        return values

    @torch.no_grad()
    def _features(self, batch: Any, generator: torch.Generator) -> Tensor:
        if batch.feats is None:
            feats = self.module.model.encoder.frontend(batch.wavs.to(self.world.device))  # [B, F, M]
        else:
            feats = batch.feats.to(self.world.device)
        augment = self.config.train.specaugment
        return spec_augment(feats, augment, generator) if augment and self.config.encoder.spectrogram else feats

    def _save(self, env: dict[str, str]) -> None:
        config = self.config.train
        if self.step in config.save_steps:
            save_checkpoint(self.checkpoints / f"step{self.step}.pt", self._content(env))
        if self.step % config.checkpoint_every == 0 and self.step < config.steps:
            content = self._content(env) | {
                "optimizer": self.optimizer.state_dict(),
                "curve": self.curve.state(),
                "inputs": self.inputs,
            }
            save_checkpoint(self.checkpoints / "last.pt", content)

    def _content(self, env: dict[str, str]) -> dict[str, Any]:
        objective = {name: t.detach().cpu().clone() for name, t in self.module.objective.state_dict().items()}
        return {
            "model": model_state(self.module.model, self.config.encoder.checkpoint),
            "objective": objective,
            "backbone": self.backbone,
            "classes": self.classes,
            "config": self.config.model_dump(mode="json"),
            "env": env,
            "seed": self.seed,
            "step": self.step,
        }


def log_parameters(model: Embedder) -> None:
    """Log how many weights are trained, part by part."""
    parts: dict[str, int] = {}
    for name, parameter in model.trainable().items():
        part = "lora" if ".lora_" in name else "group adapter" if ".adapters." in name else name.split(".")[0]
        parts[part] = parts.get(part, 0) + parameter.numel()
    total = sum(p.numel() for p in model.parameters())
    detail = ", ".join(f"{part} {count:,}" for part, count in parts.items()) or "nothing"
    logging.info("trainable parameters: %s of %s (%s)", f"{sum(parts.values()):,}", f"{total:,}", detail)
