"""A year that nobody has heard of: a copied recipe, its YAML edited, and no Python."""

import json
import shutil
from pathlib import Path

import kaldiio
import numpy as np
from corpora import write_corpus
from test_years_e2e import LOGMEL, run
from year_corpora import ROOT

from asdkit.corpus.manifest import read_manifest, read_ref

EDITS = {
    "name:": "dcase2099",
    "    machines: [ToyCar": "[fan, valve]",
    "    machines: [Blower": "[pump]",
    "counts": "{sections: 1, train: {source: 4, target: 2}, test: 8}",
    "channel": "null",
}


def new_recipe(folder: Path) -> Path:
    """egs/dcase2099 beside links to utils and asdkit."""
    made = folder / "egs/dcase2099"
    shutil.copytree(ROOT / "egs/dcase2026", made, ignore=shutil.ignore_patterns("data", "dump", "exp", "downloads"))
    for name in ("utils", "asdkit"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("download.yaml", "published.yaml"):  # another year's archives and figures
        (made / "conf" / name).unlink()
    path = made / "conf/dataset.yaml"
    lines = path.read_text().splitlines()
    for start, value in EDITS.items():
        (number,) = [i for i, line in enumerate(lines) if line.startswith(start)]
        lines[number] = f"{lines[number].partition(':')[0]}: {value}"
    path.write_text("\n".join(lines))
    return made


def write_embeddings(folder: Path) -> None:
    """What stages 3 and 4 would leave: anomalies lie across normal clips."""
    rng = np.random.default_rng(0)
    for part in ("dev", "eval"):
        ref = read_ref(folder / f"data/{part}_test/ref.tsv")
        for name in (f"{part}_train", f"{part}_test"):
            out = folder / f"exp/tiny/seed0/embed/{name}"
            out.mkdir(parents=True)
            table = {}
            for row in read_manifest(folder / f"data/{name}/manifest.tsv"):
                anomalous = ref.get(row["utt"], ("normal",))[0] == "anomaly"
                table[row["utt"]] = (np.eye(8)[int(anomalous)] + 0.1 * rng.standard_normal(8)).astype(np.float32)
            kaldiio.save_ark(str(out / "embedding.ark"), table, scp=str(out / "embedding.scp"))


def test_copy_edit_run(tmp_path: Path) -> None:
    recipe, corpus = new_recipe(tmp_path), write_corpus(tmp_path / "corpus")
    first = run(recipe, tmp_path, "--corpus", corpus, "--stop-stage", "2", *LOGMEL)
    assert first.returncode == 0, first.stderr
    write_embeddings(tmp_path)
    last = run(recipe, tmp_path, "--corpus", corpus, "--stage", "5", *LOGMEL)
    assert last.returncode == 0, last.stderr
    results = json.loads((tmp_path / "exp/tiny/seed0/score/knn/results.json").read_text())
    machines = {part: [one["machine"] for one in results["sets"][part]["machines"]] for part in ("dev", "eval")}
    assert machines == {"dev": ["fan", "valve"], "eval": ["pump"]}
    assert results["protocol"] == "dcase2022" and results["all"] == 1
    assert (tmp_path / "exp/tiny/RESULTS.md").exists()
