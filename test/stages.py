"""The stages of one experiment on a corpus of one's own, as programs in this process."""

import re
import shutil
from pathlib import Path

from corpora import ROOT

from asdkit.bin import extract_embeddings, extract_feats, make_lists, prepare_data, report, score, train
from asdkit.utils.files import read_json

LOGMEL = "encoder: {name: logmel}\nmodel: {pooling: mean, embedding_dim: null}\ntrain: {steps: 0}\n"
NETWORK = """encoder:
  arch: {encoder_layers: 1, encoder_embed_dim: 16, encoder_ffn_embed_dim: 16, encoder_attention_heads: 2,
         embed_dim: 8, conv_pos: 4, conv_pos_groups: 2}
  train: true
data: {chunk_seconds: 0.5}
model: {embedding_dim: 4}
train: {steps: 2, batch_size: 4, warmup_steps: 1}
"""


class Stages:
    """A folder with corpus/, data/, dump/ and exp/<tag>, and what makes them. config: the experiment, as YAML."""

    def __init__(self, folder: Path, config: str = LOGMEL, tag: str = "a") -> None:
        self.folder, self.corpus, self.exp = folder, folder / "corpus", folder / "exp" / tag
        self.config = folder / f"{tag}.yaml"
        self.config.write_text(config)
        self.data = folder / "data"
        self.work = ["--data", str(self.data), "--exp", str(self.exp)]
        self.lists = [*self.work, "--dump", str(folder / "dump")]

    def run(self, first: int, last: int = 6, *options: str, seeds: tuple[int, ...] = (0,)) -> None:
        """Stages `first` to `last` with options such as --force true, which stage 1 may have more of."""
        for stage in range(first, last + 1):
            getattr(self, f"_stage{stage}")([*options], seeds)

    def forced(self, first: int, last: int = 6, seeds: tuple[int, ...] = (0,)) -> None:
        """Stages `first` to `last` with --force true."""
        self.run(first, last, "--force", "true", seeds=seeds)

    def auc(self, machine: str, seed: int = 0) -> float:
        """AUC of a machine in percent."""
        (found,) = read_json(self.exp / f"seed{seed}/score/knn/results.json")["sets"].values()
        return next(100 * row["values"]["auc"] for row in found["machines"] if row["machine"] == machine)

    def made(self, pattern: str = "exp/**/*") -> dict[Path, int]:
        """Times of what stages 2 to 5 made."""
        kinds = (".pt", ".ark", ".tsv", ".txt")
        return {path: path.stat().st_mtime_ns for path in self.folder.glob(pattern) if path.suffix in kinds}

    def _stage1(self, options, seeds):
        words = ["--dataset", str(ROOT / "egs/custom/conf/dataset.yaml"), "--corpus", str(self.corpus)]
        prepare_data.main([*words, "--data", str(self.data), *options])

    def _stage2(self, options, seeds):
        make_lists.main(["--config", str(self.config), *self.lists, *options])
        if "feats_type: fbank" in self.config.read_text():
            extract_feats.main([*self.lists, *options])
            extract_feats.main([*self.lists, "--merge", "true", *options])

    def _stage3(self, options, seeds):
        for seed in seeds:
            train.main([*self.lists, "--device", "cpu", "--seed", str(seed), *options])

    def _stage4(self, options, seeds):
        for seed in seeds:
            extract_embeddings.main([*self.lists, "--device", "cpu", "--seed", str(seed), *options])
            extract_embeddings.main([*self.lists, "--seed", str(seed), "--merge", "true", *options])

    def _stage5(self, options, seeds):
        for seed in seeds:
            score.main([*self.work, "--seed", str(seed), *options])

    def _stage6(self, options, seeds):
        report.main([*self.work, *options])


def copy(stages: Stages, folder: Path) -> Stages:
    """The same experiment in another folder, with a corpus of its own, whose place data/ knows."""
    shutil.copytree(stages.folder, folder, dirs_exist_ok=True)
    new = Stages(folder, stages.config.read_text(), stages.exp.name)
    for path in (new.data / "dataset.yaml", new.data / ".done", new.exp / "dataset.yaml"):
        path.write_text(re.sub(re.escape(str(stages.folder)), str(folder), path.read_text()))
    return new
