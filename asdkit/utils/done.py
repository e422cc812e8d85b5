"""Done markers: a stage is done when its marker holds the inputs that the stage would use now."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from asdkit.utils.files import read_json, write_json

TAG = "another --tag"


class Done:
    """The marker of one piece of work.

    `path`: marker file. `inputs`: flat dict of what the output is made from (settings, hashes of files).
    `force`: redo the work whatever the marker says. `elsewhere`: the options to use instead. `reread`: brings what an
    older version wrote into today's terms. `again`: the options that redo it.
    """

    def __init__(
        self,
        path: str | Path,
        inputs: dict[str, Any],
        force: bool = False,
        elsewhere: str = TAG,
        reread: Callable[[dict[str, Any]], dict[str, Any]] = dict,
        again: str = "--force true",
    ) -> None:
        self.path = Path(path)
        self.inputs = inputs
        self.elsewhere = elsewhere
        self.reread = reread
        self.again = again
        if force:
            self.path.unlink(missing_ok=True)

    def is_done(self) -> bool:
        """True when the marker exists with the same inputs, False when there is none.

        Raises ValueError naming the first key that differs: the output was made from something else.
        """
        if not self.path.exists():
            return False
        compare(self.path, self.reread(read_json(self.path)), self.inputs, self.elsewhere, self.again)
        return True

    def finish(self) -> None:
        """Write the marker; call it after everything else is in place."""
        write_json(self.path, self.inputs)


def compare(
    where: str | Path, old: dict[str, Any], new: dict[str, Any], elsewhere: str = TAG, again: str = "--force true"
) -> None:
    """Raise ValueError naming the first key on which two sets of inputs differ, and what to do (elsewhere, again).

    A key that is not there equals None: an option that is not used leaves what was made before it existed valid.
    """
    for key in [*new, *(key for key in old if key not in new)]:
        if old.get(key) != new.get(key):
            raise ValueError(
                f"{where}: made with {key} = {old.get(key)!r}, now {new.get(key)!r}. "
                f"Use {elsewhere}, or {again} to make it again"
            )


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts to dotted keys: {'a': {'b': 1}} -> {'a.b': 1}."""
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat.update(flatten(item, f"{prefix}.{key}" if prefix else str(key)))
    return flat
