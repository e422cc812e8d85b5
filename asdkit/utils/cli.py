"""What all programs share: errors as one line, booleans, logging, progress."""

import argparse
import contextlib
import dis
import functools
import logging
import math
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from asdkit import __version__
from asdkit.utils.memory import reuse_freed_memory

T = TypeVar("T")
PACKAGE = Path(__file__).resolve().parents[1]


def run(main: Callable[[list[str] | None], None], code: int = 1) -> None:
    """Run a program's main; a ValueError or OSError becomes one line `error: ...` on stderr and the exit code.

    A ValueError that no `raise` of this package made is no message for the user: its traceback comes before the line.
    Where 1, Python's own code for what nobody foresaw, means something else, that ends with `code` too.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    reuse_freed_memory()
    try:
        main(None)
    except (ValueError, OSError) as error:
        if not (isinstance(error, OSError) or _is_ours(error)):
            traceback.print_exception(error)
        print(f"error: {_message(error)}", file=sys.stderr)
        sys.exit(code)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if code == 1:
            raise
        traceback.print_exception(error)
        sys.exit(code)


def _message(error: Exception) -> str:
    # Out of a reader process an error comes with that process's traceback, whose last line is `ValueError: message`.
    text = str(error)
    return text.rstrip().rsplit("\n", 1)[-1].partition(": ")[2] if text.startswith("Caught ") else text


def _is_ours(error: BaseException) -> bool:
    """Whether a `raise` in this package, or in a script of a recipe, made the error."""
    told = f"{error.__cause__ or ''}{error}"  # errors of other processes hold their traceback as text
    if places := re.findall(r'^ *File "(.+)", line \d+', told, re.MULTILINE):
        return Path(places[-1]).is_relative_to(PACKAGE)
    trace = error.__traceback__
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    code, name = trace.tb_frame.f_code, trace.tb_frame.f_globals["__name__"]
    ours = name == "__main__" or Path(code.co_filename).is_relative_to(PACKAGE)
    # What C code raises (numpy's shapes that do not fit) ends in a frame of ours too, but at a call.
    return ours and dis.opname[code.co_code[trace.tb_lasti]] in ("RAISE_VARARGS", "RERAISE")


def boolean(text: str) -> bool:
    """argparse type for `true` / `false`."""
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text == "true"


def parser(description: str) -> argparse.ArgumentParser:
    """An argument parser that accepts no abbreviated options, shows defaults and has --version."""
    made = argparse.ArgumentParser(
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"asdkit {__version__}")
    return made


def progress(items: Iterable[T], what: str, total: int | None = None, unit: str = "clip", done: int = 0) -> Iterator[T]:
    """Give `items` and tell how many of `total` (default: all there are) have been used, `done` of them before.

    On a terminal that is a bar. A job's stderr is its log: there it is a plain line every ten seconds, every ten
    minutes after hours, and the file that ASDKIT_PROGRESS names (utils/jobs.sh) holds the bar of the moment, for the
    terminal where the job was started. Of several processes the first one tells.
    """
    if os.environ.get("RANK", "0") != "0":
        yield from items
        return
    from tqdm import tqdm

    if total is None and hasattr(items, "__len__"):
        total = done + len(items)
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, total=total, unit=unit, initial=done)
        return
    meter = _Meter(functools.partial(tqdm.format_meter, total=total, prefix=what, unit=unit, ascii=True, initial=done))
    try:
        meter.show(done)
        for count, item in enumerate(items, done + 1):
            yield item
            meter.show(count)
    finally:
        meter.remove()


class _Meter:
    """Writes lines that `form`, given the number of items used and the seconds since the start, makes."""

    def __init__(self, form: Callable[..., str]) -> None:
        self.form, self.file = form, os.environ.get("ASDKIT_PROGRESS")
        self.start = self.logged = time.monotonic()
        self.shown = -math.inf

    def show(self, count: int) -> None:
        now = time.monotonic()
        seconds = now - self.start
        if self.file and now - self.shown >= 1:
            self.shown = now
            self._overwrite(self._line(count, seconds, "{percentage:3.0f}%|{bar:10}| "))
        if now - self.logged >= min(600, max(10, seconds / 20)):
            self.logged = now
            logging.info("%s", self._line(count, seconds, ""))

    def remove(self) -> None:
        if self.file:
            with contextlib.suppress(OSError):
                os.unlink(self.file)

    def _line(self, count: int, seconds: float, bar: str) -> str:
        shape = "{n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]"
        if not self.form.keywords["total"]:
            bar, shape = "", "{n_fmt} [{elapsed}, {rate_fmt}]"
        return self.form(count, elapsed=seconds, bar_format=f"{{desc}}: {bar}{shape}")

    def _overwrite(self, line: str) -> None:
        # In place and always as long, so that a reader sees one whole line, soon on another machine too, where a new
        # file of this name would be noticed late. Work does not stop for what cannot be shown.
        with contextlib.suppress(OSError):
            handle = os.open(self.file, os.O_WRONLY | os.O_CREAT, 0o666)
            try:
                os.pwrite(handle, line.encode("ascii", "replace")[:120].ljust(120) + b"\n", 0)
            finally:
                os.close(handle)
