"""Where the time of a training or an embedding goes: a clock that always runs for one part of the work."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from asdkit.adapt.group_adapter import GroupAdapter
from asdkit.encoders.base import Encoder
from asdkit.utils.files import write_table

T = TypeVar("T")
COLUMNS = ("part", "forward_s", "backward_s", "share")
READING, WAITING = "reading recordings", "waiting for readers"
FRONT_END, ATTENTION, FEED_FORWARD, ADAPTERS = "front end", "attention", "feed-forward", "group adapters"
BLOCKS, ENCODER = "rest of the blocks", "rest of the encoder"
HEAD, LOSS, OPTIMISER, REST = "pooling and projection", "loss", "optimiser", "the rest"


class Profile:
    """Seconds of each part, forward and backward; they add up to the time between `__init__` and `write`.

    Of the parts inside a network the innermost counts. What LoRA adds lies in the layers that it is in. On a GPU every
    change of part waits until it has done what it was told, which makes a step slower than it is without.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[tuple[str, bool], float] = defaultdict(float)
        self._wait = torch.cuda.synchronize if device.type == "cuda" else None
        self._part, self._queued = (REST, False), False
        self._begun = self._since = time.perf_counter()

    def switch(self, part: str, backward: bool = False) -> tuple[str, bool]:
        """From now on the clock runs for this part; returns for which it ran."""
        if self._wait:
            self._wait()
        before, now = self._part, time.perf_counter()
        self.seconds[before] += now - self._since
        self._part, self._since = (part, backward), now
        return before

    def watch_network(self, network: nn.Module, loss: nn.Module | None = None) -> None:
        """Let the clock run for the parts of a network, and for its objective, while they are at work."""
        watched = {network: HEAD}
        for encoder in (module for module in network.modules() if isinstance(module, Encoder)):
            watched[encoder] = ENCODER
            for block in encoder.blocks():
                attention = block.point("mha") if "mha" in block.points else nn.Module()
                inside = set(attention.modules())
                layers = [getattr(parent, name) for parent, name in block.linears.values()]
                watched |= {block.module: BLOCKS, attention: ATTENTION}
                watched |= {layer: FEED_FORWARD for layer in layers if layer not in inside}
                if "ffn" in block.points:
                    watched[block.point("ffn")] = FEED_FORWARD
        watched |= {module: ADAPTERS for module in network.modules() if isinstance(module, GroupAdapter)}
        watched |= {loss: LOSS} if loss else {}
        for module, part in watched.items():
            self._watch(module, part)

    def watched(self, call: Callable[..., T], part: str) -> Callable[..., T]:
        """The same function, during which the clock runs for a part."""

        @wraps(call)
        def watched(*values: Any, **named: Any) -> T:
            before = self.switch(part)
            try:
                return call(*values, **named)
            finally:
                self.switch(*before)

        return watched

    def watch_reading(self, batches: Iterable[T], workers: int) -> Iterator[T]:
        """The same batches; until each is there, the clock runs for reading, or for waiting for those who read."""
        following = self.watched(partial(next, iter(batches), None), WAITING if workers else READING)
        while (batch := following()) is not None:
            yield batch

    def write(self, path: Path) -> None:
        """Write the table, and put it into the log."""
        self.switch(REST)
        whole = self._since - self._begun
        parts = dict.fromkeys(part for part, _ in self.seconds)
        rows = []
        for part in sorted(parts, key=lambda part: -self._of(part)):
            forward, backward = self.seconds.get((part, False), 0.0), self.seconds.get((part, True), 0.0)
            share = self._of(part) / whole
            rows.append(
                {"part": part, "forward_s": f"{forward:.6f}", "backward_s": f"{backward:.6f}", "share": f"{share:.6f}"}
            )
        write_table(path, COLUMNS, rows)
        lines = [f"{'':24}{'forward':>10}{'backward':>10}{'share':>8}"]
        lines += [
            f"{r['part']:24}{float(r['forward_s']):10.3f}{float(r['backward_s']):10.3f}{float(r['share']):8.3f}"
            for r in rows
        ]
        logging.info("where %.1f s went, in seconds (%s):\n%s", whole, path, "\n".join(lines))

    def _of(self, part: str) -> float:
        return self.seconds.get((part, False), 0.0) + self.seconds.get((part, True), 0.0)

    def _watch(self, module: nn.Module, part: str) -> None:
        entered: list[tuple[str, bool]] = []

        def enter(_: nn.Module, inputs: Any, named: Any) -> None:
            entered.append(self.switch(part))

        def leave(_: nn.Module, inputs: Any, named: Any, output: Any) -> None:
            before = entered.pop()
            self.switch(*before)
            if torch.is_grad_enabled():
                self._watch_backward(part, before[0], [inputs, named], output)

        module.register_forward_pre_hook(enter, prepend=True, with_kwargs=True)
        module.register_forward_hook(leave, with_kwargs=True)

    def _watch_backward(self, part: str, outside: str, inputs: Any, output: Any) -> None:
        """In the backward pass a module begins where gradients of its output are there, and ends where its input's are.

        A tensor's hooks run before those of the node that made it, so that what ends does so before something begins.
        """
        for tensor in _tensors(output):
            node = tensor.grad_fn
            if node is not None and "profile" not in node.metadata:  # of modules that end together the inner one counts
                node.metadata["profile"] = part
                node.register_prehook(partial(self._enter_backward, part))
        for tensor in _tensors(inputs):
            if tensor.grad_fn is not None:
                tensor.register_hook(partial(self._leave_backward, outside))

    def _enter_backward(self, part: str, *_: Any) -> None:
        if not self._queued:
            self._queued = True
            torch.autograd.Variable._execution_engine.queue_callback(self._end_backward)
        self.switch(part, True)

    def _leave_backward(self, outside: str, _: Tensor) -> None:
        self.switch(outside, True)

    def _end_backward(self) -> None:
        self._queued = False
        self.switch(REST)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for one in inner for tensor in _tensors(one)]


def watch_training(profile: Profile, trainer: Any) -> None:
    """Let the clock run for the parts of a training (`asdkit.train.loop.Trainer`)."""
    system = trainer.system
    profile.watch_network(system.embedding_network(), getattr(system, "objective", None))
    _watch_methods(profile, system, frontend=FRONT_END)
    _watch_methods(profile, trainer.optimizer, step=OPTIMISER)


def watch_embedding(profile: Profile, system: nn.Module) -> None:
    """Let the clock run for the parts of a network that embeds clips (`asdkit.models.system.System`)."""
    profile.watch_network(system)
    _watch_methods(profile, system, frontend=FRONT_END, represent=HEAD)


def _watch_methods(profile: Profile, owner: Any, **parts: str) -> None:
    for name, part in parts.items():
        setattr(owner, name, profile.watched(getattr(owner, name), part))
