"""Judge recordings with a bundle: normal, anomalous, or a sensor that cannot be trusted. Needs no torch."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from asdkit.monitor.options import above_zero, finite, pause, seconds, share, whole
from asdkit.utils import cli

if TYPE_CHECKING:
    from asdkit.monitor.inputs import Clip, Unread
    from asdkit.monitor.output import Writer
    from asdkit.monitor.verdict import Judge

FAILED = 2
MOST_HERTZ, MOST_CHANNELS = 10_000_000, 1024  # of a recorder
EPILOG = """Exit code: 0 nothing found; 1 a recording is anomalous or its sensor cannot be trusted (with --alarm-after:
there was an alarm, or such a sensor); 2 something could not be judged, whatever else was found."""


def get_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser("Judge recordings with a bundle (asdkit.bin.export_detector makes it).")
    parser.epilog = EPILOG
    parser.add_argument("bundle", help="file.asdkit")
    parser.add_argument("recordings", nargs="*", help="files, folders (all recordings inside), or - for standard input")
    parser.add_argument("--list", help="a file with a path on each line (- for standard input)")
    parser.add_argument("--machine", help="whose recordings they are, where folders and names do not tell")
    parser.add_argument("--section", help="of which section, where the bundle has several of a machine")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="a JSON object on each line in place of plain words")
    how.add_argument("--tsv", action="store_true", help="tab-separated values in place of plain words")
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--limit", type=finite, help="score above which a clip is anomalous (default: the bundle's)")
    limit.add_argument("--false-alarms-per-day", type=above_zero, help="take the limit that keeps to so many")
    parser.add_argument("--every", type=above_zero, help="seconds from one clip to the next (default: their length)")
    parser.add_argument("--alarm-after", type=share, default="1/1", help="K/N: K of N clips in a row raise an alarm")
    parser.add_argument("--clip-seconds", type=seconds, help="cut recordings into clips of that length")
    parser.add_argument(
        "--hop", type=seconds, help="seconds from one of these clips to the next (default: their length)"
    )
    parser.add_argument("--raw", choices=["u8", "s16le", "s24le", "s32le", "f32le"], help="format of samples on -")
    parser.add_argument("--rate", type=whole(MOST_HERTZ), help="of --raw, Hz")
    parser.add_argument("--channels", type=whole(MOST_CHANNELS), help="of --raw")
    watch = parser.add_argument_group(
        "watching", "asdkit-detect status DB says what happened since yesterday; prune DB forgets what is old."
    )
    watch.add_argument("--watch", metavar="FOLDER", help="judge what comes into it, until the program is asked to end")
    watch.add_argument("--db", metavar="FILE", help="keep what is found in this database (--watch)")
    watch.add_argument("--poll", type=pause, default=1.0, help="seconds between two looks into the folder")
    watch.add_argument(
        "--blind-after", type=above_zero, help="seconds without a new recording (default: of 10, 60 or more)"
    )
    watch.add_argument(
        "--mqtt", metavar="HOST:PORT", help="send alarms and heartbeats to this broker (needs paho-mqtt)"
    )
    watch.add_argument("--topic", help="of the messages: TOPIC/alarm and TOPIC/state (--mqtt)")
    watch.add_argument(
        "--mqtt-access", type=Path, metavar="FILE", help="lines KEY = VALUE: user, password, tls, ca, cert, key"
    )
    watch.add_argument("--metrics", metavar="FILE", help="write numbers for Prometheus with every heartbeat")
    return parser


def status_parser() -> argparse.ArgumentParser:
    """Options of asdkit-detect status."""
    parser = cli.parser("Say in words what a monitor found since yesterday.")
    parser.prog += " status"
    parser.add_argument("database", help="what --db named")
    parser.add_argument(
        "--days", type=whole(100_000), default=1, help="since the beginning of the day, so many days ago"
    )
    parser.add_argument("--page", type=Path, metavar="FILE.html", help="write a page, too: alarms and their sounds")
    return parser


def prune_parser() -> argparse.ArgumentParser:
    """Options of asdkit-detect prune."""
    parser = cli.parser("Make a monitor's database forget what is old, while the monitor runs or not.")
    parser.prog += " prune"
    parser.add_argument("database", help="what --db named")
    parser.add_argument("--keep-days", type=whole(100_000), required=True, help="days of which everything is kept")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Judge recordings; ends with the exit code that --help tells."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["status"]:
        _status(status_parser().parse_args(argv[1:]))
    if argv[:1] == ["prune"]:
        _prune(prune_parser().parse_args(argv[1:]))
    parser = get_parser()
    args = parser.parse_intermixed_args(argv)  # recordings may stand before and after options
    if args.hop and not (args.clip_seconds and args.hop <= args.clip_seconds):
        parser.error("--hop needs --clip-seconds, and is not longer")
    if args.watch and not args.db:
        parser.error("--watch FOLDER needs --db FILE, where it keeps what it finds")
    if args.db and not args.watch and (args.recordings != ["-"] or args.list or args.tsv):
        parser.error("--db needs --watch FOLDER, or - alone: it is for what goes on and on")
    if args.watch and (args.recordings or args.list or args.tsv):
        parser.error("--watch takes no other recordings and no --tsv: its table is the database")
    if bool(args.mqtt) != bool(args.topic) or (args.mqtt_access and not args.mqtt):
        parser.error("--mqtt HOST:PORT and --topic T go together, and --mqtt-access with them")
    if (args.mqtt or args.metrics) and not args.db:
        parser.error("--mqtt and --metrics need --db")
    if not args.recordings and not args.list and not args.watch:
        parser.error("nothing to judge: name recordings, folders, - for standard input, or --list FILE")
    if args.raw and not ("-" in args.recordings and args.rate and args.channels):
        parser.error("--raw needs - among the recordings, --rate and --channels")
    if not args.raw and (args.rate or args.channels):
        parser.error("--rate and --channels are those of --raw: recordings tell their own")
    if args.list == "-" and "-" in args.recordings:
        parser.error("standard input holds sound (-) or paths (--list -), not both")
    if sys.stdout is None:
        raise ValueError("standard output is closed: nobody would read the verdicts")
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = _watch(args) if args.db else _judge(args)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    sys.exit(code)


def _judge(args: argparse.Namespace) -> int:
    from asdkit.monitor.detector import Detector
    from asdkit.monitor.output import Lines, Table, Words
    from asdkit.monitor.verdict import Judge, Wanted

    k, n = args.alarm_after
    wanted = Wanted(args.limit, args.false_alarms_per_day, args.every, k, n, args.hop)
    judge = Judge(Detector.open(args.bundle), wanted, args.machine, args.section)
    stream = "-" in args.recordings
    writer: Writer = Lines() if args.json else Table() if args.tsv else Words(len(judge.known) > 1, stream)
    counts: Counter[str] = Counter()
    for line in writer.begin(judge):
        print(line, flush=True)
    for clip in _clips(args, judge):
        found = judge.judge(clip)
        counts[found.verdict] += 1
        for line in writer.clip(found):
            print(line, flush=True)
    code = judge.code(counts)
    for line in writer.end(counts, judge, code):
        print(line)
    return code


def _watch(args: argparse.Namespace) -> int:
    from asdkit.monitor.database import Database
    from asdkit.monitor.detector import Detector
    from asdkit.monitor.heartbeat import Heart
    from asdkit.monitor.listening import Listener
    from asdkit.monitor.measured import Metrics
    from asdkit.monitor.mqtt import Publisher, broker
    from asdkit.monitor.output import Lines, Words
    from asdkit.monitor.recorder import Recorder
    from asdkit.monitor.status import clock
    from asdkit.monitor.verdict import Judge, Verdict, Wanted
    from asdkit.monitor.watching import Stop, Watcher, Watching

    stop = Stop()
    wanted = Wanted(args.limit, args.false_alarms_per_day, args.every, *args.alarm_after, args.hop)
    judge = Judge(Detector.open(args.bundle), wanted, args.machine, args.section)
    often = args.every or args.hop or max(known.machine.seconds for known in judge.known.values())
    database = Database(args.db, stop)
    recorder = Recorder(database, judge, args.topic)
    heart = Heart(database, args.blind_after or max(10 * often, 60.0))
    if args.metrics:
        heart.others.append(Metrics(database, args.metrics).beat)
    publisher = Publisher(database, broker(args.mqtt, args.topic, args.mqtt_access)) if args.mqtt else None
    if publisher:
        heart.others.append(publisher.beat)
        heart.often.append(publisher.send)
    writer: Writer = Lines() if args.json else Words(len(judge.known) > 1, not args.watch, clock)
    counts: Counter[str] = Counter()

    def say(found: Verdict) -> None:
        counts[found.verdict] += 1
        for line in writer.clip(found):
            print(line, flush=True)

    watcher: Watcher | Listener
    if args.watch:
        how = Watching(args.watch, args.poll, args.clip_seconds, args.hop)
        watcher = Watcher(recorder, heart, how, stop, say)
    else:
        watcher = Listener(recorder, heart, stop, say)
    for line in writer.begin(judge):
        print(line, flush=True)
    if isinstance(watcher, Listener):
        watcher.run(_stream(args, judge, watcher.patient(_standard_input())))
    else:
        watcher.run()
    heart.end(stop.why or "the stream ended")
    if publisher:
        publisher.end()
    database.close()
    recorder.hand_back()
    for line in writer.end(counts, judge, 0):
        print(line)
    return 0


def _status(args: argparse.Namespace) -> None:
    from asdkit.monitor.status import status

    for line in status(args.database, args.days):
        print(line)
    if args.page:
        from asdkit.page.watched import write_report

        write_report(args.database, args.page, args.days)
        print(f"{args.page}: written")
    sys.exit(0)


def _prune(args: argparse.Namespace) -> None:
    from asdkit.monitor.pruning import prune, told

    for line in told(args.database, prune(args.database, args.keep_days), args.keep_days):
        print(line)
    sys.exit(0)


def _clips(args: argparse.Namespace, judge: "Judge") -> "Iterator[Clip | Unread]":
    from asdkit.monitor.inputs import find, read_list

    for path in args.recordings:
        if path != "-":
            yield from find([path], judge.ears, args.clip_seconds, args.hop)
            continue
        yield from _stream(args, judge, _standard_input())
    if args.list == "-":
        yield from find(read_list(_standard_input()), judge.ears, args.clip_seconds, args.hop)
    elif args.list:
        try:
            lines = Path(args.list).read_bytes().split(b"\n")
        except OSError as error:
            raise ValueError(f"--list {args.list}: cannot be read: {error.strerror}") from None
        yield from find(read_list(lines), judge.ears, args.clip_seconds, args.hop)


def _stream(args: argparse.Namespace, judge: "Judge", file: BinaryIO) -> "Iterator[Clip | Unread]":
    from asdkit.monitor import stream

    raw = None
    if args.raw:
        width, coding = stream.FORMS[args.raw]
        raw = stream.Raw(width, coding, args.rate, args.channels)
    usual = max(known.machine.seconds for known in judge.known.values())
    return stream.clips(file, raw, stream.Cut(args.clip_seconds, args.hop, usual))


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise ValueError("standard input is closed, and was to be read (-)")
    return sys.stdin.buffer


def program() -> None:
    """The console script asdkit-detect."""
    cli.run(main, FAILED)


if __name__ == "__main__":
    program()
