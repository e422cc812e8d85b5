"""What the group adapters of a trained network choose for single clips."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from asdkit.adapt.group_adapter import GroupAdapter
from asdkit.corpus.manifest import Row
from asdkit.infer.experiment import Experiment


def group_weights(experiment: Experiment, rows: Sequence[Row]) -> Iterator[tuple[Row, np.ndarray | str]]:
    """Group probabilities (paper Eq. 5) of each recording in every adapter, first block first: [layers, groups].

    Clips are heard as in stage 4, one after the other; where one goes through the network in pieces, the mean over
    them. In place of a recording that cannot be read: why. Raises ValueError for a network that cannot be opened, or
    has no group adapter.
    """
    from pathlib import Path

    from asdkit.data.levels import at_level
    from asdkit.data.lists import Clip
    from asdkit.infer.clips import arrays

    reader = experiment.dataset.reader(experiment.config.data.reference)
    config = experiment.config.model_copy(
        update={"data": experiment.config.data.model_copy(update={"workers": 0})}  # a clip at a time needs none
    )
    with _Heard(experiment.system) as heard:
        for row in rows:
            heard.clear()
            try:
                path = str(Path(experiment.dataset.root, row["wav"]))
                clips = at_level([Clip(row["utt"], path, reader.length(path), row["machine"])], config, experiment.exp)
                for _ in arrays(experiment.system, config, [clips], reader, experiment.device):
                    pass
            except (OSError, ValueError) as error:
                yield row, str(error)
                continue
            yield row, heard.mean()


class _Heard:
    """Listens to all group adapters of a network while it runs."""

    def __init__(self, system: nn.Module) -> None:
        self.adapters = [module for module in system.modules() if isinstance(module, GroupAdapter)]
        if not self.adapters:
            raise ValueError("the network has no group adapter")
        self.found: list[list[Tensor]] = [[] for _ in self.adapters]

    def __enter__(self) -> "_Heard":
        self.hooks = [
            adapter.register_forward_hook(lambda module, given, _, own=own: own.append(module.probabilities(given[0])))
            for adapter, own in zip(self.adapters, self.found, strict=True)
        ]
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def clear(self) -> None:
        for own in self.found:
            own.clear()

    def mean(self) -> np.ndarray:
        """[layers, groups]."""
        return np.stack([torch.cat(own).float().mean(0).cpu().numpy() for own in self.found])
