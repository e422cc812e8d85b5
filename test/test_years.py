"""The recipes of the challenge years: every file of them loads, and says what the organisers and the paper say."""

import re
import subprocess
from pathlib import Path
from statistics import fmean, harmonic_mean

import pytest

from asdkit.bin import download as program
from asdkit.config import load_config
from asdkit.corpus.description import load_description
from asdkit.fetch.records import archives, load_plan, truth_path
from asdkit.report.published import System, load_published

ROOT = Path(__file__).parents[1]
RECIPES = sorted(path for path in (ROOT / "egs").glob("dcase2*") if (path / "run.sh").exists())
YEARS = [int(path.name.removeprefix("dcase")) for path in RECIPES]
DEV = {"bearing", "fan", "gearbox", "slider", "valve", "ToyCar", "ToyTrain"}
MACHINES = {
    2020: ({"fan", "pump", "slider", "valve", "ToyCar", "ToyConveyor"},) * 2,
    2021: ({"fan", "gearbox", "pump", "slider", "valve", "ToyCar", "ToyTrain"},) * 2,
    2022: (DEV, DEV),
    2023: (DEV, {"bandsaw", "grinder", "shaker", "ToyDrone", "ToyNscale", "ToyTank", "Vacuum"}),
    2024: (
        DEV,
        {"3DPrinter", "AirCompressor", "BrushlessMotor", "HairDryer", "HoveringDrone", "RoboticArm", "Scanner"}
        | {"ToothBrush", "ToyCircuit"},
    ),
    2025: (
        DEV,
        {"AutoTrash", "BandSealer", "CoffeeGrinder", "HomeCamera", "Polisher", "ScrewFeeder", "ToyPet", "ToyRCCar"},
    ),
    2026: (
        {"ToyCar", "ToyCarEmu", "bearingEmu", "fan", "gearboxEmu", "sliderEmu", "valveEmu"},
        {"BlowerDustCollector", "Sander", "SewingMachine", "ToothBrush", "ToyDrone"},
    ),
}
RECORDS = {
    2020: [3678171, 3727685, 3841772],
    2021: [4562016, 4660992, 4884786],
    2022: [6355122, 6462969, 6586456],
    2023: [7882613, 7830345, 7860847],
    2024: [10902294, 11259435, 11363076],
    2025: [15097779, 15392814, 15519362],
    2026: [19336329, 20151556, 20437238],
}
NAMES = {  # of the archives of one machine of each set
    2020: ["dev_data_fan.zip", "eval_data_train_fan.zip", "eval_data_test_fan.zip"],
    2021: ["dev_data_fan.zip", "eval_data_fan_train.zip", "eval_data_fan_test.zip"],
    2022: ["dev_fan.zip", "eval_data_fan_train.zip", "eval_data_fan_test.zip"],
    2023: ["dev_fan.zip", "eval_data_Vacuum_train.zip", "eval_data_Vacuum_test.zip"],
    2024: ["dev_fan.zip", "eval_data_3DPrinter_train_r2.zip", "eval_data_3DPrinter_test.zip"],
    2025: ["dev_fan.zip", "eval_data_ToyPet_train.zip", "eval_data_ToyPet_test.zip"],
    2026: ["dev_ToyCar_r2.zip", "eval_data_Sander_train.zip", "eval_data_Sander_test.zip"],
}
FROZEN = ["beats_frozen", "beats_frozen_bands", "beats_frozen_density"]
WITH_DLCL = {2024, 2025, 2026}


def recipe(year: int) -> Path:
    return ROOT / "egs" / f"dcase{year}"


def default_config(year: int) -> str:
    return "beats_lora_ga_dlcl" if year in WITH_DLCL else "beats_lora_ga"


def test_all_years_are_here() -> None:
    assert YEARS == list(MACHINES) == list(range(2020, 2027))


@pytest.mark.parametrize("year", YEARS)
def test_description(year: int) -> None:
    description = load_description(recipe(year) / "conf/dataset.yaml")
    style = f"dcase{min(year, 2022)}"
    assert (description.name, description.name_style, description.protocol) == (f"dcase{year}", style, style)
    sets = (description.sets.dev, description.sets.eval)
    assert all(len(part.machines) == len(set(part.machines)) for part in sets)
    assert tuple(set(part.machines) for part in sets) == MACHINES[year]
    assert [part.path for part in sets] == ["dev_data", "eval_data"]
    assert description.channel == (0 if year == 2026 else None)
    assert description.sample_rate == 16000 and not description.resample
    assert description.ground_truth is not None


@pytest.mark.parametrize("year", YEARS)
def test_download(year: int, capsys: pytest.CaptureFixture[str]) -> None:
    folder = recipe(year) / "conf"
    description = load_description(folder / "dataset.yaml")
    plan = load_plan(str(folder / "download.yaml"))
    found = archives(plan, description, None, "plan")
    dev, evaluation = MACHINES[year]
    assert len(found) == len(dev) + 2 * len(evaluation)
    assert list(dict.fromkeys(archive.record for archive in found)) == RECORDS[year]
    assert set(NAMES[year]) <= {archive.name for archive in found}
    assert {archive.folder for archive in found} == {"dev_data", "eval_data"}
    truth = plan.ground_truth
    assert truth.licence and plan.licence
    assert str(truth_path(plan, description, "plan")).endswith(".csv") == bool(
        truth.file or any(path.endswith(".csv") for path in truth.paths)
    )
    assert not any("attributes" in path for path in truth.paths)  # they reveal what training names hide
    files = ["--download", str(folder / "download.yaml"), "--dataset", str(folder / "dataset.yaml")]
    program.main([*files, "--dry-run", "true"])
    printed = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("https://zenodo.org/api/records/") for line in printed) == len(found) + (year == 2020)


def test_replaced_archives() -> None:
    replaced = {}
    for year in YEARS:
        plan = load_plan(str(recipe(year) / "conf/download.yaml"))
        for group in (plan.dev, plan.eval_train, plan.eval_test):
            replaced |= {(year, machine): name for machine, name in group.replaced.items()}
    assert replaced == {
        (2024, "3DPrinter"): "eval_data_3DPrinter_train_r2.zip",
        (2024, "RoboticArm"): "eval_data_RoboticArm_train_r2.zip",
        (2026, "ToyCar"): "dev_ToyCar_r2.zip",
    }


@pytest.mark.parametrize("year", YEARS)
def test_papers_system(year: int) -> None:
    config = load_config(recipe(year) / f"conf/{default_config(year)}.yaml")
    assert config.encoder.name == "beats" and config.encoder.checkpoint and not config.encoder.train
    assert (config.data.chunk_seconds, config.train.batch_size, config.train.lr) == (2.0, 32, 1e-4)
    assert (config.train.warmup_steps, config.train.steps) == (960, 60000)
    lora, adapter, dlcl = config.model.lora, config.model.group_adapter, config.loss.dlcl
    assert (lora.rank, lora.branches, lora.fully_connected) == (32, 8, True)
    assert (adapter.groups, adapter.position, adapter.temperature) == (32, "mha", 0.1)
    assert bool(dlcl) == (year in WITH_DLCL)
    if dlcl:
        assert (dlcl.weight, dlcl.temperature, dlcl.codes) == (1.0, 0.1, 64)
    assert config.data.sets == ["dev_train", "eval_train"]
    assert (config.score["knn"].detector, config.score["knn"].k) == ("knn", 1)


@pytest.mark.parametrize("year", YEARS)
def test_experiments(year: int) -> None:
    configs = {path.stem: load_config(path) for path in sorted((recipe(year) / "conf").glob("beats*.yaml"))}
    trained = default_config(year)
    assert set(configs) == {trained, f"{trained}_bands", "beats_full", *FROZEN}
    for name, config in configs.items():
        # 2020: ids instead of domains and attributes
        assert config.data.label == ("machine+section" if year == 2020 else "machine+section+attr")
        assert all(score.per_section == (year == 2020) for score in config.score.values())
        assert "knn" not in config.score or config.score["knn"].per_domain == (year != 2020)
        first = (recipe(year) / f"conf/{name}.yaml").read_text().splitlines()[0]
        assert first == ("# ./run.sh" if name == default_config(year) else f"# ./run.sh --config conf/{name}.yaml")
    full = configs["beats_full"]
    assert full.encoder.train and full.model.lora is None and full.train.steps == 60000
    for frozen in (configs[name] for name in FROZEN):
        assert frozen.train.steps == 0 and not frozen.encoder.train and frozen.model.lora is None
        assert frozen.model.pooling == "mean" and frozen.model.embedding_dim is None


def test_what_the_papers_authors_did_in_2025():
    config = load_config(recipe(2025) / "conf/zheng2025.yaml")
    assert config.encoder.train and config.data.chunk_seconds == 10 and config.model.pooling == "attentive"
    assert (config.loss.aam.scale, config.loss.aam.margin, config.loss.aam.centres) == (30, 0.2, 16)
    assert (config.train.steps, config.train.warmup_steps, config.train.batch_size) == (30000, 360, 256)
    assert config.train.accumulate == 8
    noise, masks = config.train.noise, config.train.specaugment
    assert (noise.source, noise.probability, noise.snr_low, noise.snr_high) == ("supplemental", 0.5, 5, 20)
    assert (masks.time_width, masks.freq_width) == (80, 80)


@pytest.mark.parametrize("year", YEARS)
def test_the_papers_system_is_scored_by_bands_too(year: int) -> None:
    names = (default_config(year), f"{default_config(year)}_bands", FROZEN[1])
    trained, both, bands = (load_config(recipe(year) / f"conf/{name}.yaml") for name in names)
    assert both.model_copy(update={"embed": trained.embed, "score": trained.score}) == trained
    assert both.embed == bands.embed and both.score == trained.score | bands.score


@pytest.mark.parametrize("year", YEARS)
def test_frozen_encoders_are_scored_as_published(year: int) -> None:
    """The settings of what conf/published.yaml holds of them."""
    bands, density = (load_config(recipe(year) / f"conf/{name}.yaml") for name in FROZEN[1:])
    for gamma in (4, 8):
        how, score = bands.embed.arrays[f"rdp{gamma}"], bands.score[f"rdp{gamma}"]
        assert (how.pooling, how.gamma, how.weights, how.bands) == ("rdp", gamma, "band", True)
        assert (score.array, score.k, score.distance, score.join) == (f"rdp{gamma}", 1, "cosine", "mean")
        assert (score.rescale.kind, score.rescale.k, score.per_domain) == ("variance", 4, False)
    how = density.embed.arrays["hybrid"]
    assert (how.pooling, how.gamma, how.p, how.weights, how.bands) == ("hybrid", 16, 3, "frame", True)
    kinds = {"density": ("log_variance", 1, False), "ratio": ("ratio", 1, False), "domains": ("ratio", 16, True)}
    for name, score in density.score.items():
        assert (score.array, score.k, score.distance, score.join) == ("hybrid", 1, "euclid", "coupled")
        assert (score.rescale.kind, score.rescale.k, score.per_domain) == kinds[name]
    assert ("domains" in density.score) == (year != 2020)
    if year != 2020:
        assert (density.score["domains"].rescale.k_target, density.score["domains"].rescale.total) == (9, True)


@pytest.mark.parametrize("year", YEARS)
def test_run(year: int, tmp_path: Path) -> None:
    """All stages, started from elsewhere: the right experiment, stage 0 only when asked for, options passed on."""
    command = [recipe(year) / "run.sh", "--dry-run", "--corpus", "a b"]
    done = subprocess.run([*command, "--stage", "0"], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert f"exp/{default_config(year)}/" in done.stdout
    fetch = "asdkit.bin.download --download conf/download.yaml --dataset conf/dataset.yaml --out a\\ b\n"
    assert fetch in done.stdout
    assert [int(stage) for stage in re.findall(r"^# stage (\d)", done.stdout, re.M)] == list(range(7))
    plain = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert "asdkit.bin.download" not in plain.stdout
    script = (recipe(year) / "run.sh").read_text()
    assert len(script.splitlines()) <= 12 and script.endswith('"$@"\n')


@pytest.mark.parametrize("year", YEARS)
def test_readme(year: int) -> None:
    text = (recipe(year) / "README.md").read_text()
    missing = [machine for machine in set.union(*MACHINES[year]) if machine not in text]
    assert not missing and "no full year was run here" in text and "local server" in text
    assert ("./run.sh --revealed-attributes DIR/" in text) == (year in (2024, 2025))


def parts(system: System, systems: list[System]) -> list[float]:
    """What the system's total should be the mean of."""
    if system.set != "all":
        return [value for one in system.machines.values() if (value := one.mean or one.hmean) is not None]
    sets = [one for one in systems if (one.name, one.source) == (system.name, system.source) and one.set != "all"]
    return [one.official for one in sets] if len(sets) == 2 else []


@pytest.mark.parametrize("year", YEARS)
def test_published_totals_follow_from_their_parts(year: int) -> None:
    """Within rounding of the parts and the total; where not, the file says what follows instead."""
    systems = load_published(recipe(year) / "conf/published.yaml")
    assert len({(one.name, one.source, one.set) for one in systems}) == len(systems)
    mean = fmean if year == 2020 else harmonic_mean
    checked = 0
    for system in systems:
        values = parts(system, systems)
        if not values or system.official is None:
            assert system.recomputed is None, system.name
            continue
        expected = system.official if system.recomputed is None else system.recomputed
        assert mean(values) == pytest.approx(expected, abs=0.0102), (system.name, system.set)
        assert system.recomputed is None or abs(system.recomputed - system.official) >= 0.01, system.name
        checked += 1
    assert checked >= (4 if year < 2025 else 2)


@pytest.mark.parametrize("year", YEARS)
def test_published_machines(year: int) -> None:
    for system in load_published(recipe(year) / "conf/published.yaml"):
        dev, evaluation = MACHINES[year]
        expected = {"dev": dev, "eval": evaluation, "all": set()}[system.set]
        assert set(system.machines) in (expected, set()), system.name
        for machine, one in system.machines.items():
            if one.hmean and one.auc_source:
                values = [one.auc_source, one.auc_target, one.pauc]
                assert harmonic_mean(values) == pytest.approx(one.hmean, abs=0.0102), (system.name, machine)


@pytest.mark.parametrize(
    "year, name, set_, official",
    [
        (2020, "BEATs, FC-LoRA, group adapter", "all", 93.05),
        (2021, "BEATs, FC-LoRA, group adapter", "eval", 67.59),
        (2021, "Official baseline, the better of two", "eval", 56.38),
        (2022, "BEATs, FC-LoRA, group adapter", "dev", 72.43),
        (2023, "BEATs, FC-LoRA, group adapter", "eval", 73.70),
        (2023, "Official baseline AE, Mahalanobis", "eval", 61.05),
        (2024, "BEATs, FC-LoRA, group adapter, DLCL", "all", 65.50),
        (2024, "BEATs, fully fine-tuned", "dev", 62.42),
        (2024, "2024 No.1 (challenge winner)", "eval", 66.24),
        (2025, "Official baseline AE, Mahalanobis", "eval", 56.51),
        (2026, "Official baseline AE, MSE", "eval", 59.80),
        (2026, "2026 No.1 (challenge winner)", "eval", 70.24),
        (2025, "2025 No.1 (challenge winner)", "eval", 61.60),
        (2025, "BEATs, hybrid pooling, density, nothing trained", "eval", 62.40),
        (2023, "BEATs, LoRA", "eval", 71.46),
    ],
)
def test_published_figures(year: int, name: str, set_: str, official: float) -> None:
    systems = load_published(recipe(year) / "conf/published.yaml")
    assert [one.official for one in systems if (one.name, one.set) == (name, set_)] == [official]


@pytest.mark.parametrize(
    "text, message",
    [
        ("system: []", "expected one key 'systems'"),
        ("systems: {}", "expected one key 'systems'"),
        ("systems: [{name: a, source: b, set: test, official: 1.0}]", "systems[0] (a): set"),
        ("systems: [{name: a, source: b, set: dev}]", "neither 'official' nor 'machines'"),
        ("systems: [{name: a, set: dev, official: 50.0}]", "source"),
        ("systems: [{name: a, source: b, set: dev, official: 5000.0}]", "official"),
        ("systems: [{name: a, source: b, set: dev, official: x}]", "official"),
        ("systems: [{name: a, source: b, set: dev, oficial: 50.0}]", "unknown key 'oficial'. Did you mean 'official'"),
        ("systems: [{name: a, source: b, set: dev, machines: {fan: {hmaen: 5.0}}}]", "machines.fan: unknown key"),
        ("systems: [{name: a, source: b, set: dev, machines: {fan: {}}}]", "machines.fan: expected one figure"),
        ("systems: [{name: a, source: b, set: dev, machines: [fan]}]", "below 'machines'"),
        ("systems: [a]", "systems[0]: expected"),
    ],
)
def test_faults_of_published(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "published.yaml").write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        load_published(tmp_path / "published.yaml")


def test_no_year_in_the_code() -> None:
    """A year belongs to egs/; in code, years stand in names of protocols and name styles and of cited papers alone."""
    # dcase2021, _2020 (the pattern of a style); "Wang et al., 2022", "Wang, 2022", "'BEATs: ...', ICML 2023";
    # shellcheck's SC2034; line ends of JavaScript, u2028 and u2029
    cited = r"et al\.[^)]*?20\d\d|\b[A-Z][a-z]+,? 20\d\d|'[^']*', [A-Z]+ 20\d\d"
    allowed = re.compile(r"\b(?:dcase20\d\d|u202[89]|SC\d{4})\b|_20\d\d\b|" + cited)
    year = re.compile(r"(?<![\d.])(?!2048)20[2-9]\d(?![\d.])")
    found, files = [], 0
    for path in sorted([*(ROOT / "asdkit").rglob("*.py"), *(ROOT / "utils").iterdir()]):
        if path.is_file():
            files += 1
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if year.search(allowed.sub("", line)):
                    found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert files > 40
    assert found == []
