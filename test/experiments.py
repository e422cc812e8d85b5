"""A made-up experiment: data and embeddings as stages 1 to 4 leave them, to be scored and reported."""

import kaldiio
import numpy as np

from asdkit.bin import evaluate, report, score
from asdkit.corpus.manifest import write_manifest, write_ref
from asdkit.utils.files import write_text

DIM = 8


def write_dataset(data, style="dcase2022", protocol="dcase2022"):
    """data/dataset.yaml as stage 1 leaves it."""
    text = f"name: x\nname_style: {style}\nprotocol: {protocol}\nsets: {{dev: {{path: dev_data}}}}\nroot: /corpus\n"
    write_text(data / "dataset.yaml", text)


class Experiment:
    """A folder with data/ and exp/tag/ as stages 1 to 4 leave them."""

    def __init__(self, root, sets=("dev", "eval"), machines=("fan", "pump"), seeds=(0,), tag="tag"):
        self.root, self.data, self.exp = root, root / "data", root / "exp" / tag
        write_dataset(self.data)
        write_text(self.exp / "config.yaml", "score:\n  k: 1\n")
        for number, name in enumerate(sets):
            self.write_set(f"{name}_train", [m + name for m in machines], number)
            self.write_set(f"{name}_test", [m + name for m in machines], number)
            for seed in seeds:
                for split in ("train", "test"):
                    self.embed(f"{name}_{split}", seed, 10 * number + (split == "test"))

    def write_set(self, name, machines, seed):
        rows, ref = [], []
        for machine in machines:
            for i in range(40):
                domain = "target" if i % 10 == 0 or name.endswith("test") and i % 2 else "source"
                condition = "anomaly" if name.endswith("test") and i % 4 < 2 else "normal"
                utt = f"{machine}-{name[-5:].strip('_')}-{i:02d}"
                hidden = "-" if name.endswith("test") else domain
                wav = f"{name}/{machine}/section_00_{i:04d}.wav"
                rows.append({"utt": utt, "wav": wav, "machine": machine, "section": "00", "domain": hidden})
                rows[-1] |= {"attr": "-", "samples": "16000", "bytes": "32044"}
                ref.append({"utt": utt, "condition": condition, "domain": domain})
        write_manifest(self.data / name / "manifest.tsv", rows)
        if name.endswith("test"):
            write_ref(self.data / name / "ref.tsv", ref)

    def utts(self, name):
        lines = (self.data / name / "manifest.tsv").read_text().splitlines()[1:]
        return [line.split("\t")[0] for line in lines]

    def embed(self, name, seed, noise, change=None):
        rng = np.random.default_rng(100 * seed + noise)
        table = {utt: rng.normal(1, 1, DIM).astype(np.float32) for utt in self.utts(name)}
        if change:
            change(table)
        folder = self.exp / f"seed{seed}" / "embed" / name
        folder.mkdir(parents=True, exist_ok=True)
        kaldiio.save_ark(str(folder / "embedding.ark"), table, scp=str(folder / "embedding.scp"))
        return folder

    def run(self, program, *options, seed=0):
        seeded = [] if program is report else ["--data", str(self.data), "--seed", str(seed)]
        program.main([*seeded, "--exp", str(self.exp), *options])

    def run_all(self, seeds=(0,)):
        for seed in seeds:
            self.run(score, seed=seed)
            self.run(evaluate, seed=seed)
        self.run(report)

    def stamps(self):
        return {path: path.stat().st_mtime_ns for path in self.exp.rglob("*") if path.is_file()}
