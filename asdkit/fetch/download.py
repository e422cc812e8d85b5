"""Stage 0: the archives of a corpus and its ground truth, fetched in parallel, checked and unpacked."""

import logging
import queue
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from asdkit.fetch.https import RemoteFile, Stopped, TransferError, fetch, md5_file, remote_size
from asdkit.fetch.records import Archive, DownloadPlan, RecordAnswer, ask_record, file_url
from asdkit.fetch.repository import CODELOAD, fetch_repository, marker
from asdkit.fetch.unpack import machine_files, move_in, unpacked
from asdkit.utils import cli
from asdkit.utils.done import Done
from asdkit.utils.files import atomic_path, locked, needs_space

API = "https://zenodo.org/api"
_MERGING = threading.Lock()  # two archives of one machine must not make its folder at the same time
UNPACKED = 1.3  # bytes of recordings per byte of their zip; the corpora need 1.2


@dataclass(frozen=True)
class Transfer:
    """How archives are fetched: from where, to where, how many at once, what becomes of them."""

    out: Path
    api: str = API
    codeload: str = CODELOAD
    unpack: bool = True
    jobs: int = 4
    force: bool = False

    def stored(self, archive: Archive) -> Path:
        """The archive's file."""
        return self.out / "archives" / archive.name

    def fetched(self, archive: Archive) -> Done:
        """Marker: the archive's file is whole and its MD5 right."""
        inputs = {"record": archive.record, "archive": archive.name}
        return Done(self.stored(archive).with_name(archive.name + ".done"), inputs)

    def opened(self, archive: Archive) -> Done:
        """Marker: the archive is unpacked, or the list of labels in its place."""
        inputs = {"record": archive.record, "archive": archive.name, "folder": archive.folder}
        return Done(self.stored(archive).with_name(archive.name + ".done.unpack"), inputs)


def download(plan: DownloadPlan, archives: list[Archive], truth: str | None, transfer: Transfer) -> None:
    """Fetch `archives` to out/archives, unpack them to out/<folder>, put the ground truth to out/<truth>.

    What is done is skipped. Raises ValueError with the first fault; finished archives and parts stay, and the next
    call goes on from there.
    """
    labels = _labels(plan)
    try:
        with _locked(transfer.out / "archives"):
            if transfer.force:
                _forget([*archives, *labels], transfer)
            labels_to = transfer.out / (truth or "")
            todo = [archive for archive in [*archives, *labels] if not _finished(archive, labels_to, transfer)]
            logging.info("%d of %d archives to do", len(todo), len(archives) + len(labels))
            remotes = _remotes([a for a in todo if not _is_fetched(a, transfer)], plan, transfer)
            _check_space(todo, remotes, transfer)
            tasks = [_task(archive, remotes.get(archive), labels_to, transfer) for archive in todo]
            _run(tasks, transfer.jobs, sum(remote.size for remote in remotes.values()) >> 20)
            if plan.ground_truth and plan.ground_truth.repository:
                fetch_repository(plan.ground_truth, labels_to, transfer.out / "archives", transfer.codeload)
    except OSError as error:
        raise ValueError(f"{error.filename or transfer.out}: {error.strerror or error}") from None


def describe(plan: DownloadPlan, archives: list[Archive], truth: str | None, transfer: Transfer) -> list[str]:
    """One line per archive: where it is fetched from and what it becomes."""
    lines = [
        f"{file_url(transfer.api, archive)} -> {transfer.out / archive.folder / archive.machine}"
        for archive in archives
    ]
    lines += [f"{file_url(transfer.api, archive)} -> {transfer.out / (truth or '')}" for archive in _labels(plan)]
    if plan.ground_truth and plan.ground_truth.repository:
        url = f"{transfer.codeload}/{plan.ground_truth.repository}/zip/{plan.ground_truth.commit}"
        lines.append(f"{url}: {', '.join(plan.ground_truth.paths)} -> {transfer.out / (truth or '')}")
    return lines


def _labels(plan: DownloadPlan) -> list[Archive]:
    truth = plan.ground_truth
    return [Archive(truth.record, truth.file)] if truth and truth.record and truth.file else []


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / ".lock", wait=False))
        except BlockingIOError:
            raise ValueError(f"{folder}: another download is writing there. Wait for it, or stop it") from None
        yield


def _forget(archives: list[Archive], transfer: Transfer) -> None:
    for archive in archives:
        transfer.fetched(archive).path.unlink(missing_ok=True)
        transfer.opened(archive).path.unlink(missing_ok=True)
    marker(transfer.out / "archives").unlink(missing_ok=True)


def _is_fetched(archive: Archive, transfer: Transfer) -> bool:
    return transfer.fetched(archive).is_done() and transfer.stored(archive).exists()


def _finished(archive: Archive, truth: Path, transfer: Transfer) -> bool:
    if not transfer.unpack and archive.machine:
        return _is_fetched(archive, transfer)
    # The marker lies with the archives: what it speaks of may have been removed since.
    opened = transfer.out / archive.folder / archive.machine if archive.machine else truth
    return transfer.opened(archive).is_done() and opened.exists()


def _remotes(archives: list[Archive], plan: DownloadPlan, transfer: Transfer) -> dict[Archive, RemoteFile]:
    """Address, size and MD5 of each archive: from its record's answer, from the plan's table where there is none."""
    answers: dict[int, RecordAnswer | None] = {}
    for record in dict.fromkeys(archive.record for archive in archives):
        try:
            answer = ask_record(transfer.api, record)
            logging.info("record %d: licence %s", record, answer.licence)
        except TransferError as error:
            logging.warning("record %d: no answer (%s): MD5s are those of the recipe", record, error)
            answer = None
        answers[record] = answer
    return {archive: _remote(archive, answers[archive.record], plan, transfer) for archive in archives}


def _remote(archive: Archive, answer: RecordAnswer | None, plan: DownloadPlan, transfer: Transfer) -> RemoteFile:
    url, known = file_url(transfer.api, archive), plan.md5.get(archive.name)
    if answer:
        if archive.name not in answer.files:
            raise ValueError(
                f"record {archive.record} has no {archive.name}. It has: {', '.join(sorted(answer.files))}"
            )
        if newer := [name for name in answer.files if name.startswith(Path(archive.name).stem + "_r")]:
            logging.warning("record %d also holds %s: does it replace %s?", archive.record, newer[0], archive.name)
        size, md5 = answer.files[archive.name]
        if known not in (None, md5):
            raise ValueError(
                f"{archive.name}: record {archive.record} says MD5 {md5}, the recipe's conf/download.yaml {known}. "
                "Find out which is right, and correct or delete the line there"
            )
        return RemoteFile(url, size, md5)
    if known is None:
        raise ValueError(
            f"{archive.name}: record {archive.record} does not answer and its MD5 is not in conf/download.yaml. "
            "Try again later, or add the MD5 from the record's page under 'md5:'"
        )
    try:
        stored = transfer.stored(archive)
        return RemoteFile(url, stored.stat().st_size if stored.exists() else remote_size(url), known)
    except TransferError as error:
        raise ValueError(f"{error}. Try again later") from None


def _check_space(todo: list[Archive], remotes: dict[Archive, RemoteFile], transfer: Transfer) -> None:
    needed = 0
    for archive in todo:
        stored = transfer.stored(archive)
        part = stored.with_name(stored.name + ".part")
        size = remotes[archive].size if archive in remotes else stored.stat().st_size
        have = next((path.stat().st_size for path in (stored, part) if path.exists()), 0)
        needed += max(0, size - have) + int(UNPACKED * size) * (transfer.unpack and bool(archive.machine))
    advice = "Make room, choose another folder, or name some --machines"
    needs_space(transfer.out, needed, "archives and recordings", advice)


Task = Callable[[Callable[[int], None], threading.Event], None]


def _task(archive: Archive, remote: RemoteFile | None, truth: Path, transfer: Transfer) -> Task:
    def task(tick: Callable[[int], None], stop: threading.Event) -> None:
        stored = transfer.stored(archive)
        if remote:
            if not stored.exists():
                fetch(remote, stored, tick, stop)
            elif (got := md5_file(stored)) != remote.md5:
                raise ValueError(f"{stored}: its MD5 is {got}, expected {remote.md5}. Move it away and run again")
            transfer.fetched(archive).finish()
        if archive.machine and transfer.unpack:
            _unpack(stored, archive.machine, transfer.out / archive.folder)
            transfer.opened(archive).finish()
        elif not archive.machine:
            with atomic_path(truth) as copy:
                shutil.copyfile(stored, copy)
            transfer.opened(archive).finish()

    return task


def _unpack(stored: Path, machine: str, into: Path) -> None:
    with unpacked(stored, str(stored), into, machine_files(machine, str(stored))) as (folder, left_out):
        if left_out:
            logging.info("%s: left out %d members such as %s", stored.name, len(left_out), min(left_out))
        with _MERGING:
            move_in(folder, into)


def _run(tasks: list[Task], jobs: int, mebibytes: int) -> None:
    """Run all tasks, at most `jobs` at a time; the first fault stops the others and is raised."""
    stop, received = threading.Event(), queue.SimpleQueue()

    def attempt(task: Task) -> None:
        if stop.is_set():
            raise Stopped
        try:
            task(received.put, stop)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(attempt, task) for task in tasks]
        try:
            for _ in cli.progress(_mebibytes(futures, received), "download", mebibytes, "MiB"):
                pass
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _mebibytes(futures: list[Future], received: queue.SimpleQueue) -> Iterator[None]:
    rest = 0
    while not all(future.done() for future in futures) or not received.empty():
        _raise_fault(futures)
        try:
            rest += received.get(timeout=0.05)
        except queue.Empty:
            continue
        yield from repeat(None, rest >> 20)
        rest %= 1 << 20
    _raise_fault(futures)


def _raise_fault(futures: list[Future]) -> None:
    for future in futures:
        if future.done() and (error := future.exception()) and not isinstance(error, Stopped):
            raise error
