"""The studies of egs/dcase2024 and egs/mini, on small corpora laid out like theirs, with a tiny encoder."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from corpora import ROOT, write_clip, write_truth
from recipe import environment, make_corpus

from asdkit.bin import study
from asdkit.report.study import load_study

PAPER = ("table4", "table5", "table11", "fig5", "fig6", "fig7")
STUDIES = {"dcase2024": PAPER, "mini": (*PAPER, "training"), "custom": ("training",)}
TINY = (
    "encoder={name: beats, train: true, arch: {encoder_layers: 1, encoder_embed_dim: 16, encoder_ffn_embed_dim: 16, "
    "encoder_attention_heads: 2, embed_dim: 8, conv_pos: 4, conv_pos_groups: 2}}",
    "data.chunk_seconds=0.5",
    "train={steps: 2, batch_size: 8, warmup_steps: 0, save_steps: [1]}",
)
HIDDEN = {"gearbox", "slider", "ToyTrain", "AirCompressor", "BrushlessMotor", "HoveringDrone", "ToothBrush"}


def write_year(folder: Path) -> Path:
    """DCASE 2024 in small: its machines, those without attributes, anonymous test clips of the evaluation set."""
    sets = yaml.safe_load((ROOT / "egs/dcase2024/conf/dataset.yaml").read_text())["sets"]
    seed = 0
    for name, own in sets.items():
        for machine in own["machines"]:
            truth = []
            for domain, clips in (("source", 4), ("target", 2)):
                for number in range(clips):
                    attr = "noAttribute" if machine in HIDDEN else f"vel_{number % 2}"
                    clip = f"section_00_{domain}_train_normal_{number:04d}_{attr}.wav"
                    write_clip(folder / own["path"] / machine / "train" / clip, 0.6, seed=(seed := seed + 1))
            for domain in ("source", "target"):
                for condition in ("normal", "anomaly"):
                    clip = f"section_00_{domain}_test_{condition}_0000.wav"
                    if name == "eval":
                        clip = f"section_00_{len(truth):04d}.wav"
                        truth.append((clip, int(condition == "anomaly"), int(domain == "target")))
                    write_clip(folder / own["path"] / machine / "test" / clip, 0.6, seed=(seed := seed + 1))
            if truth:
                write_truth(folder / "ground_truth", machine, truth)
    return folder


def start(recipe: str, folder: Path) -> Path:
    """A copy of a recipe in which its studies run; recordings of any number are taken."""
    for name in ("utils", "asdkit"):
        (folder / name).symlink_to(ROOT / name)
    for name in {recipe, "dcase2024"}:
        shutil.copytree(
            ROOT / "egs" / name, folder / "egs" / name, ignore=shutil.ignore_patterns("exp", "data", "dump")
        )
    dataset = folder / "egs" / recipe / "conf/dataset.yaml"
    dataset.write_text(re.sub(r"counts: .*", "counts: null", dataset.read_text()))
    return folder / "egs" / recipe


def run(place: Path, corpus: Path, name: str, *options: str) -> subprocess.CompletedProcess:
    """One study with one seed."""
    words = [word for change in TINY for word in ("--set", change)]
    command = ["bash", "study.sh", name, *words, "--corpus", str(corpus), "--num-threads", "1", "--nj", "1", *options]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=3000, env=environment())


@pytest.mark.parametrize("recipe", STUDIES)
def test_every_study_finds_what_to_run(recipe, monkeypatch, capsys):
    """With an encoder that needs no file, every experiment of every study is one that stage 2 would take."""
    monkeypatch.chdir(ROOT / "egs" / recipe)
    words = [word for change in TINY for word in ("--set", change)]
    for name in STUDIES[recipe]:
        file = f"conf/study/{name}.yaml"
        study.main(["--study", file, "--exp", "nowhere", "--list", "true", *words])
        found = capsys.readouterr()
        tags = [line.split("\t")[0] for line in found.out.splitlines()]
        assert tags == list(dict.fromkeys(row.tag for row in load_study(file).rows if row.tag))
        assert found.err == ""


@pytest.mark.long
@pytest.mark.parametrize("recipe", ["dcase2024", "mini"])
def test_every_study_runs(recipe, tmp_path):
    place = start(recipe, tmp_path)
    corpus = write_year(tmp_path / "corpus") if recipe == "dcase2024" else make_corpus(tmp_path / "corpus")
    for name in STUDIES[recipe]:
        dry = run(place, corpus, name, "--dry-run")
        tags = {row.tag for row in load_study(place / f"conf/study/{name}.yaml").rows if row.tag}
        new = dry.stderr.count("is there") < len(tags)  # studies share experiments
        assert dry.returncode == 0 and ("asdkit.bin.train" in dry.stdout) == new, dry.stderr
        assert ("asdkit.bin.steps" in dry.stdout) == (name == "fig5")
        done = run(place, corpus, name)
        assert done.returncode == 0, done.stdout + done.stderr
        text = (place / f"exp/{name}.md").read_text()
        rows = [row for row in load_study(place / f"conf/study/{name}.yaml").rows if row.tag]
        if name.startswith("table"):
            assert len(re.findall(r"here, 1 seed \|( +\d+\.\d\d \|){3}", text)) == len(rows)
        elif name == "training":
            assert len(re.findall(r"\| +1 \|( +\d+\.\d\d \| +(-|[-+]\d+\.\d\d) \|){3}", text)) == len(rows)
        else:
            assert (place / f"exp/{name}.pdf").exists() and re.search(r"\d+\.\d", text)
        again = run(place, corpus, name)
        assert again.returncode == 0 and again.stderr.count("is there") == len(rows)
