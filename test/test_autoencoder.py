"""The challenge's autoencoder: front end, networks, both scores, thresholds, through all stages."""

import numpy as np
import pytest
import soundfile
import torch
from corpora import ROOT, write_base
from stages import Stages
from test_distributed import curve, killed

from asdkit.config import AutoencoderConfig, Config, load_config
from asdkit.corpus.manifest import read_manifest
from asdkit.data.frames import FrameBatch, FrameDataset
from asdkit.detectors.folder import read_scores, read_thresholds
from asdkit.detectors.threshold import gamma_percentile
from asdkit.encoders import build_encoder
from asdkit.infer.clips import represent
from asdkit.infer.experiment import Experiment
from asdkit.layers.side_by_side import SideBySide
from asdkit.models.autoencoder import Autoencoder
from asdkit.models.checkpoint import read_checkpoint
from asdkit.models.size import size_of
from asdkit.train.distributed import World
from asdkit.train.finetune import fine_tuning
from asdkit.utils.ark import read_ark
from asdkit.utils.typed_yaml import validate

SMALL = """encoder: {name: autoencoder, hidden: 16, bottleneck: 4}
data: {chunk_seconds: 0.5}
train: {steps: 200, batch_size: 32, lr: 1e-2, warmup_steps: 0, weight_decay: 0.0, log_every: 50, checkpoint_every: 100}
score:
  mse: {detector: given, array: score.mse, non_negative: true}
  mahalanobis: {detector: given, array: score.mahalanobis, non_negative: true}
  knn: {}
"""
SHORT = SMALL.replace("steps: 200", "steps: 30").replace("every: 100", "every: 10")


def configured(**changes) -> Config:
    return validate(Config, {"encoder": {"name": "autoencoder"}, **changes}, "test")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    stages = Stages(tmp_path_factory.mktemp("autoencoder"), SMALL)
    write_base(stages.corpus, train=8, per_test=3)
    stages.run(1)
    return stages


@pytest.fixture(scope="module")
def short(made):
    """A training of 30 steps."""
    stages = Stages(made.folder, SHORT, "short")
    stages.run(2, 4)
    return stages


def test_layers_and_parameters_are_the_official_ones():
    system = Autoencoder(configured(), ["fan/00/a", "fan/01/-", "pump/00/-"])
    assert system.machines == ["fan", "pump"]
    assert system.model.sizes == [640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640]
    dense = sum(a * b + b for a, b in zip(system.model.sizes, system.model.sizes[1:], strict=False))
    norms = 2 * (8 * 128 + 8)
    assert sum(p.numel() for p in system.trainable().values()) == 2 * (dense + norms)
    assert dense + norms == 267928  # 0.27 M with the running values


def test_frames():
    encoder = build_encoder(configured().encoder)
    wav = torch.randn(2, 16000 * 10, generator=torch.Generator().manual_seed(0)) * 0.1
    feats = encoder.frontend(wav)
    assert feats.shape == (2, 313, 128) and encoder(feats).shape == (2, 309, 640)
    assert torch.equal(encoder(feats)[1, 7], feats[1, 7:12].flatten())
    silent = encoder.frontend(torch.zeros(1, 2048))
    assert silent == pytest.approx(10 * np.log10(np.finfo(float).eps), abs=1e-3)
    with pytest.raises(ValueError, match=r"clip of 4 frames, at least 5 \(2048 samples\)"):
        encoder(feats[:, :4])


def test_mel_energies_are_librosas():
    """Written out: frames between zeros, periodic Hann window, Slaney's scale and areas."""
    rng = np.random.default_rng(0)
    wav = rng.standard_normal(5000).astype(np.float32) * 0.1
    got = build_encoder(configured().encoder).frontend(torch.from_numpy(wav)[None])[0].numpy()
    padded = np.concatenate([np.zeros(512), wav, np.zeros(512)])
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    frames = np.stack([padded[512 * i : 512 * i + 1024] for i in range(1 + 5000 // 512)])
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    hertz = np.linspace(0, 8000, 513)

    def to_hertz(mel):
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    edges = [to_hertz(mel) for mel in np.linspace(0, 15 + 27 * np.log(8) / np.log(6.4), 130)]
    expected = np.empty((len(frames), 128))
    for i, (low, mid, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        triangle = np.clip(np.minimum((hertz - low) / (mid - low), (high - hertz) / (high - mid)), 0, None)
        expected[:, i] = power @ triangle * 2 / (high - low)
    expected = 10 * np.log10(np.maximum(expected, np.finfo(float).eps))
    np.testing.assert_allclose(got, expected, atol=2e-2)


def test_each_network_is_the_one_that_torch_would_make():
    """Side by side as alone: forward and backward pass, running values."""
    sizes = [6, 5, 3, 6]
    torch.manual_seed(0)
    both = SideBySide(2, sizes, 0.01, 1e-3)
    x = torch.randn(2, 6, 9)
    alone = [_plain(both, number) for number in range(2)]
    both(x)[0].square().mean((1, 2)).sum().backward()
    for number, network in enumerate(alone):
        found = network(x[number].T)
        found.square().mean().backward()
        torch.testing.assert_close(both.weights[0].grad[number], network[0].weight.grad)
        torch.testing.assert_close(both.scales[1].grad[number], network[4].weight.grad)
        torch.testing.assert_close(both.variance_1[number], network[4].running_var)
    both.eval()
    which = torch.tensor([1, 0, 1])
    x = torch.randn(3, 6, 4)
    found, middle = both(x, which, 1)
    for i, number in enumerate(which):
        network = alone[number].eval()
        torch.testing.assert_close(found[i], network(x[i].T).T)
        torch.testing.assert_close(middle[i], network[:5](x[i].T).T)


def test_a_machine_learns_the_same_whatever_the_others_are():
    feats = torch.randn(2, 16, 5, 128, generator=torch.Generator().manual_seed(0))
    both = Autoencoder(configured(), ["fan/00/-", "pump/00/-"])
    alone = Autoencoder(configured(), ["pump/00/-"])
    for name, parameter in alone.model.named_parameters():
        parameter.data.copy_(both.model.get_parameter(name)[1:])
    for system, given in ((both, feats), (alone, feats[1:])):
        system.losses(given, None)["loss"].backward()
    for name, parameter in alone.model.named_parameters():
        torch.testing.assert_close(both.model.get_parameter(name).grad[1:], parameter.grad, rtol=1e-4, atol=1e-5)


def _plain(both: SideBySide, number: int) -> torch.nn.Sequential:
    modules = []
    for layer, (before, size) in enumerate(zip(both.sizes, both.sizes[1:], strict=False)):
        linear = torch.nn.Linear(before, size)
        linear.weight.data.copy_(both.weights[layer][number])
        linear.bias.data.copy_(both.biases[layer][number])
        modules.append(linear)
        if layer < len(both.scales):
            modules += [torch.nn.BatchNorm1d(size, eps=1e-3, momentum=0.01), torch.nn.ReLU()]
    return torch.nn.Sequential(*modules)


class _Given(torch.nn.Module):
    """Stands for a network whose reconstructions are known."""

    def __init__(self, found):
        super().__init__()
        self.found = list(found)
        self.register_buffer("covariances", torch.zeros(1, 2, 8, 8, dtype=torch.float64))

    def forward(self, x, which, middle=None):
        return self.found.pop(0), x[:, :4]


def test_selective_mahalanobis_is_the_official_codes(test_data):
    """Golden: the official code's criterion, run on given vectors and reconstructions."""
    arrays = np.load(test_data / "golden/detectors/lof_gmm_mahalanobis.npz")
    golden = {name: torch.from_numpy(arrays[name]) for name in arrays.files if name.startswith("sel_")}
    system = Autoencoder(configured(encoder={"name": "autoencoder", "frames": 3}), ["fan/00/-"])
    system.mels = 8
    vectors, found = golden["sel_x"], golden["sel_recon"]
    system.model = _Given([recon.T[None] for recon in found])
    system.register_buffer("inverses", torch.zeros(1, 2, 8, 8, dtype=torch.float64))
    system.conclude(
        FrameBatch(x.reshape(-1, 3, 8), 0, target) for x, target in zip(vectors, golden["sel_is_target"], strict=True)
    )
    for domain, name in enumerate(("source", "target")):
        expected = golden[f"sel_cov_{name}"]
        torch.testing.assert_close(system.model.covariances[0, domain], expected, rtol=1e-6, atol=1e-6)
    system.model.found = [golden["sel_test_recon"].flatten(0, 1).T[None]]  # all clips of the machine
    system.encoder.forward = lambda feats: feats
    scores = system.represent(golden["sel_test_x"], ["fan"] * 6)
    for domain, name in enumerate(("source", "target")):
        torch.testing.assert_close(
            scores["score.mahalanobis"][:, domain].double(), golden[f"sel_{name}"], rtol=1e-5, atol=1e-5
        )
    least = scores["score.mahalanobis"].min(1).values.double()
    torch.testing.assert_close(least, golden["sel_score"], rtol=1e-5, atol=1e-5)
    expected = (golden["sel_test_x"] - golden["sel_test_recon"]).square().mean((1, 2)).float()
    torch.testing.assert_close(scores["score.mse"][:, 0], expected)


def test_both_scores_are_those_written_out(made):
    """From recordings to scores and thresholds, in numpy and doubles, from the checkpoint's weights."""
    made.run(2, 5)
    state = {k: v.numpy() for k, v in read_checkpoint(made.exp / "seed0/checkpoint/final.pt")["model"].items()}
    encoder = build_encoder(load_config(made.config).encoder)
    reader = Experiment.open(made.exp).dataset.reader()
    for name in ("dev_train", "dev_test"):
        embedded = {path.stem: read_ark(path) for path in (made.exp / f"seed0/embed/{name}").glob("*.ark")}
        rows = read_manifest(made.data / name / "manifest.tsv")
        scores = {}
        for row in rows:
            wav = reader.read(made.corpus / row["wav"])
            vectors = encoder(encoder.frontend(torch.from_numpy(wav)[None]))[0].double().numpy()
            mse, distances, code = written_out(state, ["press", "pump"].index(row["machine"]), vectors)
            assert embedded["score.mse"][row["utt"]] == pytest.approx([mse], rel=1e-3)
            assert embedded["score.mahalanobis"][row["utt"]] == pytest.approx(distances, rel=1e-2)
            assert embedded["embedding"][row["utt"]] == pytest.approx(code, rel=1e-2, abs=1e-3)
            scores[row["utt"]] = (row["machine"], mse, min(distances))
        for number, score in enumerate(("mse", "mahalanobis"), 1):
            folder = made.exp / "seed0/score" / score
            found = read_scores(folder / ("train.tsv" if name == "dev_train" else f"{name}.tsv"))
            assert found == pytest.approx({utt: values[number] for utt, values in scores.items()}, rel=1e-2)
            if name == "dev_train":
                for machine in ("press", "pump"):
                    own = np.array([found[utt] for utt, values in scores.items() if values[0] == machine])
                    limit = read_thresholds(folder / "threshold.tsv")[machine, "-"]
                    assert limit == pytest.approx(gamma_percentile(own, 90.0))


def written_out(state, k, x):
    """Scores of vectors x [N, 640] of machine number k."""
    h, code = x, None
    for layer in range(10):
        h = h @ state[f"weights.{layer}"][k].T.astype(float) + state[f"biases.{layer}"][k]
        if layer < 9:
            h = (h - state[f"mean_{layer}"][k]) / np.sqrt(state[f"variance_{layer}"][k] + 1e-3)
            h = h * state[f"scales.{layer}"][k] + state[f"shifts.{layer}"][k]
            code = h if layer == 4 else code
            h = np.maximum(0, h)
    error = x - h
    mean = error.reshape(-1, 128).mean(0)
    inverses = [np.linalg.pinv(s, hermitian=True) for s in state["covariances"][k]]
    return (error**2).mean(), [mean @ inverse @ mean for inverse in inverses], code.mean(0)


def test_anomalies_stand_out(made):
    made.run(2, 6)
    scores = read_scores(made.exp / "seed0/score/mse/dev_test.tsv")
    for machine in ("press", "pump"):
        normal, anomalous = (
            [score for utt, score in scores.items() if utt.startswith(machine) and kind in utt]
            for kind in ("normal", "anomaly")
        )
        assert min(anomalous) > max(normal)
    assert "mahalanobis" in (made.exp / "RESULTS.md").read_text()
    mse = curve(made.exp / "seed0")["mse"]
    assert mse[-1] < mse[0] / 5


def test_dumped_features_train_the_same(short):
    text = SHORT.replace("chunk_seconds: 0.5", "chunk_seconds: 0.5, feats_type: fbank")
    dumped = Stages(short.folder, text, "dumped")
    dumped.run(2, 4)
    assert (short.folder / "dump/logmel_slaney/dev_train/feats.scp").exists()
    assert_same(short, dumped)
    for name in ("embedding", "score.mse", "score.mahalanobis"):
        one, other = (read_ark(stages.exp / f"seed0/embed/dev_test/{name}.ark") for stages in (short, dumped))
        assert all(np.array_equal(array, other[utt]) for utt, array in one.items())


def test_a_killed_training_goes_on_to_the_same_bits(short):
    again = Stages(short.folder, SHORT, "again")
    again.run(2, 2)
    killed(lambda: again.run(3, 3), step=17)
    assert (again.exp / "seed0/checkpoint/last.pt").exists()
    again.run(3, 3)
    assert_same(short, again)
    assert (short.exp / "seed0/train.tsv").read_text() == (again.exp / "seed0/train.tsv").read_text()


def assert_same(one: Stages, other: Stages):
    """Two trainings ended with the same bits."""
    found, expected = (read_checkpoint(s.exp / "seed0/checkpoint/final.pt")["model"] for s in (other, one))
    assert expected["covariances"].count_nonzero() and found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(tensor, found[key]), key


def test_an_opened_experiment_asks_for_the_machine(made):
    made.run(2, 5)
    experiment = Experiment.open(made.exp, device="cpu")
    clips = sorted(made.corpus.glob("pump/test/*.wav"))[:3]
    stored = read_ark(made.exp / "seed0/embed/dev_test/score.mse.ark")
    found = experiment.embed(clips, "pump")["score.mse"]
    for clip, value in zip(clips, found, strict=True):
        (utt,) = [utt for utt in stored if utt.startswith("pump") and clip.stem in utt]
        assert value == pytest.approx(stored[utt], rel=1e-5)
    with pytest.raises(ValueError, match="got no machine; trained were press, pump"):
        experiment.embed(clips)
    assert len(experiment.score(clips, "pump", name="mahalanobis")) == 3
    system = experiment.system
    with pytest.raises(ValueError, match="it was trained on, press, pump, none for 'fan'"):
        system.represent(torch.zeros(1, 9, 128), ["fan"])


def test_vectors_of_an_epoch_are_all_vectors():
    """Each machine's come once per epoch, in another order each time; vectors lie in one clip."""
    table = np.arange(40, dtype=np.float32)[:, None]
    starts, machines = np.r_[0:8, 10:18, 20:38], np.repeat([0, 1], [16, 18])
    dataset = FrameDataset(table, starts, machines, machines > 5, 3, 8, 0)
    steps = [dataset[step].feats for step in range(1, 5)]
    assert steps[0].shape == (2, 8, 3, 1)
    assert (steps[0][:, :, 2] - steps[0][:, :, 0] == 2).all()
    drawn = torch.cat(steps, 1)[0, :, 0, 0].tolist()
    assert sorted(drawn[:16]) == sorted(drawn[16:]) == starts[:16].tolist() and drawn[:16] != drawn[16:]
    assert torch.equal(dataset[3].feats, steps[2])
    everything = [(batch.machine, batch.feats[:, 0, 0].tolist()) for batch in dataset.once()]
    assert [machine for machine, _ in everything] == [0, 0, 1, 1, 1]
    assert sorted(sum((rows for _, rows in everything), [])) == starts.tolist()


def test_one_machine_alone_is_enough(tmp_path):
    stages = Stages(tmp_path, SHORT)
    write_base(stages.corpus, ("press",), train=3, per_test=1)
    stages.run(1, 6)
    assert (stages.exp / "RESULTS.md").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"pooling": "mean"}}, "model: the autoencoder has no such part: leave the section out"),
        ({"loss": {"normalise": False}}, "loss: the autoencoder has no such part"),
        ({"embed": {"arrays": {"a": {"pooling": "max"}}}}, "embed.arrays: the autoencoder makes embedding"),
        ({"train": {"steps": 0}}, "train.steps has to be 1 or more"),
        ({"train": {"save_steps": [5]}}, "train.save_steps empty"),
        ({"encoder": {"name": "autoencoder", "checkpoint": "a.pt"}}, "trained from random weights always"),
    ],
)
def test_what_it_does_not_have_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        configured(**changes)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.label=section", "data.label: changes nothing of an autoencoder"),
        ("data.balance=machine", "data.balance: changes nothing"),
        ("data.hide_attributes=[fan]", "data.hide_attributes: changes nothing"),
        ("train.graphs=true", "train.graphs: changes nothing"),
        ("train.specaugment.warp=2", "train.specaugment: the autoencoder's frames are not masked"),
    ],
)
def test_what_would_change_nothing_is_refused_of_new_experiments(tmp_path, setting, message):
    path = tmp_path / "a.yaml"
    path.write_text(SMALL)
    load_config(path, ["train.specaugment=null"])
    with pytest.raises(ValueError, match=message):
        load_config(path, [setting])
    load_config(path, [setting], new=False)


def test_several_processes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="2 processes: its networks are small .* --gpu 1"):
        fine_tuning(configured(), ["fan/00/-"], 0, tmp_path, {}, World(0, 2, torch.device("cpu")))


def test_chunks_of_clips_go_to_their_machines_networks(monkeypatch):
    """Clips of several machines in one batch, whole and in more chunks than go through at once."""
    torch.manual_seed(0)
    system = Autoencoder(configured(), ["fan/00/-", "pump/00/-"]).eval()
    system.inverses.normal_()
    feats, machines = torch.randn(3, 120, 128), ["pump", "fan", "pump"]
    config = configured(embed={"segment": "chunk"}).embed
    monkeypatch.setattr("asdkit.infer.clips.PIECES", 40)
    found = represent(system, feats, config, 10, 3, machines)  # 37 chunks of each clip
    for row, machine in enumerate(machines):
        alone = represent(system, feats[row : row + 1], config, 10, 3, [machine])
        for name, array in alone.items():
            torch.testing.assert_close(array[0], found[name][row], rtol=1e-4, atol=1e-4)
    whole = represent(system, feats[:2], configured().embed, 10, 1, machines[:2])
    swapped = represent(system, feats[:2], configured().embed, 10, 1, machines[1::-1])
    assert {name: array.shape for name, array in whole.items()} == {
        "embedding": (2, 8),
        "score.mse": (2, 1),
        "score.mahalanobis": (2, 2),
    }
    assert all((array != swapped[name]).all() for name, array in whole.items())


def test_a_domain_without_clips_has_the_others_covariance(made):
    made.run(2, 3)
    covariances = read_checkpoint(made.exp / "seed0/checkpoint/final.pt")["model"]["covariances"]
    assert covariances.shape == (2, 2, 128, 128) and torch.equal(covariances[:, 0], covariances[:, 1])
    assert not torch.equal(covariances[0], covariances[1])


@pytest.mark.parametrize(
    "recipe", sorted(ROOT.glob("egs/*/conf/baseline_autoencoder.yaml")), ids=lambda path: path.parts[-3]
)
def test_recipes_have_it(recipe):
    config = load_config(recipe)
    assert config.encoder == AutoencoderConfig()
    train, year = config.train, recipe.parts[-3]
    assert (train.lr, train.weight_decay, train.warmup_steps, train.schedule) == (1e-3, 0, 0, "constant")
    assert train.batch_size == (512 if year in ("dcase2020", "dcase2021", "dcase2022", "mimii") else 256)
    assert [score.array for score in config.score.values()] == ["score.mse", "score.mahalanobis"]
    assert all(score.non_negative and score.threshold_percentile == 90 for score in config.score.values())
    assert all(score.per_section == (year in ("dcase2020", "mimii")) for score in config.score.values())


def test_every_recipe_has_it():
    recipes = {path.parts[-3] for path in ROOT.glob("egs/*/conf/dataset.yaml")}
    recipes.remove("bearing")  # not heard at 16 kHz
    assert recipes == {path.parts[-3] for path in ROOT.glob("egs/*/conf/baseline_autoencoder.yaml")}


def test_its_size_is_told():
    """Multiply-accumulates of one machine's network for 10 s, parameters of all networks."""
    system = Autoencoder(configured(), ["fan/00/-", "pump/00/-"])
    sizes = system.model.sizes
    products = 309 * sum(a * b for a, b in zip(sizes, sizes[1:], strict=False)) + 2 * (128 * 128 + 128)
    assert size_of(system) == {
        "parameters": 2 * 267928,
        "trained": 2 * 267928,
        "macs": pytest.approx(products, rel=0.01),
    }


@pytest.mark.long
def test_scores_are_near_the_official_runs(test_data):
    """Eight normal recordings of the toy car, where the official network had 4,000: its scores of them and of others.

    Their level, in dB^2, and their order hold front end, network and score to the official ones.
    """
    known = {}
    for path in (test_data / "golden/metrics/baseline_scores/dcase2020_ToyCar").glob("anomaly_score_*.csv"):
        known |= {name: float(score) for name, score in (line.split(",") for line in path.read_text().split())}
    torch.manual_seed(0)
    system = Autoencoder(configured(), ["ToyCar/00"])
    paths = sorted((test_data / "data/real/dcase2020/dev_data/ToyCar/test").glob("*.flac"))
    wavs = [torch.from_numpy(soundfile.read(path, dtype="float32")[0])[None] for path in paths]
    feats = [system.frontend(wav) for wav in wavs]
    normal = [number for number, path in enumerate(paths) if path.stem.startswith("normal")]
    table = torch.cat([feats[number][0] for number in normal]).numpy()
    starts = np.concatenate([344 * row + np.arange(340) for row in range(len(normal))])
    dataset = FrameDataset(table, starts, np.zeros(len(starts), int), np.zeros(len(starts), bool), 5, 256, 0)
    optimizer = torch.optim.Adam(system.parameters(), 1e-3)
    for step in range(1, 1201):
        optimizer.zero_grad()
        system.losses(dataset[step].feats, None)["loss"].backward()
        optimizer.step()
    system.eval()
    scores = np.array([float(system.represent(x, ["ToyCar"])["score.mse"]) for x in feats])
    official = np.array([known[f"{path.stem}.wav"] for path in paths])
    assert 0.5 < scores[normal].mean() / official[normal].mean() < 1.6
    others = np.setdiff1d(np.arange(len(paths)), normal)
    ranks = [np.argsort(np.argsort(values[others])) for values in (scores, official)]
    assert np.corrcoef(*ranks)[0, 1] > 0.5
