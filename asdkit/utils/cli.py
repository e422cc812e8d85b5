"""What all programs share: errors as one line, booleans, logging, progress."""

import argparse
import dis
import logging
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from asdkit import __version__
from asdkit.utils.memory import reuse_freed_memory

T = TypeVar("T")
PACKAGE = Path(__file__).resolve().parents[1]


def run(main: Callable[[list[str] | None], None]) -> None:
    """Run a program's main; a ValueError or OSError becomes one line `error: ...` on stderr and exit code 1.

    A ValueError that no `raise` of this package made is no message for the user: its traceback comes before the line.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    reuse_freed_memory()
    try:
        main(None)
    except (ValueError, OSError) as error:
        if not (isinstance(error, OSError) or _is_ours(error)):
            traceback.print_exception(error)
        print(f"error: {_message(error)}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


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


def progress(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Show progress over `items`: a bar on a terminal, a plain line every ten seconds elsewhere."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, desc=what, total=total)
        return
    total = total if total is not None else len(items) if hasattr(items, "__len__") else None
    start = last = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        if time.monotonic() - last >= 10:
            last = time.monotonic()
            _log_progress(what, count, total, last - start)


def _log_progress(what: str, count: int, total: Any, seconds: float) -> None:
    logging.info("%s: %d%s, %.0f s", what, count, f" of {total}" if total is not None else "", seconds)
