"""Pictures and sounds of the most wrong clips, beside their nearest training clips."""

import base64
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asdkit.corpus.description import Dataset, load_dataset
from asdkit.corpus.manifest import Row
from asdkit.infer.experiment import Experiment
from asdkit.page.contents import link, recording
from asdkit.page.near import ByBand, Neighbour, OverTime, by_band, neighbours, over_time
from asdkit.page.pictures import BANDS, DIFFERENCE, lowest, palette, picture, played_length, sound, spectrogram
from asdkit.signals.audio import AudioReader
from asdkit.utils.files import atomic_path, read_json, sha256_text, write_json

CUT = 20  # seconds of a recording that are shown and heard
LOUD, GAIN = 0.7, 100.0  # the loudest sample of a machine's clips becomes this, by a factor of at most that
MARKER, CLIPS = ".done.media", "clips"  # of the page's folder
TYPES = {".png": "image/png", ".ogg": "audio/ogg"}
VERSION = 2  # another one: pictures and sounds are made again


def add_media(
    told: dict[str, Any],
    exp: Path,
    data: Path,
    page: Path,
    clips: int | None,
    single: bool = False,
    originals: bool = False,
) -> dict[str, str]:
    """Put `media` into what the page tells, for the first score, and the files that it names into its folder.

    clips: of each kind (normal, anomaly) and machine, the most wrong ones; None: every one. single: the files are
    returned instead, name -> data URL. originals: where browsers play a machine's recordings they are linked, as they
    are, instead of sounds that are cut and compressed. What is not there is said in `media`; it does not stop the
    report.
    """
    dataset, score = load_dataset(data), told["scores"][0]
    known, said, reader = _compared(exp, data, told, clips)
    machines = [
        (name, machine, [_planned(told, name, i, known) for i in chosen])
        for name in score["clips"]
        for machine, chosen in chosen_clips(told, name, clips).items()
    ]
    reader = reader or dataset.reader()
    how = [said, originals, str(page.absolute())]
    marker, made_from = page / MARKER, _made_from(machines, dataset, reader, how)
    known = read_json(marker) if marker.exists() else {}
    folder = page / CLIPS
    if not single and known.get("made_from") == made_from and all((page / file).exists() for file in known["files"]):
        told["media"] = known["media"]
        return {}
    marker.unlink(missing_ok=True)
    media: dict[str, Any] = {"score": 0, "said": said, "sets": {}, "machines": {}, **_scales(dataset)}
    shutil.rmtree(folder, ignore_errors=True)
    held, files = {}, []
    for name, machine, planned in machines:
        shown = _Machine(dataset, reader, page, planned, originals)
        media["machines"][f"{name}\t{machine}"] = shown.told
        media["sets"].setdefault(name, {}).update(shown.clips)
        for file, content in shown.files():
            files.append(file)
            if single:
                held[file] = f"data:{TYPES[Path(file).suffix]};base64,{base64.b64encode(content).decode()}"
            else:
                with atomic_path(page / file) as temporary:
                    temporary.write_bytes(content)
    told["media"] = media
    if not single:
        write_json(marker, {"made_from": made_from, "media": media, "files": files})
    return held


def chosen_clips(told: dict[str, Any], name: str, clips: int | None) -> dict[str, list[int]]:
    """The most wrong clips of a test set, by machine: normal ones with high scores and anomalies with low ones.

    Where the truth is not known, those with the highest scores.
    """
    test, scores = told["sets"][name], np.array(told["scores"][0]["clips"][name])
    found = {}
    for machine in sorted(set(test["machine"])):
        own = [i for i, one in enumerate(test["machine"]) if one == machine]
        kinds = [[i for i in own if test["condition"][i] == kind] for kind in ("normal", "anomaly", "-")]
        signs = (-1, 1, -1)
        found[machine] = [
            i
            for kind, sign in zip(kinds, signs, strict=True)
            for i in sorted(kind, key=lambda i, sign=sign: sign * scores[i])[:clips]
        ]
    return found


class Compared(NamedTuple):
    """What is known of a clip."""

    near: Neighbour | None = None
    over: OverTime | None = None
    bands: ByBand | None = None


Planned = tuple[int, Row, Compared]


def _planned(told: dict[str, Any], name: str, i: int, known: dict[str, Compared]) -> Planned:
    test = told["sets"][name]
    row = {"utt": test["utt"][i], "wav": test["path"][i]}
    return i, row, known.get(f"{name} {row['utt']}", Compared())


def _compared(
    exp: Path, data: Path, told: dict[str, Any], clips: int | None
) -> tuple[dict[str, Compared], str, AudioReader | None]:
    """What clips are compared with, by set and utt, what is to be said of it, and the reader."""
    score, known = told["scores"][0], {}
    try:
        experiment = Experiment.open(exp, score["seed"], data)
        reader = experiment.dataset.reader(experiment.config.data.reference)
    except ValueError as error:
        return {}, f"No nearest training clips: {error}.", None
    said: list[str] = []
    for name in score["clips"]:
        places = [i for chosen in chosen_clips(told, name, clips).values() for i in chosen]
        wanted, asked = {told["sets"][name]["utt"][i] for i in places}, (experiment, score["score"], f"{name}_test")
        try:
            near, bands = neighbours(*asked, wanted), by_band(*asked, wanted)
        except ValueError as error:
            said.append(f"No nearest training clips: {error}.")
            continue
        try:
            over = over_time(*asked, wanted)
        except ValueError as error:
            said.append(f"No scores over time: {error}.")
            over = {}
        known |= {f"{name} {utt}": Compared(near.get(utt), over.get(utt), bands.get(utt)) for utt in wanted}
    if not said and not any(one.over for one in known.values()):
        banded = any(one.bands for one in known.values()) and experiment.config.embed.chunks
        why = "chunks have no bands" if banded else "stage 4 wrote no chunks (embed.chunks)"
        said.append(f"No scores over time: {why}.")
    return known, " ".join(dict.fromkeys(said)), reader


def _made_from(machines: list, dataset: Dataset, reader: AudioReader, how: list) -> str:
    """SHA-256 of all that pictures and sounds depend on; how: what else."""

    def file(row: Row) -> list:
        try:
            found = recording(dataset, row).stat()
        except OSError:
            return [row["wav"]]
        return [row["wav"], found.st_size, found.st_mtime_ns]

    plan = [
        [
            name,
            machine,
            [[i, file(row), one.near and [file(one.near.row), one.near.distance], *one[1:]] for i, row, one in planned],
        ]
        for name, machine, planned in machines
    ]
    return sha256_text(json.dumps([VERSION, dataset.root, {**reader.identity()}, how, plan]))


def _scales(dataset: Dataset) -> dict[str, Any]:
    ramps = {
        key: [f"#{bytes(one).hex()}" for one in palette(signed)[::15]]
        for key, signed in (("ramp", False), ("signed", True))
    }
    return {
        "hertz": [lowest(dataset.sample_rate), dataset.sample_rate / 2],
        "difference": DIFFERENCE,
        "cut": CUT,
        "bands": BANDS,
        **ramps,
    }


class _Machine:
    """The clips of one machine: what the page tells of them, and their files, drawn and heard on one scale."""

    def __init__(
        self, dataset: Dataset, reader: AudioReader, page: Path, planned: list[Planned], originals: bool
    ) -> None:
        self.reader, self.planned = reader, planned
        rows = {row["wav"]: row for _, row, _ in planned}
        rows |= {one.near.row["wav"]: one.near.row for _, _, one in planned if one.near}
        self.heard: dict[str, np.ndarray] = {}
        self.faults: dict[str, str] = {}
        for wav, row in rows.items():
            try:
                whole = reader.length(recording(dataset, row))
                self.heard[wav] = reader.read(recording(dataset, row), 0, min(whole, CUT * reader.sample_rate))
            except (ValueError, OSError) as error:
                self.faults[wav] = str(error)
        lengths = {wav: played_length(recording(dataset, rows[wav])) if originals else None for wav in self.heard}
        # all or none: two that are compared are equally loud
        self.linked = {wav: (link(recording(dataset, rows[wav]), page), length) for wav, length in lengths.items()}
        self.linked = {} if None in lengths.values() else self.linked
        peak = max((float(np.abs(one).max()) for one in self.heard.values()), default=0.0)
        self.gain = min(GAIN, LOUD / peak) if peak else 1.0
        with ThreadPoolExecutor() as pool:
            drawn = pool.map(lambda one: spectrogram(one, reader.sample_rate), self.heard.values())
            self.drawn = dict(zip(self.heard, drawn, strict=True))
        levels = np.concatenate([one.ravel() for one in self.drawn.values()]) if self.drawn else np.zeros(1)
        low, high = (float(5 * np.round(value / 5)) for value in np.percentile(levels, (5, 99.9)))
        self.low, self.high = low, max(high, low + 10)
        gain = 0.0 if self.linked else 20 * float(np.log10(self.gain))
        self.told = {"low": self.low, "high": self.high, "gain_db": round(gain, 1), "originals": bool(self.linked)}
        self.clips = {str(i): self._clip(dataset, page, row, one) for i, row, one in planned}

    def _clip(self, dataset: Dataset, page: Path, row: Row, one: Compared) -> dict[str, Any]:
        found = self._file(row["wav"])
        if one.over:
            found["over"] = one.over._asdict()
        if one.bands:
            found["bands"] = one.bands._asdict()
        if near := one.near:
            path = recording(dataset, near.row)
            told = {"utt": near.row["utt"], "file": path.name, "link": link(path, page), "domain": near.row["domain"]}
            found["near"] = {**told, "distance": near.distance, **self._file(near.row["wav"])}
            if {row["wav"], near.row["wav"]} <= self.drawn.keys():
                found["difference"] = f"{CLIPS}/{_name(row['wav'] + chr(0) + near.row['wav'])}.png"
        return found

    def _file(self, wav: str) -> dict[str, Any]:
        if wav in self.faults:
            return {"fault": self.faults[wav]}
        name, seconds = _name(wav), max(len(self.heard[wav]) / self.reader.sample_rate, 0.001)
        sound, whole = self.linked.get(wav, (f"{CLIPS}/{name}.ogg", seconds))
        told = {"picture": f"{CLIPS}/{name}.png", "sound": sound, "seconds": round(seconds, 3)}
        return told | ({"whole": round(whole, 3)} if whole > seconds else {})

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of each file."""
        for wav, drawn in self.drawn.items():
            yield f"{CLIPS}/{_name(wav)}.png", picture(drawn, self.low, self.high)
        for _, row, (near, *_) in self.planned:
            if near and {row["wav"], near.row["wav"]} <= self.drawn.keys():
                one, other = self.drawn[row["wav"]], self.drawn[near.row["wav"]]
                columns = min(one.shape[1], other.shape[1])
                left = np.maximum(one[:, :columns], self.low) - np.maximum(other[:, :columns], self.low)
                yield (
                    f"{CLIPS}/{_name(row['wav'] + chr(0) + near.row['wav'])}.png",
                    picture(left, -DIFFERENCE, DIFFERENCE, True),
                )
        if self.linked:
            return
        with ThreadPoolExecutor() as pool:
            coded = pool.map(lambda one: sound(self.gain * one, self.reader.sample_rate), self.heard.values())
            yield from ((f"{CLIPS}/{_name(wav)}.ogg", content) for wav, content in zip(self.heard, coded, strict=True))


def _name(text: str) -> str:
    return sha256_text(text)[:20]
