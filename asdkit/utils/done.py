"""Done markers: a stage is done when its marker holds the inputs that the stage would use now."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from asdkit.utils.files import read_json, sha256_file, write_json

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

    def finish(self, written: Iterable[Path] = ()) -> None:
        """Write the marker, after a note of the files `written` for `check_written`; call it when all is in place."""
        if written:
            write_json(
                _note(self.path), {file.relative_to(self.path.parent).as_posix(): _seen(file) for file in written}
            )
        write_json(self.path, self.inputs)


def check_written(
    marker: str | Path, again: str, names: Iterable[str] | None = None, believe_time: bool = False
) -> None:
    """Raise ValueError naming a file that is not what the work of a marker wrote; none that is not noted is looked at.

    names: of files beside the marker (default: all noted ones). again: the options that make them again. believe_time:
    a file of the same size and time counts as the same, and is not read.
    """
    marker = Path(marker)
    note = _note(marker)
    noted = read_json(note) if note.exists() else {}
    for name in noted if names is None else names:
        path, seen = marker.parent / name, noted.get(name)
        if seen is None or believe_time and path.exists() and _stamp(path) == [seen.get("bytes"), seen.get("mtime")]:
            continue
        if not path.exists() or sha256_file(path) != seen.get("sha256"):
            raise ValueError(
                f"{path}: {'changed since' if path.exists() else 'gone, though'} it was written. {again} makes it "
                f"again; where the change is meant, remove {note}"
            )


def _note(marker: Path) -> Path:
    return marker.with_name(marker.name.replace(".done", ".written"))


def _seen(path: Path) -> dict[str, Any]:
    return dict(zip(("bytes", "mtime"), _stamp(path), strict=True)) | {"sha256": sha256_file(path)}


def _stamp(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


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
