"""Stopping a training that is asked to: by SIGTERM, which clusters send before they take a machine away."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STOPPED = 75  # the exit code; sysexits.h calls it EX_TEMPFAIL: the same command goes on


class Stopped(SystemExit):
    """A training ended when it was asked to, with a checkpoint from which the same command goes on."""

    def __init__(self) -> None:
        """Ends the program with its exit code."""
        super().__init__(STOPPED)


class Stop:
    """Whether this process was `asked` to stop."""

    asked = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within it SIGTERM ends nothing, but is noted in `asked`. Only a program's first thread can listen."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _note(self, *_: object) -> None:
        self.asked = True


def tell_stopped() -> None:
    """Make the file that ASDKIT_STOPPED names (utils/jobs.sh): what started this program then knows how it ended.

    torchrun ends with a code of its own, whatever its processes end with.
    """
    if name := os.environ.get("ASDKIT_STOPPED"):
        Path(name).touch()
