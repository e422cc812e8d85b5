"""The pre-training loop."""

import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from asdkit.config import BeatsArch
from asdkit.encoders.beats import MELS, Beats, random_beats
from asdkit.encoders.beats_checkpoint import load_beats
from asdkit.models.checkpoint import read_checkpoint, save_checkpoint
from asdkit.pretrain.config import PretrainConfig
from asdkit.pretrain.corpus import Recordings, training_sounds
from asdkit.pretrain.masking import draw_mask
from asdkit.pretrain.model import MaskedPrediction
from asdkit.pretrain.teacher import TeacherTokenizer
from asdkit.pretrain.tokenizer import RandomTokenizer, perplexity
from asdkit.train.curve import Curve
from asdkit.train.distributed import World
from asdkit.train.optim import adamw, learning_rate
from asdkit.train.seeding import seed_everything
from asdkit.utils.done import compare


class Pretrainer:
    """One pre-training run: builds networks and tokeniser, trains, writes checkpoints, resumes after a kill.

    `corpus` None: generated sounds alone. `inputs`: what the run is made from; a `last.pt` with others is refused.
    All random numbers of a step come from (seed, step, rank).
    """

    def __init__(
        self,
        config: PretrainConfig,
        corpus: Recordings | None,
        seed: int,
        folder: Path,
        inputs: dict[str, Any],
        world: World,
    ) -> None:
        self.config, self.corpus, self.seed, self.inputs, self.world = config, corpus, seed, inputs, world
        self.checkpoints = folder / "checkpoint"
        self.curve = Curve(folder, config.train.log_every)
        self.step = 0
        seed_everything(seed)
        encoder = load_beats(config.init) if config.init else random_beats(config.arch or BeatsArch())
        patch = encoder.cfg.input_patch_size
        if MELS % patch:
            raise ValueError(f"pre-training cuts {MELS} mel bands into patches of {patch}: choose a divisor of {MELS}")
        self.module = MaskedPrediction(encoder, config.predictor, config.tokenizer, MELS // patch)
        self.module.to(world.device).train()
        seed_everything(seed)  # so that networks of all sizes learn the same codes
        self.tokenizer = _tokenizer(config, patch).to(world.device)
        self.parameters = [p for name, p in self.module.named_parameters() if not _is_unused(name)]
        self.optimizer = adamw(self.parameters, config.train)
        weights = sum(p.numel() for p in encoder.parameters())
        logging.info("%s encoder weights, %s in all", f"{weights:,}", f"{sum(p.numel() for p in self.parameters):,}")

    @property
    def encoder(self) -> Beats:
        """The network that is pre-trained."""
        return self.module.encoder

    def start(self) -> None:
        """Continue from last.pt, or fit the tokeniser where there is none; ValueError for one of other inputs."""
        path = self.checkpoints / "last.pt"
        if not path.exists():
            self._fit_tokenizer()
            return
        content = read_checkpoint(path)
        compare(path, content["inputs"], self.inputs)
        self.module.load_state_dict(content["module"])
        self.tokenizer.load_state_dict(content["tokenizer"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.curve.load(content["curve"])
        self.step = content["step"]
        logging.info("resumed from %s at step %d", path, self.step)

    def run(self, steps: Iterable[int], env: dict[str, str]) -> None:
        """Train the given steps, which follow the current one, and write final.pt."""
        module = self.world.wrap(self.module)
        begun, first = time.process_time(), self.step
        for self.step in steps:  # noqa: B020
            values = self._update(module)
            if self.world.rank == 0:
                self.curve.add(self.step, values, self.optimizer.param_groups[0]["lr"])
                if self.step % self.config.train.checkpoint_every == 0:
                    save_checkpoint(self.checkpoints / "last.pt", self._content(env))
        if self.world.rank == 0:
            self.curve.close(self.step, self.optimizer.param_groups[0]["lr"])
            save_checkpoint(self.checkpoints / "final.pt", self._content(env))
            spent = time.process_time() - begun
            logging.info("trained steps %d to %d in %.0f s of CPU time", first + 1, self.step, spent)
        self.world.barrier()

    def _update(self, module: nn.Module) -> dict[str, float]:
        config = self.config.train
        generator = seed_everything(self.seed, self.step, self.world.rank)
        feats = self._features(len(self.world.share(list(range(config.batch_size)))), generator)
        tokens = self.tokenizer(feats)  # [B, N, codebooks]
        masks = draw_mask(len(feats), tokens.shape[1], self.config.mask, generator)
        visible, masked = (index.to(feats.device) for index in masks)
        with torch.autocast(feats.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            losses = module(feats, tokens, visible, masked)
        values = {name: float(value.detach()) for name, value in losses.items()}
        if not values["loss"] < float("inf"):
            raise ValueError(f"step {self.step}: the loss is not finite ({values['loss']}): lower train.lr")
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(self.parameters, config.grad_clip)
        self.optimizer.step()
        return values | {"perplexity": float(perplexity(tokens, self.config.tokenizer.codes))}

    @torch.no_grad()
    def _features(self, clips: int, generator: torch.Generator) -> torch.Tensor:
        sounds = training_sounds(clips, self.config.sound, self.corpus, generator)
        return self.encoder.frontend(sounds.to(self.world.device))  # [B, F, M]

    def _fit_tokenizer(self) -> None:
        # Step 0 of rank 0: the same sounds in every process.
        self.tokenizer.fit(self._features(self.config.tokenizer.statistics_clips, seed_everything(self.seed, 0, 0)))

    def _content(self, env: dict[str, str]) -> dict[str, Any]:
        def copied(module: nn.Module) -> dict[str, torch.Tensor]:
            return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}

        return {
            "module": copied(self.module),
            "tokenizer": copied(self.tokenizer),
            "cfg": self.encoder.cfg.model_dump(),
            "optimizer": self.optimizer.state_dict(),
            "curve": self.curve.state(),
            "inputs": self.inputs,
            "config": self.config.model_dump(mode="json"),
            "env": env,
            "step": self.step,
        }


def _tokenizer(config: PretrainConfig, patch: int) -> RandomTokenizer | TeacherTokenizer:
    if config.tokenizer.teacher is None:
        return RandomTokenizer(config.tokenizer, patch, MELS)
    tokenizer = TeacherTokenizer(config.tokenizer)
    if tokenizer.encoder.cfg.input_patch_size != patch:
        raise ValueError(
            f"tokenizer.teacher {config.tokenizer.teacher}: has patches of {tokenizer.encoder.cfg.input_patch_size}, "
            f"the network to train of {patch}; they have to agree"
        )
    return tokenizer


def _is_unused(name: str) -> bool:
    """Whether a weight takes no part: the head of a fine-tuned network."""
    return name.startswith("encoder.predictor.")
