"""embed.precision: int8 computes what its whole numbers say; auto chooses once, and everybody keeps to it."""

import copy
import threading

import numpy as np
import pytest
import torch
from corpora import write_clip
from small_encoders import SMALL
from stages import NETWORK, Stages
from torch import nn

from asdkit.bin import extract_embeddings
from asdkit.config import Config
from asdkit.data.chosen import CHOSEN
from asdkit.infer import precision
from asdkit.infer.clips import represent
from asdkit.infer.experiment import Experiment
from asdkit.infer.network import in_precision
from asdkit.infer.precision import choose_precision, cosine, quickest
from asdkit.infer.unpacked import Unpacked, packed
from asdkit.layers.int8 import Int8Linear
from asdkit.models.families import build_system
from asdkit.utils.ark import read_ark
from asdkit.utils.files import read_json
from asdkit.utils.typed_yaml import validate

CPU = torch.device("cpu")


def test_a_layer_in_8_bits_gives_what_its_whole_numbers_say():
    torch.manual_seed(0)
    linear, x = nn.Linear(24, 40), torch.randn(3, 5, 24) * torch.tensor([1e-3, 1, 50])[:, None, None]
    layer = Int8Linear(linear)
    weight, scale = layer.codes.numpy().astype(np.int64), layer.scale.numpy()
    assert np.abs(weight).max(1).tolist() == [127] * 40
    y = layer(x)
    for found, row in zip(y.flatten(0, 1).detach().numpy(), x.flatten(0, 1).numpy(), strict=True):
        step = np.float32(np.abs(row).max()) / np.float32(127)
        whole = weight @ np.rint(row / step).astype(np.int64)
        np.testing.assert_allclose(found, whole * step * scale + linear.bias.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert torch.equal(layer(x[:1, :1]), y[:1, :1])  # a token alone
    torch.testing.assert_close(nn.functional.linear(x, layer.weight, layer.bias), y, rtol=0.02, atol=0.5)
    assert layer(torch.zeros(1, 24)).equal(linear.bias.detach()[None])
    with_state = nn.Linear(24, 40)
    with_state.load_state_dict(layer.state_dict())
    assert torch.equal(Int8Linear(with_state).codes, layer.codes)


def networks(encoder):
    config = validate(Config, {"encoder": encoder, "model": {"group_adapter": {"position": "ffn"}}}, "test")
    torch.manual_seed(0)
    system = build_system(config, ["a", "b"]).eval()
    with torch.no_grad():  # as trained: what adapters and LoRA change is not nothing
        for p in system.parameters():
            p.add_(0.02 * torch.randn_like(p))
    small = copy.deepcopy(system)
    return config, in_precision(system, "float32", CPU), in_precision(small, "int8", CPU)


@pytest.mark.parametrize("name", [name for name in SMALL if name in ("beats", "eat", "clap", "dasheng", "imagebind")])
def test_networks_in_8_bits_are_near_and_a_clip_is_what_it_is_alone(name):
    config, exact, small = networks({"name": name, **SMALL[name]})
    wav = torch.randn(3, 12 * 1600 if name != "clap" else 60000) * 0.1
    with torch.inference_mode():
        feats = exact.frontend(wav)
        expected, found = (represent(s, feats, config.embed, 10, 10)["embedding"] for s in (exact, small))
        alone = represent(small, feats[:1], config.embed, 10, 10)["embedding"]
    assert not torch.equal(found, expected)
    assert torch.cosine_similarity(found, expected).min() > 0.99
    torch.testing.assert_close(alone, found[:1], rtol=1e-4, atol=1e-5)


def test_a_bundle_for_torch_holds_what_8_bits_stand_for():
    config, _, small = networks({"name": "beats", **SMALL["beats"]})
    config = precision._with(config, "int8")
    again = Unpacked(*packed(small, config))
    wav = np.random.default_rng(0).normal(0, 0.1, (1, 32000)).astype(np.float32)
    with torch.inference_mode():
        feats = small.frontend(torch.from_numpy(wav))
        expected = represent(small, feats, config.embed, again.chunk, again.hop)["embedding"].numpy()
    np.testing.assert_allclose(again.run(wav, "-")["embedding"], expected, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_computed_is_told():
    config = validate(Config, {"encoder": {"name": "logmel"}}, "test")
    system = build_system(config, ["a"]).eval()
    with pytest.raises(ValueError, match="int8: this network has no transformer blocks .* use float32"):
        in_precision(system, "int8", CPU)
    with pytest.raises(ValueError, match="int8 is computed by CPUs: --device cpu"):
        in_precision(system, "int8", torch.device("cuda"))
    with pytest.raises(ValueError, match="auto: not chosen yet for this network: run stage 4"):
        in_precision(system, "auto", CPU)


def test_cosines_are_those_of_the_worst_clip_and_array():
    table = {"a": np.eye(2, dtype=np.float32)[None], "score.x": np.array([[2.0]])}  # one clip
    assert cosine(table, table) == 1
    turned = {**table, "a": np.array([[[1, 0], [1, 0]]], np.float32)}
    assert cosine(turned, table) == pytest.approx(0.5)
    assert cosine({**table, "score.x": np.array([[1.9]])}, table) == pytest.approx(0.95)  # not 1, as of all numbers


def test_the_first_turn_does_not_count():
    calls = []
    seconds = quickest([lambda: calls.append("a"), lambda: calls.append("b")])
    assert calls == ["a", "b"] * (precision.TURNS + 1) and len(seconds) == 2


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    stages = Stages(tmp_path_factory.mktemp("auto"), NETWORK + "embed: {precision: auto}\n")
    for number, machine in enumerate(("fan", "fan", "fan", "fan", "pump", "pump")):
        write_clip(stages.corpus / f"{machine}/train/{number}.wav", 0.5 + 0.1 * (number % 3), seed=number)
        write_clip(
            stages.corpus / f"{machine}/test/{'normal' if number % 2 else 'anomaly'}_{number}.wav",
            0.5,
            seed=10 + number,
        )
    stages.run(1, 3)
    return stages


def embed(stages, *options):
    extract_embeddings.main([*stages.lists, "--device", "cpu", *options])


def times(monkeypatch, **seconds):
    """As if each precision took so long; returns the list of those that were asked."""
    order = ["float32", "bfloat16", "int8"]
    asked = []
    monkeypatch.setattr(precision, "quickest", lambda calls: asked.append(1) or [seconds[name] for name in order])
    return asked


@pytest.mark.parametrize(
    ("seconds", "near", "expected"),
    [
        ((3, 2, 1), {}, "int8"), ((3, 1, 2), {}, "bfloat16"), ((1, 2, 3), {}, "float32"),
        ((3, 2, 1), {"int8": 0.9989}, "bfloat16"), ((3, 1, 2), {"bfloat16": 0.99, "int8": 0.9}, "float32"),
    ],
)  # fmt: skip
def test_the_quickest_that_is_near_is_taken(trained, monkeypatch, seconds, near, expected):
    times(monkeypatch, **dict(zip(("float32", "bfloat16", "int8"), seconds, strict=True)))
    order = sorted({"bfloat16": seconds[1], "int8": seconds[2]}.items(), key=lambda item: item[1])
    tried = iter([near.get(name, 1.0) for name, taken in order for _ in range(6) if taken < seconds[0]])
    monkeypatch.setattr(precision, "cosine", lambda *_: next(tried))
    experiment = Experiment.open(trained.exp, 0, trained.data, "cpu")
    assert choose_precision(experiment, trained.folder / "dump", force=True) == expected
    told = read_json(trained.exp / "seed0" / CHOSEN)
    assert told["precision"] == expected and told["why"].startswith(f"{expected}; time for 2 clip(s)")


def test_one_answer_for_all_who_ask_at_once(trained, monkeypatch):
    asked = times(monkeypatch, float32=3, bfloat16=1, int8=2)
    (trained.exp / "seed0" / CHOSEN).unlink(missing_ok=True)
    found = []

    def ask():
        experiment = Experiment.open(trained.exp, 0, trained.data, "cpu")
        found.append(choose_precision(experiment, trained.folder / "dump"))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 1 and found == [found[0]] * 3


def test_shards_markers_and_later_stages_keep_to_it(trained, monkeypatch):
    (trained.exp / "seed0" / CHOSEN).unlink(missing_ok=True)
    with pytest.raises(ValueError, match="auto: not chosen yet"):
        embed(trained)
    times(monkeypatch, float32=3, bfloat16=1, int8=2)
    monkeypatch.setattr(precision, "cosine", lambda *_: 1.0)
    embed(trained, "--choose", "true")
    times(monkeypatch, float32=1, bfloat16=2, int8=3)  # another moment, another machine
    embed(trained, "--choose", "true")
    for job in ("1", "2"):
        embed(trained, "--num-jobs", "2", "--job", job)
    embed(trained, "--num-jobs", "2", "--merge", "true")
    folder = trained.exp / "seed0/embed/dev_train"
    assert read_json(folder / ".done")["embed.precision"] == "bfloat16"
    trained.run(5, 5)
    experiment = Experiment.open(trained.exp, 0, trained.data, "cpu")
    wav = trained.corpus / "fan/train/0.wav"
    table = read_ark(folder / "embedding.ark")
    row = next(row for row in experiment.rows("dev_train") if row["wav"].endswith("train/0.wav"))
    np.testing.assert_allclose(experiment.embed([wav])["embedding"][0], table[row["utt"]], rtol=1e-2, atol=1e-3)
    # chosen again: what was embedded before is not taken for it
    embed(trained, "--choose", "true", "--force", "true")
    with pytest.raises(ValueError, match=r"embed.precision = 'bfloat16', now 'float32'.*--stage 4 --force true"):
        embed(trained)
    # other weights: the choice was not for them
    path = trained.exp / "seed0/checkpoint/final.pt"
    kept = path.read_bytes()
    path.write_bytes(kept + b"\0")
    path.with_name(".written").unlink()  # the change is meant
    try:
        for options in ([], ["--choose", "true"]):
            with pytest.raises(ValueError, match=rf"{CHOSEN}: made with checkpoint = .*--stage 4 --force true"):
                embed(trained, *options)
    finally:
        path.write_bytes(kept)
