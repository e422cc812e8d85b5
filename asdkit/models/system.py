"""What a family of networks owes: the trainer and the stages after it know nothing else about a family."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn


class System(nn.Module):
    """A family of networks: what it hears, what it is trained by, what it says of a clip, what a checkpoint keeps.

    `sample_rate` in Hz, `window` and `hop` of one feature frame in samples (both 1 where features are samples).
    `skips_layers`: some steps of the training leave weights without gradient (layer drop). `vector_frames`: it is
    trained on single vectors of so many frames, drawn from all clips of each machine (`asdkit.data.frames`); 0: on
    chunks of clips. `per_machine`: `represent` asks whose clips they are; `machines` are those that it knows.
    `packs`: there is `represent_each`.
    `separable`: in training, too, a clip's embedding depends on that clip alone, so that a batch may go through in
    parts; `losses` is then `judge` of `embed`.
    """

    sample_rate: int
    window: int
    hop: int
    skips_layers: bool = False
    vector_frames: int = 0
    per_machine: bool = False
    machines: Sequence[str] = ()
    separable: bool = False
    packs: bool = False

    def frontend(self, wav: Tensor) -> Tensor:
        """Recordings [B, T], floats in [-1, 1] -> features [B, F, M]; raises ValueError for too short ones."""
        raise NotImplementedError

    def exchange(self, feats: Tensor, batch: Any) -> Tensor:
        """Features [B, F, M] of a batch, or of this process's share -> those with what clips take from each other."""
        return feats

    def losses(self, feats: Tensor, batch: Any) -> dict[str, Tensor]:
        """Features [B, F, M] and what else `batch` holds of the same clips -> scalars for the training curve.

        "loss" is what the step minimises, the others are detached. Of several processes each has its share of a batch,
        and all of them return the numbers of the whole batch (`asdkit.losses.gather`).
        """
        raise NotImplementedError

    def embed(self, feats: Tensor) -> Tensor:
        """Features [B, F, M] -> embeddings [B, D], of families that are `separable`."""
        raise NotImplementedError

    def judge(self, embeddings: Tensor, batch: Any) -> dict[str, Tensor]:
        """Embeddings [B, D] of all clips of `batch` -> what `losses` returns."""
        raise NotImplementedError

    def prepare(self, feats: Tensor) -> None:
        """What is done once before the first step on a GPU: given features of a batch, in the training's autocast."""

    def conclude(self, batches: Iterable[Any]) -> None:
        """What is learnt after the last step from all training vectors once more, of families with `vector_frames`."""

    def represent(self, feats: Tensor, machines: Sequence[str] = ()) -> dict[str, Tensor]:
        """Features [B, F, M] -> named arrays, [D] or [bands, D] per clip; nothing where the family is trained only.

        machines [B]: each clip's. Raises ValueError for one that a family with `per_machine` does not know.
        A name that starts with `score.` is an anomaly score already (higher = more anomalous), others are embeddings.
        """
        return {}

    def represent_each(self, feats: list[Tensor]) -> list[dict[str, Tensor]]:
        """`represent` of clips [F, M] of several lengths together, an entry for each, of families with `packs`."""
        raise NotImplementedError

    def memory(self, samples: int, clips: int, device: str, precision: str) -> int:
        """Bytes that `represent` needs for so many clips of so many samples, as `Encoder.memory`; 0: not known."""
        return 0

    def embedding_network(self) -> nn.Module:
        """What `represent` runs, without what the training alone needs."""
        return self

    def trainable(self) -> dict[str, nn.Parameter]:
        """Name -> parameter for what is optimised."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def state(self) -> dict[str, Any]:
        """The family's entries of a checkpoint: copies of tensors, and plain values."""
        raise NotImplementedError

    def load_state(self, content: dict[str, Any], path: str | Path) -> None:
        """Take up what `state` gave; raises ValueError naming `path` when it does not fit."""
        raise NotImplementedError

    def forward(self, feats: Tensor, batch: Any) -> dict[str, Tensor]:
        """`losses`, under the name that DistributedDataParallel calls."""
        return self.losses(feats, batch)
