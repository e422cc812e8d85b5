"""Each stage says that the disk is too small before it has worked for nothing."""

import re

import kaldiio
import pytest
from test_pipeline import Recipe, corpus  # noqa: F401 - a fixture

from asdkit.bin import extract_feats
from asdkit.utils import files


@pytest.fixture
def disk(monkeypatch):
    """A disk whose free bytes the test sets; it has room without end at first."""
    usage = type("Usage", (), {"free": 10**15})
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage)
    return usage


def asked(error) -> float:
    """The bytes that the message asks for."""
    return 1e6 * float(re.search(r"needs (\d+\.\d) MB", str(error.value))[1])


def replaced(recipe, old, new):
    """The recipe, with another text in its configuration."""
    path = recipe.exp / "config.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return recipe


def test_stages_2_to_4_ask_for_what_they_write(corpus, tmp_path, disk):  # noqa: F811
    recipe = Recipe(tmp_path, corpus, "model.embedding_dim=4096", "train.save_steps=[1,2]", "data.feats_type=fbank")
    dumped = sorted(tmp_path.rglob("feats.*.ark"))
    sizes: dict = {}
    for path in dumped:
        sizes[path.parents[1].name] = sizes.get(path.parents[1].name, 0) + path.stat().st_size
    disk.free = 100
    for job, part in ((1, 1), (2, 0.5)):
        again = ["--num-jobs", "2", "--job", str(job), "--force", "true"]
        with pytest.raises(ValueError, match=r"dump/\S+: needs \S+ MB for features, 0\.0 MB are free\. Make") as error:
            extract_feats.main([*recipe.work, *again])
        first = next(iter(sizes.values()))
        assert asked(error) == pytest.approx(part * first, rel=0.1, abs=1e5)

    disk.free = 10**15
    for last in (["--job", "1"], ["--job", "2"], ["--merge", "true"]):
        extract_feats.main([*recipe.work, "--num-jobs", "2", *last])
    disk.free = 100
    with pytest.raises(ValueError, match=r"checkpoint: needs .* for checkpoints, .*--expdir") as error:
        recipe.train()
    assert not list(recipe.exp.rglob("*.pt"))
    with_average = replaced(recipe, "checkpoint: final", "checkpoint: average")
    with pytest.raises(ValueError) as more:
        with_average.train()
    replaced(recipe, "checkpoint: average", "checkpoint: final")
    disk.free = 10**15
    recipe.train()
    written = sum(path.stat().st_size for path in recipe.exp.rglob("*.pt"))
    assert written < asked(error) < 2 * written
    final = (recipe.exp / "seed0/checkpoint/final.pt").stat().st_size
    assert asked(more) - asked(error) == pytest.approx(final, rel=0.2, abs=2e5)  # average.pt

    disk.free = 100
    with pytest.raises(ValueError, match=r"embed/\S+: needs .* for arrays, in shards and merged, 0\.0 MB") as error:
        recipe.embed()
    disk.free = 10**15
    name, table = next(iter(recipe.embed().items()))
    size = sum(value.nbytes for value in table.values())
    assert asked(error) == pytest.approx(2 * size, abs=1e5)
    assert kaldiio.load_scp(str(recipe.exp / f"seed0/embed/{name}/embedding.scp"))


def test_a_resumed_training_asks_for_less(corpus, tmp_path, disk):  # noqa: F811
    recipe = Recipe(tmp_path, corpus, "train.save_steps=[1,2,3]")
    disk.free = 100
    with pytest.raises(ValueError, match="for checkpoints") as whole:
        recipe.train()
    disk.free = 10**15
    recipe.train()
    for name in (".done", "final.pt", "step3.pt"):
        (recipe.exp / "seed0/checkpoint" / name).unlink()
    disk.free = 100
    with pytest.raises(ValueError, match="for checkpoints") as rest:
        recipe.train()
    assert 0 < asked(rest) < asked(whole) / 2
