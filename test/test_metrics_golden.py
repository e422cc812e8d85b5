"""Numbers that other people's programs computed from the same scores, and published totals."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

from asdkit.metrics import harmonic_mean, without_each
from asdkit.protocols import ScoredClip, evaluate
from asdkit.report.published import load_published

ROOT = Path(__file__).parents[1]

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
            ScoredClip(machine, rest[:2], domains[wav], CONDITIONS[truth[wav]], float(score))
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
            ScoredClip(machine, rest[:2], domain, "anomaly" if "_anomaly_" in wav else "normal", float(score))
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
            ScoredClip("ToyCar", path.stem[-2:], "-", CONDITIONS[str(int(wav.startswith("anomaly_")))], float(score))
            for wav, score in read_pairs(path).items()
        ]
    found, rows = evaluate(clips, "dcase2020"), read_blocks(folder / "result.csv")["ToyCar"][1:]
    ours = {row["section"]: row["values"] for row in found["sections"]} | {"Average": found["machines"][0]["values"]}
    assert len(rows) == len(ours) == 5
    for section, *numbers in rows:
        assert list(ours[section].values()) == pytest.approx(list(map(float, numbers)), abs=1e-12)


PUBLISHED = {  # official scores of the organisers' baselines, as their evaluators' READMEs print them
    ("2023", "MSE"): 0.5925469043549957,
    ("2023", "MAHALA"): 0.6105082186925268,
    ("2024", "MSE"): 0.5650830191796572,
    ("2024", "MAHALA"): 0.5648933421610234,
    ("2025", "MSE"): 0.5442827820713174,
    ("2025", "MAHALA"): 0.5650558189601554,
    ("2026", "MSE"): 0.5980289616592438,
    ("2026", "MAHALA"): 0.5476277174340481,
}
NAMES = {"MSE": "Official baseline AE, MSE", "MAHALA": "Official baseline AE, Mahalanobis"}


@pytest.mark.parametrize("year, system", PUBLISHED)
def test_published_totals(year, system):
    """From the figures of each machine in the same READMEs; the recipe's published.yaml has them rounded."""
    with open(Path(__file__).parent / "golden/published_baselines.tsv", newline="") as file:
        rows = [r for r in csv.DictReader(file, delimiter="\t") if (r["year"], r["system"]) == (year, system)]
    values = {r["machine"]: {name: float(r[name]) for name in ("auc_source", "auc_target", "pauc")} for r in rows}
    assert len(values) == len(rows) == {"2023": 7, "2024": 9, "2025": 8, "2026": 5}[year]
    total = harmonic_mean([value for machine in values.values() for value in machine.values()])
    assert total == pytest.approx(PUBLISHED[year, system], abs=1e-12)
    (recipe,) = [
        one
        for one in load_published(ROOT / f"egs/dcase{year}/conf/published.yaml")
        if (one.name, one.set) == (NAMES[system], "eval")
    ]
    assert recipe.official == round(100 * total, 2) and set(recipe.machines) == set(values)
    for machine, own in values.items():
        assert {name: getattr(recipe.machines[machine], name) for name in own} == {
            name: round(100 * value, 2) for name, value in own.items()
        }
