"""Made-up corpora in the layout and with the names of each challenge year, traps included.

Every anomaly has a tone that no normal clip has: whatever joins scores and truth rightly finds an AUC of 1.
"""

import csv
import itertools
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from asdkit.corpus.description import load_description

ROOT = Path(__file__).parents[1]
RATE, SAMPLES = 16000, 8000
IDS_2020 = {"ToyCar": ("01 02 03 04", "05 06 07"), "ToyConveyor": ("01 02 03", "04 05 06")}
HIDDEN = {
    2024: "gearbox slider ToyTrain AirCompressor BrushlessMotor HoveringDrone ToothBrush",
    2025: "bearing slider ToyTrain AutoTrash Polisher ScrewFeeder ToyPet",
    2026: "ToyCar bearingEmu sliderEmu valveEmu SewingMachine ToothBrush",
}
ATTRIBUTES = {  # source values, target values; other machines: DEFAULT
    (2021, "fan"): ("strength_1_ambient strenght_2_ambient", "strenght_3_ambient"),
    (2021, "gearbox"): ("0_g_25_mm_2000_mV_none 0_g_25_mm_2000_mV_None", "50_g_25_mm_2000_mV_None"),
    (2021, "pump"): ("serial_no_040_water", "serial_no_041_water"),
    (2021, "valve"): ("pattern_00_no_pump pattern_01_no_pump", "pattern_00_pump"),
    (2021, "ToyCar"): ("A1Spd28VMic1 A2Spd31VMic1", "E1Spd28VMic2"),
    (2022, "valve"): ("pat_04_panel_bs-c pat_05_panel_open", "pat_04_panel_b-c"),
    (2022, "fan"): ("m-n_W n-lv_L1", "m-n_Y"),
    (2024, "RoboticArm"): ("weight00_BckgA weight05_BckgB", "weight10_BckgC"),
    (2025, "CoffeeGrinder"): ("mic_imp34dt05_mic_pos_A_grind_100_bkg_A", "mic_imp34dt05_mic_pos_B_grind_50_bkg_A"),
    (2026, "ToyCarEmu"): ("car_B1_spd_2_mic_2_mic_1 car_B2_spd_2_mic_2_mic_1", "car_A1_spd_2_mic_2_mic_1"),
    (2026, "gearboxEmu"): ("pro_A pro_B", "pro_Y"),
    (2026, "fan"): ("spd_1 spd_2", "spd_1"),
}
DEFAULT = ("car_B1_spd_1_mic_1 car_B2_spd_2_mic_1", "car_A1_spd_9_mic_2")
REVEALED = "revealed_7"  # what the organisers tell of hidden attributes
UNSEEN = "pro_y"  # in test names alone
FROM_1 = {(2023, "dev"): "ToyCar ToyTrain", (2024, "eval"): "3DPrinter AirCompressor Scanner"}
JOINT = {2025: "ToyTrain", 2026: "ToyCar ToyCarEmu"}  # one index over all test clips
FROM_990 = {2024: "BrushlessMotor RoboticArm"}

Truth = dict[str, dict[str, tuple[str, str]]]  # test set -> utt -> condition, domain
CELLS = list(itertools.product(("source", "target"), ("normal", "anomaly")))


class Clip(NamedTuple):
    """A clip; stem: its file name; full: the name that tells all, of an anonymous clip in the organisers' files."""

    split: str
    folder: str
    stem: str
    full: str
    condition: str
    domain: str


def description(year: int) -> Path:
    """The dataset description of a year's recipe."""
    return ROOT / f"egs/dcase{year}/conf/dataset.yaml"


def write_year(root: Path, year: int, per_cell: int = 2, own_sounds: bool = False) -> Truth:
    """Write a corpus of all machines of a year; returns the truth. per_cell: test clips per domain and condition.

    Clips of one path have one sound in all years, the near microphone's in 2026, but with own_sounds.
    """
    salt = year if own_sounds else 0
    what = load_description(description(year))
    truth: Truth = {"dev_test": {}, "eval_test": {}}
    names: list[str] = []
    for part in ("dev", "eval"):
        chosen = getattr(what.sets, part)
        for machine in chosen.machines:
            folder = root / chosen.path / machine
            clips = {s: list(_clips(year, part, machine, s, per_cell)) for s in sections(year, part, machine)}
            for section, own in clips.items():
                for clip in own:
                    _write_clip(
                        folder / clip.folder / f"{clip.stem}.wav", clip.condition == "anomaly", year == 2026, salt
                    )
                tests = [clip for clip in own if clip.split == "test"]
                truth[f"{part}_test"] |= {f"{machine}-test-{c.stem}": (c.condition, c.domain) for c in tests}
                if year >= 2022:
                    _write_attributes(folder, section, [c for c in own if part == "dev" or c.split == "train"])
                if part == "eval" and year not in (2020, 2025):
                    _write_truth(root / "ground_truth", year, machine, section, tests)
            if part == "eval":
                names.append(machine)
                names += [
                    f"{c.stem}.wav,{c.full}.wav" + (f",{int(c.condition == 'anomaly')}" if year == 2020 else "")
                    for own in clips.values()
                    for c in reversed(own)
                    if c.split == "test"
                ]
            if year == 2025:
                for stem in ("section_00_machine_0001_", "section_00_noise_supplemental_normal_0000"):
                    _write_clip(folder / "supplemental" / f"{stem}.wav", False, False, salt)
    listed = root / "ground_truth" / ("eval_data_list.csv" if year == 2020 else f"eval_data_list_{year}.csv")
    if year in (2020, 2024, 2025):
        _write_text(listed, [line.replace("_test_", "_") if year == 2024 else line for line in names])
    return truth


def sections(year: int, part: str, machine: str) -> list[str]:
    """Sections (machine ids in 2020) of a machine."""
    evaluation = part == "eval"
    if year == 2020:
        return IDS_2020.get(machine, ("00 02 04 06", "01 03 05"))[evaluation].split()
    return ["03", "04", "05"] if evaluation and year < 2023 else ["00", "01", "02"] if year < 2023 else ["00"]


def _clips(year: int, part: str, machine: str, section: str, per_cell: int) -> Iterator[Clip]:
    head = f"id_{section}" if year == 2020 else f"section_{section}"
    first = int((year, part) == (2024, "dev") or machine in FROM_1.get((year, part), "").split())
    for domain, count in (("source", 2), ("target", 1)):
        for i in range(count if year > 2020 else 2 * (domain == "source")):
            number = first + i + 990 * (domain == "target" and machine in FROM_990.get(year, "").split())
            stem = f"{head}_{domain}_train_normal_{number:04d}_{_attribute(year, machine, domain, i)}"
            if year == 2020:
                stem = f"normal_{head}_{number:08d}"
            yield Clip("train", "train", stem, stem, "normal", domain)
    # In 2020 every clip counts as source.
    cells = [cell for cell in CELLS if year > 2020 or cell[0] == "source"]
    rng = np.random.default_rng(zlib.crc32(f"{machine} {section}".encode()))
    anonymous = {domain: iter(rng.permutation(4 * per_cell)) for domain in ("source", "target")}
    for joint, ((domain, condition), i) in enumerate(itertools.product(cells, range(per_cell))):
        number = joint if machine in JOINT.get(year, "").split() else first + i
        attr = _attribute(year, machine, domain, i)
        attr = UNSEEN if i == 0 and attr != "noAttribute" else attr
        full = {
            2020: f"{condition}_{head}_{number + 7:08d}",
            2021: f"{head}_{domain}_test_{condition}_{number:04d}",
        }.get(year, f"{head}_{domain}_test_{condition}_{number:04d}_{attr}")
        stem, folder = full, f"{domain}_test" if year == 2021 else "test"
        if part == "eval":
            index = next(anonymous[domain if year == 2021 else "source"]) + first
            stem = {2020: f"{head}_{index:08d}", 2021: f"{head}_{domain}_test_{index:04d}"}.get(
                year, f"{head}_{index:04d}"
            )
            full = full.replace("noAttribute", REVEALED)
        yield Clip("test", folder, stem, full, condition, domain)


def _attribute(year: int, machine: str, domain: str, i: int) -> str:
    if machine in HIDDEN.get(year, "").split():
        return "noAttribute"
    values = ATTRIBUTES.get((year, machine), DEFAULT)[domain == "target"].split()
    return values[i % len(values)]


def _write_truth(folder: Path, year: int, machine: str, section: str, clips: list[Clip]) -> None:
    """The evaluator's folders: rows in no order, line ends of both kinds, attribute files that nothing may use."""
    files: dict[Path, list[str]] = defaultdict(list)
    wrong = year == 2022 and machine in ("ToyCar", "ToyTrain")  # their attribute files contradict the truth
    for clip in [*clips[1:], clips[0]]:
        stem = f"ground_truth_{machine}_section_{section}{f'_{clip.domain}' if year == 2021 else ''}_test.csv"
        name = f"{clip.stem}.wav"
        files[folder / "ground_truth_data" / stem].append(f"{name},{int(clip.condition == 'anomaly')}")
        if year == 2021:
            continue
        files[folder / "ground_truth_domain" / stem].append(f"{name},{int(clip.domain == 'target')}")
        full = clips[-1].full if wrong else clip.full
        if year == 2022:
            files[folder / "ground_truth_attributes" / machine / f"attributes_{section}.csv"].append(
                f"{name},car,A1,{full}.wav"
            )
        else:
            third = f",{REVEALED}" if machine in ("AirCompressor", "HoveringDrone", "ToothBrush") else ""
            files[folder / "ground_truth_attributes" / stem].append(f"{name},{full}{third}")
    for path, lines in files.items():
        _write_text(path, lines, "\r\n" if machine in ("fan", "AirCompressor", "Sander") else "\n")


def _write_attributes(folder: Path, section: str, clips: list[Clip]) -> None:
    with open(folder / f"attributes_{section}.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "d1p", "d1v"])
        writer.writerows([f"{folder.name}/{clip.folder}/{clip.stem}.wav", "spd", "1"] for clip in clips)


def _write_text(path: Path, lines: list[str], end: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + end for line in lines), newline="")


def _write_clip(path: Path, anomalous: bool, stereo: bool, salt: int) -> None:
    """Noise, with a tone in anomalies. stereo: the second channel has a tone too, drawn whatever the condition."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(str(path.relative_to(path.parents[3])).encode()) + salt)
    time = np.arange(SAMPLES) / RATE
    wave = rng.uniform(-0.02, 0.02, SAMPLES) + 0.05 * anomalous * np.sin(2 * np.pi * 3000 * time)
    if stereo:
        far = rng.uniform(-0.02, 0.02, SAMPLES) + 0.5 * np.sin(2 * np.pi * rng.integers(200, 7000) * time)
        wave = np.stack([wave, far], axis=1)
    soundfile.write(path, wave, RATE, subtype="PCM_16")
