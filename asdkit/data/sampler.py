"""Which chunks make a training batch: a pure function of (seed, step)."""

from collections.abc import Sequence

import numpy as np

from asdkit.data.lists import Clip

_ORDER, _DRAW = 0, 1  # independent random streams of one seed


class ChunkSampler:
    """Draws batches of chunks; nothing but the step is needed to resume.

    clips: what to draw from. chunk: samples. hop: chunks start at multiples of it (samples), so that dumped feature
    frames agree with recordings. balance: 'none' gives every clip once per epoch in a new random order,
    batches running across the borders of epochs; 'machine' and 'class' draw such a group uniformly, then a clip of it
    uniformly. temperature T: groups of n clips are drawn in proportion to n^(1/T) instead (Arivazhagan et al., 2019).
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        chunk: int,
        hop: int,
        batch_size: int,
        balance: str = "none",
        seed: int = 0,
        temperature: float | None = None,
    ) -> None:
        if not clips:
            raise ValueError("no training clips")
        self.hop, self.batch_size, self.balance, self.seed = hop, batch_size, balance, seed
        self.temperature = temperature
        lengths = np.array([clip.samples for clip in clips])
        self.starts = np.maximum(lengths - chunk, 0) // hop + 1  # possible starts of each clip
        if balance != "none":
            self.group(clips)
        self._epoch, self._permutation = -1, np.empty(0, int)

    def group(self, clips: Sequence[Clip]) -> None:
        """Take the machines and classes that are balanced from `clips`, the same ones with other labels."""
        keys = [clip.machine if self.balance == "machine" else clip.label for clip in clips]
        _, group = np.unique(keys, return_inverse=True)
        self.members = np.argsort(group, kind="stable")  # clips ordered by group
        self.sizes = np.bincount(group)
        self.firsts = np.cumsum(self.sizes) - self.sizes
        often = None if self.temperature is None else self.sizes ** (1 / self.temperature)
        self.odds = None if often is None else often / often.sum()

    def batch(self, step: int) -> list[tuple[int, int]]:
        """(index of a clip, first sample of the chunk) for each item of the batch of `step` (from 1)."""
        rng = np.random.default_rng((self.seed, _DRAW, step))
        clips = self._in_turn(step) if self.balance == "none" else self._balanced(rng)
        starts = self.hop * rng.integers(self.starts[clips])
        return list(zip(clips.tolist(), starts.tolist(), strict=True))

    def _in_turn(self, step: int) -> np.ndarray:
        total = len(self.starts)
        positions = np.arange((step - 1) * self.batch_size, step * self.batch_size)
        epochs, places = positions // total, positions % total
        clips = np.empty_like(positions)
        for epoch in np.unique(epochs):
            clips[epochs == epoch] = self._order(int(epoch))[places[epochs == epoch]]
        return clips

    def _order(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            rng = np.random.default_rng((self.seed, _ORDER, epoch))
            self._epoch, self._permutation = epoch, rng.permutation(len(self.starts))
        return self._permutation

    def _balanced(self, rng: np.random.Generator) -> np.ndarray:
        if self.odds is None:
            groups = rng.integers(len(self.sizes), size=self.batch_size)
        else:
            groups = rng.choice(len(self.sizes), self.batch_size, p=self.odds)
        return self.members[self.firsts[groups] + rng.integers(self.sizes[groups])]
