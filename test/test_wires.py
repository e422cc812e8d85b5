"""Every field of a configuration changes what is made, or is declared NO_RESULT and changes nothing.

wires.py has another value for each field; the programs run with both, in this process, on a tiny corpus.
"""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from corpora import prepare, write_clip, write_corpus
from experiments import Experiment
from wires import ARCH, CLAP_ARCH, EXPERIMENT, FIELDS, PRETRAINING, SPEECH, WIRES, Wire, leaves, setting_of

from asdkit.bin import extract_embeddings, extract_feats, list_audio, make_lists, pretrain, score, train
from asdkit.config import BeatsArch, ClapArch, Config, TrainConfig, load_config
from asdkit.config.identity import experiment_identity, score_identity
from asdkit.corpus.manifest import read_manifest, write_manifest
from asdkit.encoders.beats import random_beats
from asdkit.encoders.beats_checkpoint import save_beats
from asdkit.encoders.clap import Clap
from asdkit.encoders.speech import FAMILIES
from asdkit.models.checkpoint import read_checkpoint
from asdkit.models.classifier import Classifier
from asdkit.models.embedder import Embedder
from asdkit.pretrain.config import load_pretrain_config, pretrain_identity
from asdkit.utils.ark import read_ark, write_ark
from asdkit.utils.files import read_text, write_text
from asdkit.utils.typed_yaml import dump_yaml, parse_yaml

pytestmark = pytest.mark.xdist_group("wires")  # one bench for all


class Bench:
    """A folder in which experiments are run, none of them twice; `heard`: what the network was given."""

    def __init__(self, root):
        self.root, self.known, self.heard, self.tries = root, {}, [], 0
        write_corpus(root / "corpus", 0.5, train=4, per_test=1, channels=2)
        prepare(root, channel=0, reference_channel=1)
        write_text(root / "x.yaml", EXPERIMENT)
        write_text(root / "p.yaml", PRETRAINING)
        for seed, name in enumerate(("a.pt", "b.pt")):
            torch.manual_seed(seed)
            save_beats(random_beats(BeatsArch(**parse_yaml(ARCH, "ARCH"))), root / name)
            clap = Clap(ClapArch(**parse_yaml(CLAP_ARCH, "ARCH")), 16000).state_dict()
            stored = {f"audio_branch.{key.replace('stages.', 'layers.')}": value for key, value in clap.items()}
            torch.save({"state_dict": stored}, root / f"clap_{name}")
        for name in FAMILIES if find_spec("transformers") else ():
            for seed in range(2):
                write_speech(root / f"{'ab'[seed]}.{name}", name, seed)
        for seed in range(3):
            write_clip(root / f"sounds/{seed}.wav", 0.9, channels=2, rate=(16000, 16000, 8000)[seed], seed=seed)
        self.scored = self._to_score()

    def run(self, field, wire, settings):
        """What comes of `settings`: name -> tensor, array or bytes. Raises what the programs raise."""
        kind = "pretrain" if field.startswith("pretrain.") else "score" if field.startswith("score.") else wire.until
        key = (field.split(".")[1] if kind == "score" else kind, settings)
        if key not in self.known:
            self.tries += 1  # what is refused late leaves its folder behind
            exp = self.root / "exp" / str(self.tries)
            words = [word for setting in settings for word in ("--set", setting)]
            self.heard.clear()
            made = {"pretrain": self._pretrain, "score": self._score, "train": self._train, "embed": self._embed}
            made = (made | {"build": self._build})[kind]
            found = made(exp, words, field.split(".")[1]) if kind == "score" else made(exp, words)
            assert all(_finite(value) for value in found.values())
            others = {name: found.pop(name, None) for name in ("cfg", "curve")}
            self.known[key] = {"result": found, "heard": list(self.heard), **others}
        return self.known[key][wire.looks]

    def _build(self, exp, words):
        torch.manual_seed(0)
        made = Embedder(load_config("x.yaml", words[1::2])).eval()
        wav = 0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            found = made.state_dict() | {"embedding": made(made.encoder.frontend(wav))}
        return found | {f"{name} is trained": p.requires_grad for name, p in made.named_parameters()}

    def _train(self, exp, words):
        work = ["--data", "data", "--dump", "dump", "--exp", str(exp)]
        make_lists.main(["--config", "x.yaml", *words, *work])
        for merge in ("false", "true"):
            extract_feats.main([*work, "--merge", merge])
        train.main([*work, "--device", "cpu"])
        paths = sorted(path for path in (exp / "seed0/checkpoint").glob("*.pt") if path.name != "last.pt")
        made = {f"{path.name} {k}": v for path in paths for k, v in read_checkpoint(path)["model"].items()}
        curve = exp / "seed0/train.tsv"
        rows = read_text(curve).splitlines()[1:] if curve.exists() else []
        return made | {"curve": np.array([row.split("\t") for row in rows], dtype=float)}

    def _embed(self, exp, words):
        trained = self._train(exp, words)
        self.heard.clear()
        work = ["--data", "data", "--dump", "dump", "--exp", str(exp)]
        for merge in ("false", "true"):
            extract_embeddings.main([*work, "--device", "cpu", "--merge", merge])
        arks = sorted((exp / "seed0/embed").glob("*/*.ark"))
        return trained | {f"{path.stem} {utt}": x for path in arks for utt, x in read_ark(path).items()}

    def _to_score(self):
        made = Experiment(self.root / "scored", sets=("dev",))
        rng = np.random.default_rng(0)
        for name in ("dev_train", "dev_test"):
            rows = read_manifest(made.data / name / "manifest.tsv")
            sections = [row | {"section": f"0{number // 10 % 2}"} for number, row in enumerate(rows)]
            write_manifest(made.data / name / "manifest.tsv", sections)
            for array, size in (("other", 8), ("bands", (2, 8)), ("score.a", 2), ("score.b", 2)):
                table = {row["utt"]: rng.normal(0, 1, size).astype(np.float32) for row in rows}
                write_ark(made.exp / "seed0/embed" / name / f"{array}.ark", table)
            positive = {utt: np.abs(values) for utt, values in table.items()}
            write_ark(made.exp / "seed0/embed" / name / "score.positive.ark", positive)
        return made

    def _score(self, exp, words, name):
        config = load_config("x.yaml", words[1::2])
        write_text(self.scored.exp / "config.yaml", dump_yaml(config))
        self.scored.run(score, "--force", "true", "--score", name)
        folder = self.scored.exp / "seed0/score" / name
        paths = sorted(path for kind in ("tsv", "csv") for path in folder.rglob(f"*.{kind}"))
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}

    def _pretrain(self, exp, words):
        words = ["--config", "p.yaml", *words]
        list_audio.main([*words, "--corpus", "sounds", "--out", f"{exp}.tsv"])
        pretrain.main([*words, "--list", f"{exp}.tsv", "--exp", str(exp), "--device", "cpu"])
        content = read_checkpoint(exp / "checkpoint/final.pt")
        return content["module"] | {"cfg": content["cfg"]}


def write_speech(folder, name, seed):
    """A folder of random weights of a speech encoder."""
    import transformers

    torch.manual_seed(seed)
    config = getattr(transformers, f"{FAMILIES[name]}Config")(**parse_yaml(SPEECH, "SPEECH"))
    getattr(transformers, f"{FAMILIES[name]}Model")(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)


def _finite(value):
    return value.isfinite().all() if isinstance(value, torch.Tensor) else True


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        made = Bench(tmp_path_factory.mktemp("bench"))
        for name in ("frontend", "represent"):
            patch.setattr(Classifier, name, _noting(made.heard, name, getattr(Classifier, name)))
        patch.setattr("asdkit.utils.provenance.git_hash", lambda: "test")  # a process each time
        patch.chdir(made.root)
        yield made


def _noting(heard, name, method):
    return lambda self, x, *more: heard.append((name, len(x))) or method(self, x, *more)


def wires_of(field):
    """The entry of a field as a list; a field without one fails."""
    if field not in WIRES:
        pytest.fail(
            f"{field} has no entry in WIRES (test/wires.py): give another value than the base configuration's, with "
            "`on`, the settings under which it counts. A field that changes no result declares NO_RESULT, too"
        )
    entries = WIRES[field] if isinstance(WIRES[field], list) else [WIRES[field]]
    return [entry if isinstance(entry, Wire) else Wire(entry) for entry in entries]


def same(one, other):
    """Whether two runs gave the same."""
    if isinstance(one, np.ndarray):
        return np.allclose(one, other, rtol=1e-4)
    if not isinstance(one, dict):
        return one == other
    return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)


def _equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


def identity(field, settings):
    """What done markers hold of these settings."""
    if field.startswith("pretrain."):
        return pretrain_identity(load_pretrain_config("p.yaml", settings))
    config = load_config("x.yaml", settings)
    scores = {name: score_identity(own) for name, own in config.score.items()}
    return scores if field.startswith("score.") else experiment_identity(config)


def counts(field):
    """Whether a field is not declared NO_RESULT."""
    return (FIELDS[field].json_schema_extra or {}).get("changes_result", True)


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_changes_the_result_or_is_declared_not_to(bench, field):
    if field.split(".")[1] in FAMILIES:
        pytest.importorskip("transformers", reason="transformers is not installed")
    for wire in wires_of(field):
        other = (*wire.on, *wire.settings(setting_of(field)))
        if wire.refused:
            with pytest.raises(ValueError, match=wire.refused):
                bench.run(field, wire, other)
            continue
        found = same(bench.run(field, wire, wire.on), bench.run(field, wire, other))
        assert found is not counts(field), f"{other}: {'no other' if found else 'another'} result than {wire.on}"
        assert (identity(field, wire.on) == identity(field, other)) is found, "done markers say otherwise"


def test_every_entry_is_of_a_field():
    assert not WIRES.keys() - FIELDS.keys()


class _Train(TrainConfig):
    lookahead: float = 0.0


class _Config(Config):
    train: _Train = _Train()


def test_a_new_field_asks_for_its_entry():
    assert leaves(_Config).keys() - leaves(Config).keys() == {"train.lookahead"}
    with pytest.raises(pytest.fail.Exception, match=r"train.lookahead has no entry in WIRES \(test/wires.py\): give"):
        wires_of("train.lookahead")
