"""Numbers that other people's programs computed from the same scores, and published totals."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

from asdkit.metrics import auc, harmonic_mean, pauc, without_each
from asdkit.protocols import Clip, evaluate

CONDITIONS = {"0": "normal", "1": "anomaly"}
DOMAINS = {"0": "source", "1": "target"}


def read_pairs(path):
    with open(path, newline="") as file:
        return dict(csv.reader(file))


def read_blocks(path):
    """Machine -> rows of its block of an evaluator's result file, and '' -> what stands outside the blocks."""
    blocks, machine = defaultdict(list), ""
    for row in csv.reader(path.read_text().splitlines()):
        if not row:
            machine = ""
        elif len(row) == 1:
            machine = row[0]
        else:
            blocks[machine].append(row)
    return blocks


def submission(folder, domain_of):
    """Clips of a submission with the ground truth beside it."""
    clips = []
    for path in sorted((folder / "submission").glob("anomaly_score_*.csv")):
        name = path.name.removeprefix("anomaly_score_")
        machine, _, rest = name.partition("_section_")
        truth = read_pairs(folder / "ground_truth_data" / f"ground_truth_{name}")
        domains = domain_of(folder, name, truth)
        clips += [
            Clip(machine, rest[:2], domains[wav], CONDITIONS[truth[wav]], float(score))
            for wav, score in read_pairs(path).items()
        ]
    return clips


def domain_in_name(folder, name, truth):
    return dict.fromkeys(truth, "source" if "_source_" in name else "target")


def domain_in_table(folder, name, truth):
    table = read_pairs(folder / "ground_truth_domain" / f"ground_truth_{name}")
    return {wav: DOMAINS[number] for wav, number in table.items()}


def official(blocks, title):
    return float(next(row for row in blocks[""] if row[0] == title)[2])


def compare_2021(found, blocks):
    """Every row of an evaluator's table of the year 2021; returns how many numbers were compared."""
    values = {(row["machine"], row["section"]): row["values"] for row in found["sections"]}
    count = 0
    for machine, rows in blocks.items():
        for section, domain, *numbers in rows:
            if machine and domain in ("source", "target"):
                own = values[machine, section]
                assert own[f"auc_{domain}"] == pytest.approx(float(numbers[0]), abs=1e-12)
                assert own[f"pauc_{domain}"] == pytest.approx(float(numbers[1]), abs=1e-12)
                count += 2
    return count


def test_2021_evaluator(test_data):
    folder = test_data / "golden/metrics/dcase2021"
    found, blocks = (
        evaluate(submission(folder, domain_in_name), "dcase2021"),
        read_blocks(folder / "official_result.csv"),
    )
    assert compare_2021(found, blocks) == 84
    assert found["official"] == pytest.approx(official(blocks, "official score"), abs=1e-12)
    assert found["official"] == pytest.approx(0.7344698360874852, abs=1e-12)


def test_2022_evaluator(test_data):
    folder = test_data / "golden/metrics/dcase2022"
    found, blocks = (
        evaluate(submission(folder, domain_in_table), "dcase2022"),
        read_blocks(folder / "official_result.csv"),
    )
    count = 0
    for row in found["sections"]:
        expected = next(r for r in blocks[row["machine"]] if r[0] == row["section"])
        ours = [row["extras"]["auc_all"], *row["values"].values()]
        assert ours == pytest.approx(list(map(float, expected[1:5])), abs=1e-12)
        count += len(ours)
    assert count == 84
    assert found["official"] == pytest.approx(official(blocks, "official score"), abs=1e-12)
    assert found["official"] == pytest.approx(0.7540150560302293, abs=1e-12)


def test_2022_evaluators_interval_is_the_spread_of_the_scores_without_each_clip(test_data):
    """It prints t * (standard error of the mean of the delete-one values); a jackknife's width is n - 1 times it."""
    folder = test_data / "golden/metrics/dcase2022"
    clips = submission(folder, domain_in_table)
    scores = np.array([clip.score for clip in clips])
    anomalous = np.array([clip.condition == "anomaly" for clip in clips])
    values = without_each(scores, anomalous), without_each(scores, anomalous, 0.1)
    half = [student.ppf(0.975, len(clips) - 1) * np.std(v, ddof=1) / np.sqrt(len(clips)) for v in values]
    blocks = read_blocks(folder / "official_result.csv")
    assert np.mean(half) == pytest.approx(official(blocks, "official score ci95"), rel=1e-9)


@pytest.mark.parametrize("system", ["autoencoder", "mobilenetv2"])
def test_2021_baselines(test_data, system):
    folder = test_data / f"golden/metrics/baseline_scores/dcase2021_{system}"
    clips = []
    for path in sorted(folder.glob("anomaly_score_*.csv")):
        machine, _, rest = path.stem.removeprefix("anomaly_score_").partition("_section_")
        domain = rest.split("_")[1]
        clips += [
            Clip(machine, rest[:2], domain, "anomaly" if "_anomaly_" in wav else "normal", float(score))
            for wav, score in read_pairs(path).items()
        ]
    found, blocks = evaluate(clips, "dcase2021"), read_blocks(folder / "result.csv")
    assert compare_2021(found, blocks) == 84
    overall = next(row for row in blocks[""] if row[0].startswith("harmonic mean over all"))
    aucs = [v for row in found["sections"] for name, v in row["values"].items() if name.startswith("auc")]
    assert harmonic_mean(aucs) == pytest.approx(float(overall[2]), abs=1e-12)


def test_2020_baseline(test_data):
    folder = test_data / "golden/metrics/baseline_scores/dcase2020_ToyCar"
    clips = []
    for path in sorted(folder.glob("anomaly_score_*.csv")):
        clips += [
            Clip("ToyCar", path.stem[-2:], "-", "anomaly" if wav.startswith("anomaly_") else "normal", float(score))
            for wav, score in read_pairs(path).items()
        ]
    found, rows = evaluate(clips, "dcase2020"), read_blocks(folder / "result.csv")["ToyCar"][1:]
    ours = {row["section"]: row["values"] for row in found["sections"]} | {"Average": found["machines"][0]["values"]}
    assert len(rows) == len(ours) == 5
    for section, *numbers in rows:
        assert list(ours[section].values()) == pytest.approx(list(map(float, numbers)), abs=1e-12)


PUBLISHED = {
    ("2023", "MSE"): 0.5925469,
    ("2023", "MAHALA"): 0.6105082,
    ("2024", "MSE"): 0.5650830,
    ("2024", "MAHALA"): 0.5648933,
    ("2025", "MSE"): 0.5442828,
    ("2025", "MAHALA"): 0.5650558,
    ("2026", "MSE"): 0.5980290,
    ("2026", "MAHALA"): 0.5476277,
}


def unround(pauc_percent):
    """The pAUC of 100 normal and 100 anomalous clips without ties that rounds to this: its area is k / 100^2."""
    k = round(((2 * pauc_percent / 100 - 1) * 0.095 + 0.005) * 1e4)
    return (1 + (k / 1e4 - 0.005) / 0.095) / 2


@pytest.mark.parametrize("year, system", PUBLISHED)
def test_published_totals(year, system):
    """Tables of the organisers' baselines have two decimals; from 2024 on all sections have 100 + 100 clips."""
    with open(Path(__file__).parent / "golden/published_baselines.tsv", newline="") as file:
        rows = [r for r in csv.DictReader(file, delimiter="\t") if (r["year"], r["system"]) == (year, system)]
    assert len(rows) == {"2023": 7, "2024": 9, "2025": 8, "2026": 5}[year]
    paucs = [float(r["pauc"]) / 100 if year == "2023" else unround(float(r["pauc"])) for r in rows]
    assert [round(100 * p, 2) for p in paucs] == [float(r["pauc"]) for r in rows]
    values = paucs + [float(r[name]) / 100 for r in rows for name in ("auc_source", "auc_target")]
    precision = 5e-6 if year == "2023" else 5.1e-8
    assert harmonic_mean(values) == pytest.approx(PUBLISHED[year, system], abs=precision)


def test_pauc_of_the_unrounded_grid_exists():
    """`unround` names values that pauc does return."""
    rng = np.random.default_rng(0)
    scores, anomalous = rng.permutation(200).astype(float), np.repeat([0, 1], 100)
    value = pauc(scores, anomalous)
    assert unround(round(100 * value, 2)) == pytest.approx(value, abs=1e-12)
    assert auc(scores, anomalous) * 1e4 == pytest.approx(round(auc(scores, anomalous) * 1e4), abs=1e-9)
