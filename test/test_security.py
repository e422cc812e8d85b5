"""SECURITY.md: what it promises and no other test shows."""

import re
import shutil

import numpy as np
import pytest
from corpora import ROOT, write_clip
from test_years_e2e import run

from asdkit.signals.numpy_file import open_npy, open_npz

TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
LOGMEL = (
    *("--set", "encoder={name: logmel}", "--set", "model={pooling: mean, embedding_dim: null}"),
    *("--set", "embed.arrays={}", "--set", "score={knn: {}}"),
)


def test_each_promise_names_its_test():
    named = re.findall(r"`(?:(test_\w+\.py)::)?(test_\w+)`", TEXT)
    assert len(named) > 12 and named[0][0]
    file = ""
    for path, name in named:
        file = path or file
        assert re.search(rf"^def {name}\(", (ROOT / "test" / file).read_text(encoding="utf-8"), re.MULTILINE), name


def test_objects_in_a_numpy_file_are_refused(tmp_path):
    objects = np.array([{"a": 1}, {"b": 2}], dtype=object)
    np.save(tmp_path / "x.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=objects)
    for opened in (open_npy(tmp_path / "x.npy", None), open_npz(tmp_path / "x.npz", "x")):
        with pytest.raises(ValueError), opened as held:
            held.read(0, 2)


def test_names_are_text_in_every_stage(tmp_path):
    corpus = tmp_path / "a '$(touch broke1)' corpus"
    for number in range(3):
        write_clip(
            corpus / "pump" / "train" / f'`touch${{IFS}}broke2`;{number}"$(touch${{IFS}}broke3)".wav', 1, seed=number
        )
        write_clip(corpus / "pump" / "test" / f"normal_${{x}}&&touch${{IFS}}broke4#{number}'.wav", 1, seed=10 + number)
        write_clip(corpus / "pump" / "test" / f"anomaly_<b>|touch${{IFS}}broke5|{number}.wav", 1, seed=20 + number)
    recipe = tmp_path / "egs" / "custom"
    shutil.copytree(ROOT / "egs" / "custom", recipe)
    for part in ("utils", "asdkit", ".venv"):
        if (ROOT / part).exists():
            (tmp_path / part).symlink_to(ROOT / part)
    done = run(recipe, tmp_path, "--corpus", corpus, *LOGMEL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len((tmp_path / "exp/tiny/seed0/score/knn/dev_test.tsv").read_text().splitlines()) == 6
    assert not list(tmp_path.rglob("broke*"))
