"""egs/mini with each encoder at reduced size: stages 2 to 6 in this process, a few steps."""

import re

import numpy as np
import pytest
from recipe import MINI, make_corpus
from small_encoders import SMALL, WEIGHTLESS
from test_every_encoder import built, layers_of

from asdkit.bin import extract_embeddings, make_lists, prepare_data, report, score, train
from asdkit.encoders import ENCODERS
from asdkit.utils.ark import read_ark
from asdkit.utils.files import read_json, write_text
from asdkit.utils.typed_yaml import parse_yaml, yaml

pytestmark = pytest.mark.xdist_group("mini_every_encoder")  # one corpus for all

COMMON = """data: {chunk_seconds: 0.5}
train: {steps: 3, batch_size: 4, lr: 1e-3, warmup_steps: 1, log_every: 1}
"""
ADAPTED = "model: {lora: {branches: 2, rank: 2}, group_adapter: {groups: 3, hidden: 4}, embedding_dim: 8}\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with the recipe's data of a small corpus."""
    root = tmp_path_factory.mktemp("mini")
    corpus = str(make_corpus(root / "corpus"))
    prepare_data.main(["--dataset", str(MINI / "conf/dataset.yaml"), "--corpus", corpus, "--data", str(root / "data")])
    return root


def experiment(name) -> str:
    """The experiment's YAML: LoRA, group adapter and a sum over all blocks where there are any, else all weights."""
    if name == "autoencoder":
        scores = "score: {mse: {detector: given, array: score.mse, non_negative: true}}\n"
        return COMMON + scores + "encoder: {name: autoencoder, hidden: 8, bottleneck: 2}\n"
    section, _ = built(name)
    if name in WEIGHTLESS:
        return f"encoder: {{name: {name}}}\n" + "model: {pooling: mean, embedding_dim: null}\ntrain: {steps: 0}\n"
    encoder = {"name": name, **SMALL[name]}
    if section.LINEARS:
        return COMMON + ADAPTED + yaml.dump({"encoder": {**encoder, "layers": layers_of(name)}})
    return COMMON + "model: {embedding_dim: 8}\n" + yaml.dump({"encoder": {**encoder, "train": True}})


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_stages_2_to_6(name, root):
    text = experiment(name)
    write_text(root / f"{name}.yaml", text)
    data, exp = ["--data", str(root / "data")], root / "exp" / name
    lists = [*data, "--dump", str(root / "dump"), "--exp", str(exp)]
    make_lists.main(["--config", str(root / f"{name}.yaml"), *lists])
    train.main([*lists, "--device", "cpu"])
    extract_embeddings.main([*lists, "--device", "cpu"])
    extract_embeddings.main([*lists, "--merge", "true"])
    score.main([*data, "--exp", str(exp)])
    report.main([*data, "--exp", str(exp)])
    embeddings = np.stack(list(read_ark(exp / "seed0/embed/dev_test/embedding.ark").values()))
    assert np.isfinite(embeddings).all() and embeddings.std(0).max() > 0
    found = next(iter(read_json(exp / "results.json")["scores"].values()))
    assert 0 < found["sets"]["dev"]["official"]["mean"] < 1 and 0 < found["all"]["mean"] < 1
    steps = parse_yaml(text, name)["train"]["steps"]
    told = re.search(r"- network: ([\d,]+) parameters, ([\d,]+) trained; ([\d.]+) G", (exp / "RESULTS.md").read_text())
    parameters, trained, _ = (float(number.replace(",", "")) for number in told.groups())
    assert (trained > 0) is (steps > 0) and (parameters > 0) is (name not in WEIGHTLESS)
