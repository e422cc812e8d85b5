"""A recording that ends the program whenever it is judged: after some tries it is told of and left alone."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

MOST = 3  # times that the program may end over one clip
_ROOM = 100  # bytes


class Tries:
    """Remembers in the file `path`, from one start to the next, over which clip the program ended, and how often.

    The file is written over in place: a program that dies has no time for more, and what the power takes is no fault of
    a recording. Where it cannot be written, all is as without it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        held: list[str] = []
        with contextlib.suppress(OSError, UnicodeDecodeError):
            held = self.path.read_text(encoding="ascii").split()
        told = len(held) == 2 and held[1].isdecimal()
        self.key, self.count = (held[0], int(held[1])) if told else ("", 0)

    @contextlib.contextmanager
    def of(self, *what: int) -> Iterator[str | None]:
        """Try what the numbers stand for; gives why it is not to be tried, or None.

        What ends the block by an error, or the program with it, counts; to be asked to end does not.
        """
        key = "-".join(map(str, what))
        ended = self.count if key == self.key else 0
        if ended >= MOST:
            yield f"the program ended {ended} times while it was judged: it is left out until it is written anew"
            return
        self._write(key, ended + 1)
        try:
            yield None
        except Exception:
            self.key, self.count = key, ended + 1
            raise
        except BaseException:
            self._write(self.key, self.count)
            raise
        if ended:
            self.key, self.count = "", 0
        self._write(self.key, self.count)

    def _write(self, key: str, count: int) -> None:
        with contextlib.suppress(OSError):
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                os.pwrite(handle, f"{key} {count}".ljust(_ROOM).encode("ascii") if key else b" " * _ROOM, 0)
            finally:
                os.close(handle)
