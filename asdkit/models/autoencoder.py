"""The challenge's baseline: an autoencoder for each machine, whose errors are the anomaly scores."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asdkit.config import Config
from asdkit.encoders import build_encoder
from asdkit.layers.side_by_side import SideBySide
from asdkit.models.checkpoint import load_tensors, model_state
from asdkit.models.system import System
from asdkit.utils.device import to_device

HIDDEN, MOMENTUM, EPS = 4, 0.01, 1e-3  # hidden layers on either side of the bottleneck; of the batch normalisation


class Autoencoder(System):
    """Log-mel vectors through a bottleneck and back, a network of its own for each machine.

    Two scores: `score.mse`, the mean squared error, and `score.mahalanobis`, the distance of the mean error from none
    by the covariances of the training clips' errors, source and target: of the two the smaller counts. `classes`: names
    of training classes, which begin with the machine's.
    """

    per_machine = True

    def __init__(self, config: Config, classes: list[str]) -> None:
        super().__init__()
        self.config, self.classes = config, classes
        self.machines = sorted({name.partition("/")[0] for name in classes})
        self.encoder = build_encoder(config.encoder)
        self.sample_rate, self.window, self.hop = self.encoder.sample_rate, self.encoder.window, self.encoder.hop
        self.vector_frames = config.encoder.frames
        self.mels = self.encoder.dim // self.vector_frames
        side = HIDDEN * [config.encoder.hidden]
        sizes = [self.encoder.dim, *side, config.encoder.bottleneck, *side, self.encoder.dim]
        self.model = SideBySide(len(self.machines), sizes, MOMENTUM, EPS)
        # of source and target clips; in doubles, for they are inverted
        shape = (len(self.machines), 2, self.mels, self.mels)
        self.model.register_buffer("covariances", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("inverses", torch.zeros(shape, dtype=torch.float64), persistent=False)

    def frontend(self, wav: Tensor) -> Tensor:
        """wav [B, T] -> dB [B, 1 + T // 512, 128]."""
        return self.encoder.frontend(wav)

    def losses(self, feats: Tensor, batch: Any) -> dict[str, Tensor]:
        """feats [machines, N, frames, 128], N vectors of each machine -> the sum of the machines' mean squared errors.

        The sum, so that a machine learns the same whatever the others are.
        """
        x = feats.flatten(2).transpose(1, 2)  # [K, D, N]
        found = self.model(x)[0]
        errors = (found.float() - x.float()).square().mean((1, 2))  # [K]
        return {"loss": errors.sum(), "mse": errors.mean().detach()}

    @torch.no_grad()
    def conclude(self, batches: Iterable[Any]) -> None:
        """Estimate the covariances of the networks' errors, from batches of vectors [N, frames, 128] of a machine.

        As the official code does: a vector's error is `frames` rows of 128; the mean row of a batch's vectors of one
        domain is taken off, products are summed over all rows and divided by the number of vectors less 1. A domain
        without clips has the other's.
        """
        training = self.training
        self.eval()
        sums = torch.zeros_like(self.model.covariances)
        counts = sums.new_zeros(sums.shape[:2])  # vectors
        for batch in batches:
            x = to_device(batch.feats, sums.device)
            found = self._reconstructed(x.flatten(1).T[None], torch.tensor([batch.machine], device=sums.device))
            errors = (x - found[0].T.reshape(x.shape)).double()
            for domain, chosen in enumerate((~batch.target, batch.target)):
                rows = errors[to_device(chosen, sums.device)].flatten(0, 1)
                if len(rows):
                    sums[batch.machine, domain] += scatter(rows)
                    counts[batch.machine, domain] += len(rows) // self.vector_frames
        for machine in range(len(self.machines)):
            for domain in (0, 1):
                source = domain if counts[machine, domain] > 1 else 1 - domain
                self.model.covariances[machine, domain] = sums[machine, source] / (counts[machine, source] - 1)
        self._invert()
        self.train(training)

    @torch.no_grad()
    def represent(self, feats: Tensor, machines: Sequence[str] = ()) -> dict[str, Tensor]:
        """feats [B, F, 128] -> `embedding` [B, bottleneck], `score.mse` [B, 1], `score.mahalanobis` [B, 2].

        The embedding is the mean over the clip of the bottleneck before its ReLU, which may let nothing through. Raises
        ValueError for a machine that has no network.
        """
        assert len(machines) == len(feats)
        if unknown := sorted(set(machines) - set(self.machines)):
            raise ValueError(
                f"the autoencoder has a network for each machine that it was trained on, {', '.join(self.machines)}, "
                f"none for {unknown[0]!r}: train it with that machine's clips, or leave the machine out (--machines)"
            )
        x = self.encoder(feats).transpose(1, 2)  # [B, D, N]
        which = torch.tensor([self.machines.index(name) for name in machines], device=feats.device)
        found, code = self._by_machine(x, machines)
        errors = x.float() - found
        mean = errors.mean(2).unflatten(1, (-1, self.mels)).mean(1).double()  # [B, 128], over frames and vectors
        distances = torch.einsum("bm,bdmn,bn->bd", mean, self.inverses[which], mean)
        return {
            "embedding": code.mean(2),
            "score.mse": errors.square().mean((1, 2))[:, None],
            "score.mahalanobis": distances.float(),
        }

    def memory(self, samples: int, clips: int, device: str, precision: str) -> int:
        """What front end and vectors need."""
        return self.encoder.memory(samples, clips, device, precision)

    def state(self) -> dict[str, Any]:
        """Weights and covariances, names of the classes, configuration."""
        return {
            "model": model_state(self.model, None),
            "backbone": None,
            "classes": self.classes,
            "config": self.config.model_dump(mode="json"),
        }

    def load_state(self, content: dict[str, Any], path: str | Path) -> None:
        """Take up the weights; raises ValueError when names or shapes differ."""
        load_tensors(self.model, content["model"], path)
        self._invert()

    def _by_machine(self, x: Tensor, machines: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Vectors of clips x [B, D, N] -> what becomes of them, and their bottleneck, in the order of the clips."""
        rows = {name: [row for row, own in enumerate(machines) if own == name] for name in machines}
        parts = []
        for name, own in rows.items():
            together = x[own].transpose(0, 1).flatten(1)[None]  # [1, D, n * N]
            which = torch.tensor([self.machines.index(name)], device=x.device)
            found = [part.float() for part in self.model(together, which, HIDDEN)]
            parts.append([part[0].unflatten(1, (len(own), -1)).transpose(0, 1) for part in found])
        order = torch.tensor([row for own in rows.values() for row in own], device=x.device).argsort()
        found, code = (torch.cat(part)[order] for part in zip(*parts, strict=True))
        return found, code

    def _reconstructed(self, x: Tensor, which: Tensor) -> Tensor:
        return self.model(x, which)[0].float()

    def _invert(self) -> None:
        # Where nothing varied there is no distance: with few clips, or silent bands, there are such directions.
        self.inverses.copy_(torch.linalg.pinv(self.model.covariances, hermitian=True))


def scatter(rows: Tensor) -> Tensor:
    """Sum of the products of rows [N, D] around their mean: [D, D]."""
    rows = rows - rows.mean(0)
    return rows.T @ rows
