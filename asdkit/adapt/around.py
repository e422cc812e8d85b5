"""Changing a network from outside: something is put around a module, or in its place."""

from typing import Any

from torch import nn

# Where a module keeps what `register_forward_hook` was given.
HOOKS = ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called")


class Around:
    """A forward hook that applies `adapter` to a module's output, or to the first of several.

    An object and not a function: the hook of a copied network belongs to the copied adapter.
    """

    def __init__(self, adapter: nn.Module) -> None:
        self.adapter = adapter

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        """The output that is used instead of `output`."""
        if isinstance(output, tuple):
            return (self.adapter(output[0]), *output[1:])
        return self.adapter(output)


def replace(parent: nn.Module, attribute: str, module: nn.Module) -> None:
    """Put `module` in the place of `parent.attribute`; what was put around the old one is around the new one."""
    old = getattr(parent, attribute)
    for table in HOOKS:
        setattr(module, table, getattr(old, table))
    setattr(parent, attribute, module)
