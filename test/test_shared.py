"""One network, trained on several years' corpora, used on each of them."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from corpora import write_clip, write_corpus, write_dataset
from stages import NETWORK

from asdkit.bin import (
    extract_embeddings,
    join_years,
    make_lists,
    prepare_data,
    report,
    report_years,
    score,
    share_network,
    train,
)
from asdkit.config import Config, open_config
from asdkit.data.chain import TRAINED_ON, Prepared, check_network
from asdkit.data.lists import read_labels
from asdkit.data.shared import for_protocol
from asdkit.infer.experiment import Experiment
from asdkit.utils.files import read_json

OWN = "dev_data/raw/fan/train/section_00_source_train_normal_0000_spd_0.wav"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Years 2024, scored as 2020 is, and 2025, which has one sound of its own; trained on both, 2025 is shared."""
    root = tmp_path_factory.mktemp("years")
    for year, protocol in (("2024", "dcase2020"), ("2025", "dcase2022")):
        corpus = write_corpus(root / year, train=2, per_test=1)
        dataset = write_dataset(root / f"{year}.yaml", protocol=protocol)
        if year == "2025":
            write_clip(corpus / OWN, seed=1000)
        words = ["--dataset", str(dataset), "--corpus", str(corpus), "--data", str(root / "data" / year)]
        prepare_data.main(words)
    joined, exp = root / "data/both", root / "exp/a"
    join_years.main(["--data", str(root / "data"), "--years", "2024", "2025", "--out", str(joined)])
    (root / "a.yaml").write_text(NETWORK.replace("data: {", "data: {label: year+machine+section+attr, "))
    work = ["--data", str(joined), "--dump", str(root / "dump"), "--exp", str(exp)]
    make_lists.main(["--config", str(root / "a.yaml"), *work])
    train.main([*work, "--device", "cpu"])
    made = SimpleNamespace(root=root, joined=joined, exp=exp, work=work)
    share(made, "2024")
    share(made, "2025")
    return made


def share(made, year: str, *options: str) -> Path:
    """The experiment of a year."""
    own = made.root / "exp" / year / "a"
    data = ["--joined", str(made.joined), "--year", year, "--data", str(made.root / "data" / year)]
    share_network.main(["--trained", str(made.exp), *data, "--exp", str(own), *options])
    return own


def test_a_year_is_embedded_scored_and_reported_with_the_network_of_all(made, capsys):
    data, own = made.root / "data/2025", made.root / "exp/2025/a"
    lists = ["--data", str(data), "--dump", str(made.root / "dump/2025"), "--exp", str(own)]
    extract_embeddings.main([*lists, "--device", "cpu"])
    extract_embeddings.main([*lists, "--merge", "true"])
    score.main(["--data", str(data), "--exp", str(own)])
    report.main(["--data", str(data), "--exp", str(own)])
    result = read_json(own / "seed0/score/knn/results.json")
    assert result["protocol"] == "dcase2022" and set(result["sets"]) == {"dev", "eval"}
    assert result["unheard"] == [] and result["trained_sha256"]
    capsys.readouterr()
    report_years.main(["--exp", str(made.exp), "--years", f"2025={own}"])
    row = "| 2025 |   knn | dcase2022 |"
    assert row in capsys.readouterr().out and row in (made.exp / "YEARS.md").read_text()
    with pytest.raises(ValueError, match="expected YEAR=FOLDER"):
        report_years.main(["--exp", str(made.exp), "--years", "2025"])


def test_labels_follow_the_copies(made):
    joined, own = read_labels(made.exp), read_labels(made.root / "exp/2025/a")
    first = "fan-train-section_00_source_train_normal_0000_spd_0"
    other = "fan-train-section_00_source_train_normal_0001_spd_1"
    assert own[first] == joined[f"2025-{first}"] != joined[f"2024-{first}"]
    assert own[other] == joined[f"2024-{other}"] and f"2025-{other}" not in joined
    assert len(own) == 9 and len(joined) == 10


def test_weights_are_one_and_settings_those_of_the_training(made):
    before = (made.root / "exp/2025/a/labels.tsv").stat().st_mtime_ns
    own = share(made, "2025")
    assert (own / "labels.tsv").stat().st_mtime_ns == before
    weights = own / "seed0/checkpoint/final.pt"
    assert weights.resolve() == made.exp / "seed0/checkpoint/final.pt" and not weights.parent.readlink().is_absolute()
    assert open_config(own / "config.yaml") == open_config(made.exp / "config.yaml")
    assert Experiment.open(own, device="cpu").dataset.name == "tiny"
    machine_ids = open_config(made.root / "exp/2024/a/config.yaml").score["knn"]
    assert machine_ids.per_section and not machine_ids.per_domain
    plain = Config(score={"rdp": {"rescale": {"kind": "variance", "k": 2, "k_target": 1}}})
    assert for_protocol(plain, "dcase2022") == plain
    assert for_protocol(plain, "dcase2020").score["rdp"].rescale.k_target is None
    (made.root / "exp/2026/a/seed0/checkpoint").mkdir(parents=True)
    with pytest.raises(ValueError, match="of a training of its own"):
        share_network.main(
            ["--trained", str(made.exp), "--joined", str(made.joined), "--year", "2025"]
            + ["--data", str(made.root / "data/2025"), "--exp", str(made.root / "exp/2026/a")]
        )


def test_machines_that_no_training_clip_is_of_are_told(made, tmp_path):
    """By content: a machine of the same name in another year is another machine."""
    corpus = write_corpus(tmp_path / "2026", train=2, per_test=1)
    for number, path in enumerate(sorted(corpus.glob("dev_data/raw/fan/train/*"))):
        write_clip(path, seed=2000 + number)
    data = tmp_path / "data"
    dataset = write_dataset(tmp_path / "2026.yaml")
    prepare_data.main(["--dataset", str(dataset), "--corpus", str(corpus), "--data", str(data)])
    own = made.root / "exp/2026b/a"
    where = ["--joined", str(made.joined), "--year", "2026", "--data", str(data), "--exp", str(own)]
    share_network.main(["--trained", str(made.exp), *where])
    config = open_config(own / "config.yaml")
    assert check_network(config, Prepared(data), own, own / "seed0") == ["fan"]
    # What it was trained on is looked for where it was joined, not in the year's data.
    manifest = made.joined / "dev_train/manifest.tsv"
    text = manifest.read_text()
    assert (own / TRAINED_ON).exists()
    manifest.write_text("\n".join(text.splitlines()[:-1]) + "\n")
    try:
        with pytest.raises(ValueError, match=r"labels: made with dev_train|recordings that the network was trained on"):
            check_network(config, Prepared(data), own, own / "seed0")
    finally:
        manifest.write_text(text)


def test_features_dumped_before_and_a_second_microphone_are_refused(made, tmp_path):
    for setting in ("data.feats_type=fbank", "data.reference=complex"):
        with pytest.raises(ValueError, match=r"reference.*run stage 1 again|feats_type has to be raw"):
            make_lists.main(
                ["--config", str(made.root / "a.yaml"), "--set", setting, *made.work[:4], "--exp", str(tmp_path / "b")]
            )
    assert not (tmp_path / "b").exists()
