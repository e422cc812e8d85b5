"""Speech encoders through stages 2 to 4: masks and layer drop, interrupted trainings, folders of weights."""

import json
import shutil

import numpy as np
import pytest
import torch
from recipe import make_corpus
from small_encoders import SPEECH
from test_pipeline import MINI, Recipe

from asdkit.bin import prepare_data
from asdkit.infer.experiment import Experiment

transformers = pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus")
    corpus = str(make_corpus(root / "mini", clips=1))
    prepare_data.main(["--dataset", str(MINI / "conf/dataset.yaml"), "--corpus", corpus, "--data", str(root / "data")])
    return root / "data"


def experiment(root, data, section, *settings):
    root.mkdir()
    return Recipe(root, data, f"encoder={json.dumps(section)}", "train.specaugment=null", *settings)


def test_an_interrupted_training_goes_on_to_the_same_bits(data, tmp_path):
    section = {"name": "wavlm", "arch": SPEECH, "train": True, "mask_time_prob": 0.3, "mask_time_length": 4}
    recipe = experiment(tmp_path / "run", data, section | {"layerdrop": 0.3})
    whole = recipe.train()["model"]
    for name in ("final.pt", ".done"):
        (recipe.exp / "seed0/checkpoint" / name).unlink()
    np.random.seed(1)  # nothing may come from this generator
    again = recipe.train()["model"]  # from the second of four steps on
    assert whole.keys() == again.keys() and all(torch.equal(whole[key], again[key]) for key in whole)
    other = experiment(tmp_path / "other", data, section).train()["model"]
    assert not all(torch.equal(whole[key], other[key]) for key in whole)


def test_a_checkpoint_may_be_a_folder(data, tmp_path):
    torch.manual_seed(7)
    network = transformers.HubertModel(transformers.HubertConfig(**SPEECH))
    network.save_pretrained(tmp_path / "weights")
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "weights")
    recipe = experiment(tmp_path / "run", data, {"name": "hubert", "checkpoint": str(tmp_path / "weights")})
    content = recipe.train()
    frozen = {name for name, _ in network.named_parameters()}
    assert not {name.removeprefix("encoder.network.") for name in content["model"]} & frozen  # they lie in the folder
    tables = recipe.embed()
    assert all(np.isfinite(x).all() for table in tables.values() for x in table.values())
    shutil.move(tmp_path / "weights", tmp_path / "moved")
    with pytest.raises(ValueError, match="encoder.checkpoint: there is no file"):
        recipe.train("--force", "true")
    shutil.move(tmp_path / "moved", tmp_path / "weights")
    network.encoder.layer_norm.bias.data.add_(1)
    network.save_pretrained(tmp_path / "weights")
    with pytest.raises(ValueError, match=r"encoder\.checkpoint\.sha256"):
        recipe.train()


def test_weights_of_a_hub_serve_every_stage(data, tmp_path, monkeypatch):
    """What stage 3 fetched, stage 4 finds in the hub's cache; other weights there now are told."""
    network = transformers.HubertModel(transformers.HubertConfig(**SPEECH))
    network.save_pretrained(tmp_path / "weights")
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "weights")
    monkeypatch.setattr("asdkit.utils.hub._cached", lambda *words: tmp_path / "weights")
    recipe = experiment(tmp_path / "run", data, {"name": "hubert", "checkpoint": "hub:who/what"})
    recipe.train()
    assert all(np.isfinite(x).all() for table in recipe.embed().values() for x in table.values())
    network.encoder.layer_norm.bias.data.add_(1)
    network.save_pretrained(tmp_path / "weights")
    with pytest.raises(ValueError, match=r"the pre-trained weights with SHA-256 .* are at none of hub:who/what, "):
        Experiment.open(recipe.exp).located  # noqa: B018 - looks for them
