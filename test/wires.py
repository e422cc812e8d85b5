"""What test_wires.py turns: every field of a configuration, and another value for each."""

from dataclasses import dataclass
from types import NoneType
from typing import Any, get_args, get_origin

from asdkit.config import Config
from asdkit.pretrain.config import PretrainConfig
from asdkit.utils.typed_yaml import Section, members_of

ARCH = """{encoder_layers: 2, encoder_embed_dim: 16, encoder_ffn_embed_dim: 16, encoder_attention_heads: 2,
         embed_dim: 8, conv_pos: 8, conv_pos_groups: 2, encoder_layerdrop: 0.0}"""
EXPERIMENT = f"""
encoder: {{train: true, arch: {ARCH}}}
data: {{chunk_seconds: 0.3}}
model: {{lora: {{branches: 2, rank: 2}}, group_adapter: {{groups: 3, hidden: 4}}, attention_dim: 6, embedding_dim: 8}}
loss: {{dlcl: {{codes: 4, memory: 6}}}}
train: {{steps: 3, batch_size: 6, lr: 1e-2, warmup_steps: 1}}
score: {{knn: {{}}, given: {{detector: given, array: score.a}}}}
"""
PRETRAINING = f"""
arch: {ARCH}
sound: {{crop_seconds: 0.4, mixed: 0.9, channel: 0}}
tokenizer: {{codes: 8, dim: 4, codebooks: 2, statistics_clips: 8}}
predictor: {{dim: 8, heads: 2, conv_pos: 4}}
train: {{steps: 3, batch_size: 4, warmup_steps: 1}}
"""


@dataclass(frozen=True)
class Wire:
    """Another value of a field than the base configuration's, and where it shows.

    other: the value, as in `--set <field>=<value>`, or whole settings. on: settings of both runs, so that it counts.
    looks: "result" (weights, arrays, files of scores), "heard" (what goes into the network: for fields that choose
    between ways to the same numbers), "curve" (losses, up to rounding), "cfg" (what a pre-trained file says of itself).
    until: the last stage. refused: the error that the value gives instead. What only makes another network needs no
    training to be seen: until "build".
    """

    other: str | tuple[str, ...]
    on: tuple[str, ...] = ()
    looks: str = "result"
    until: str = "train"
    refused: str = ""

    def settings(self, key: str) -> tuple[str, ...]:
        """What `--set` is given for the field `key`."""
        return self.other if isinstance(self.other, tuple) else (f"{key}={self.other}",)


def leaves(model: type[Section], prefix: str = "") -> dict[str, Any]:
    """Every field below a section, by its dotted name; where it may be one of several kinds, with the kind in it.

    A section that may be null is a field, too.
    """
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        key, place = prefix + name, field.annotation
        inner = members_of(get_args(place)[-1] if get_origin(place) is dict else place)
        sections = [
            (m, names) for m, names in inner if isinstance(m, type) and not get_origin(m) and issubclass(m, Section)
        ]
        if not sections or NoneType in get_args(place):
            found[key] = field
        for member, names in sections:
            (kind,) = names - {str(member), member.__name__} if len(sections) > 1 else ("",)
            found |= leaves(member, f"{key}.{kind}." if kind else f"{key}.")
    return found


def setting_of(field: str) -> str:
    """The key that a user writes: `encoder.beats.train` is `encoder.train`; a score has its kind for its name here."""
    parts = field.removeprefix("pretrain.").split(".")
    return ".".join(parts[:1] + parts[2:] if parts[0] == "encoder" else parts)


def told_once(field: str) -> bool:
    """Whether a field is another speech encoder's as well: one class has it and one function reads it for all."""
    parts = field.split(".")
    return parts[1] in ("unispeech", "hubert", "wavlm") and parts[2] not in ("name", "checkpoint")


FIELDS = {key: field for key, field in leaves(Config).items() if not told_once(key)}
FIELDS |= leaves(PretrainConfig, "pretrain.")

NO_BLOCKS = ("model.lora=null", "model.group_adapter=null")
LOGMEL = ("encoder={name: logmel}",)
ENVELOPE = ("encoder={name: envelope}",)
CHUNKS = ("embed.segment=chunk", "embed.hop_seconds=0.1")
BEATS = (f"encoder={{name: beats, train: true, arch: {ARCH}}}",)
VIT = "{embed_dim: 16, depth: 2, num_heads: 2}"
VIT_WIRES = {"embed_dim": "8", "depth": "1", "num_heads": "4"}
FISHER = (f"encoder={{name: fisher, train: true, arch: {VIT}}}",)
WEIGHTS = ("encoder.arch=null", "encoder.checkpoint=a.pt")
BRIEF = (*NO_BLOCKS, "train.steps=1", "train.batch_size=2")
CLAP_ARCH = "{embed_dim: 2, depths: [1, 1, 1, 1], num_heads: [1, 1, 1, 1]}"
CLAP = (f"encoder={{name: clap, train: true, arch: {CLAP_ARCH}}}", *BRIEF)
CLAP_FILE = ("encoder={name: clap, train: true, checkpoint: clap_a.pt}", *BRIEF)
ONE_KIND = "has no weights"
ALL_FROZEN = "'frozen_layers' 1: without 'train' all of .* is frozen"
NO_SPECIALS = "no token of this encoder stands for the whole clip"
AST = ("encoder={name: ast, train: true, arch: {embed_dim: 16, depth: 2, num_heads: 2}}",)
CLS = (*AST, "train.steps=0", "embed.arrays.cls={pooling: cls}")
AUTOENCODER = ("encoder={name: autoencoder, hidden: 8}", "model={}", "loss={}")
FROM_SCRATCH = "trained from random weights always"
TEACHER = ("tokenizer.teacher=a.pt",)
NOISE = ("sound.noise={}",)
LATENT = ("latent={layers: 1}", "train.steps=4")


def embed(other: str, *on: str, looks: str = "result") -> Wire:
    """A field of stage 4."""
    return Wire(other, on, looks, "embed")


def pooled(kind: str, own: dict[str, str]) -> dict[str, Wire]:
    """The fields of a pooling; `kind` is the array's name, too."""
    there = ("train.steps=0", f"embed.arrays.{kind}={{pooling: {kind}, bands: true}}")
    other = {"pooling": "gem" if kind == "max" else "max", "bands": "false", "layers": "1", **own}
    return {f"embed.arrays.{kind}.{name}": embed(value, *there) for name, value in other.items()}


def encoder(name: str, arch: str, own: dict[str, str], foreign: str) -> dict[str, Wire]:
    """The fields of an encoder: `own`, those of its section `arch`; foreign: the error that a file of BEATs gives."""
    there = (f"encoder={{name: {name}, train: true, arch: {arch}}}",)
    file = ("encoder.arch=null", "encoder.checkpoint=a.pt")
    fields = {
        "name": Wire(BEATS, there, until="build"),
        "checkpoint": Wire(file, there, until="build", refused=foreign),
        "arch": Wire(file, there, until="build", refused=foreign),
        "train": Wire("false", there, until="build"),
        "layers": Wire("1", there, until="build"),
        "frozen_layers": Wire("1", there, until="build"),
        **{f"arch.{field}": Wire(other, there, until="build") for field, other in own.items()},
    }
    return {f"encoder.{name}.{field}": wire for field, wire in fields.items()}


def spectrum(name: str, own: dict[str, str]) -> dict[str, Wire]:
    """The fields of a spectrum without weights: `own`, and the rate and upper edge, which all have."""
    there = (f"encoder={{name: {name}}}", *NO_BLOCKS)
    fields = {"sample_rate": "8000", "high": "6000", **own}
    return {f"encoder.{name}.{field}": Wire(other, there, until="build") for field, other in fields.items()}


def convolutional(name: str, own: dict[str, str]) -> dict[str, Wire]:
    """The fields of an encoder without weights to load: `own`, those of its section `arch`."""
    arch = {"cnn10": "{channels: 2, dropout: 0.1}", "mobilenet": "{width: 0.1}"}[name]
    there = (f"encoder={{name: {name}, train: true, arch: {arch}}}", *NO_BLOCKS)
    fields = {
        "name": Wire(BEATS, there, until="build"),
        "checkpoint": Wire("a.pt", (there[0].partition(", arch")[0] + "}", *NO_BLOCKS), refused="starts from random"),
        "arch": Wire("null", there, until="build"),
        "train": Wire("false", there, until="build"),
        "layers": Wire("1", there, until="build", refused="has no transformer blocks"),
        "frozen_layers": Wire("1", there, until="build", refused="has no transformer blocks"),
        **{f"arch.{field}": Wire(other, there) for field, other in own.items()},
    }
    return {f"encoder.{name}.{field}": wire for field, wire in fields.items()}


ARCH_WIRES = {
    "encoder_layers": "1",
    "encoder_embed_dim": "24",
    "encoder_ffn_embed_dim": "24",
    "encoder_attention_heads": "4",
    "embed_dim": "12",
    "input_patch_size": "8",
    "conv_pos": "6",
    "conv_pos_groups": "4",
    "encoder_layerdrop": "0.5",
    "layer_wise_gradient_decay_ratio": "0.5",
}
SPEECH = """{hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 16,
           conv_dim: [4, 4, 4, 4, 4, 4, 4], num_conv_pos_embeddings: 8, num_conv_pos_embedding_groups: 2}"""
SPEECH_FIELDS = {
    "train": "false",
    "layers": "[1, 2]",
    "frozen_layers": "1",
    "arch.hidden_size": "24",
    "arch.num_hidden_layers": "1",
    "arch.num_attention_heads": "4",
    "arch.intermediate_size": "24",
    "arch.conv_dim": "[4, 4, 4, 4, 4, 4, 8]",
    "arch.conv_bias": "true",
    "arch.feat_extract_norm": "layer",
    "arch.do_stable_layer_norm": "true",
    "arch.num_conv_pos_embeddings": "6",
    "arch.num_conv_pos_embedding_groups": "4",
    "mask_time_prob": "0.5",
    "layerdrop": "0.5",
}


def speech(name: str) -> dict[str, Any]:
    """The fields of a speech encoder; a.<name> and b.<name> are folders of weights."""
    there = f"encoder={{name: {name}, train: true, arch: {SPEECH}}}"
    loaded = f"encoder={{name: {name}, checkpoint: a.{name}}}"
    other = there.replace(f"name: {name}", f"name: {'hubert' if name == 'wavlm' else 'wavlm'}")
    masked = (there, "encoder.mask_time_prob=0.5", "encoder.mask_time_length=2")
    found = {field: Wire(value, (there,)) for field, value in SPEECH_FIELDS.items()}
    found |= {
        "name": Wire((other,), (there,)),
        "checkpoint": Wire(f"b.{name}", (loaded,)),
        "arch": Wire((loaded,), (there,)),
        "mask_time_length": Wire("4", masked),
    }
    return {key: wire for field, wire in found.items() if not told_once(key := f"encoder.{name}.{field}")}


TRAIN_WIRES: dict[str, Any] = {
    "steps": "4",
    "batch_size": "5",
    "lr": "2e-2",
    "warmup_steps": "3",
    "schedule": "linear",
    "weight_decay": "0.5",
    "grad_clip": "0.01",
    "precision": "bfloat16",
    "log_every": "1",
    "checkpoint_every": "1",
}
SCORE_WIRES: dict[str, Any] = {
    "per_section": "true",
    "normalise": "test_zscore",
    "threshold_percentile": "50",
}
SMOTE = ("per_domain=false", "smote={amount: 0.5, k: 2}")


def score(kind: str, own: dict[str, Any]) -> dict[str, Any]:
    """The fields of a detector: those that all have, and its own."""
    score = f"score.{kind}"
    there = f"{score}={{detector: {kind}{', n_estimators: 9' if kind == 'iforest' else ''}}}"
    smote = tuple(f"{score}.{setting}" for setting in SMOTE)
    common = {
        **SCORE_WIRES,
        "detector": Wire((f"{score}={{detector: {'lof' if kind == 'knn' else 'knn'}}}",), (there,)),
        "array": "other",
        "per_domain": Wire("true", (there,)),
        "smote": Wire("{amount: 0.5, k: 2}", (there, f"{score}.{SMOTE[0]}")),
        "smote.amount": Wire("0.4", (there, *smote)),
        "smote.k": Wire("1", (there, *smote)),
        "smote.seed": Wire("1", (there, *smote)),
    }
    found = {f"{score}.{name}": wire for name, wire in {**common, **own}.items()}
    return {name: wire if isinstance(wire, Wire) else Wire(wire, (there,)) for name, wire in found.items()}


RESCALED = ("score.knn.rescale={kind: ratio, k: 2}",)
WIRES: dict[str, Any] = {
    "encoder.beats.name": Wire(LOGMEL, NO_BLOCKS),
    "encoder.beats.checkpoint": Wire("b.pt", WEIGHTS),
    "encoder.beats.train": "false",
    "encoder.beats.layers": ["[1, 2]", "weighted", "concatenated"],
    "encoder.beats.frozen_layers": "1",
    "encoder.beats.arch": Wire(("encoder.arch=null", "encoder.checkpoint=a.pt")),
    **{f"encoder.beats.arch.{name}": other for name, other in ARCH_WIRES.items()},
    "encoder.clap.name": Wire(LOGMEL, CLAP),
    "encoder.clap.checkpoint": Wire("clap_b.pt", CLAP_FILE),
    "encoder.clap.train": Wire("false", CLAP),
    "encoder.clap.layers": Wire("3", CLAP),
    "encoder.clap.frozen_layers": Wire("3", CLAP, until="build"),
    "encoder.clap.arch": Wire(("encoder.arch=null", "encoder.checkpoint=clap_a.pt"), CLAP),
    "encoder.clap.arch.embed_dim": Wire("4", CLAP),
    "encoder.clap.arch.depths": Wire("[1, 2, 1, 1]", CLAP),
    "encoder.clap.arch.num_heads": Wire("[2, 1, 1, 1]", CLAP),
    "encoder.clap.sample_rate": Wire("48000", CLAP, refused="16000 Hz"),
    "encoder.logmel.name": Wire((f"encoder={{name: beats, arch: {ARCH}}}",), (*LOGMEL, *NO_BLOCKS)),
    "encoder.logmel.checkpoint": Wire("a.pt", (*LOGMEL, *NO_BLOCKS), refused=ONE_KIND),
    "encoder.logmel.train": Wire("true", (*LOGMEL, *NO_BLOCKS), refused=ONE_KIND),
    "encoder.logmel.layers": Wire("1", (*LOGMEL, *NO_BLOCKS), refused=ONE_KIND),
    "encoder.logmel.frozen_layers": Wire("1", (*LOGMEL, *NO_BLOCKS), refused=ALL_FROZEN),
    **spectrum("logmel", {"low": "100", "bands": "64", "scale": "linear"}),
    "encoder.envelope.name": Wire(LOGMEL, (*ENVELOPE, *NO_BLOCKS), until="build"),
    "encoder.envelope.checkpoint": Wire("a.pt", (*ENVELOPE, *NO_BLOCKS), refused=ONE_KIND),
    "encoder.envelope.train": Wire("true", (*ENVELOPE, *NO_BLOCKS), refused=ONE_KIND),
    "encoder.envelope.layers": Wire("1", (*ENVELOPE, *NO_BLOCKS), refused=ONE_KIND),
    "encoder.envelope.frozen_layers": Wire("1", (*ENVELOPE, *NO_BLOCKS), refused=ALL_FROZEN),
    **spectrum("envelope", {"low": "2000", "frame_seconds": "0.25", "highest": "100"}),
    **encoder("ast", VIT, VIT_WIRES, "an AST file is a dict of tensors"),
    **encoder("ced", VIT, VIT_WIRES, "no tensor 'time_pos_embed' in it"),
    **encoder("dasheng", VIT, VIT_WIRES, "no tensor 'time_pos_embed' in it"),
    **encoder("eat", VIT, VIT_WIRES, "no tensor 'cls_token' in it"),
    "encoder.eat.clean_up": Wire("true", (f"encoder={{name: eat, train: true, arch: {VIT}}}",), until="build"),
    **encoder("fisher", VIT, VIT_WIRES, "no dict 'model' under 'cfg' in it"),
    "encoder.fisher.sample_rate": Wire("8000", FISHER, until="build"),
    **encoder("atst_clip", VIT, VIT_WIRES, "an ATST file is a torch file of"),
    **encoder("atst_frame", VIT, VIT_WIRES, "an ATST file is a torch file of"),
    **encoder("imagebind", VIT, VIT_WIRES, "an ImageBind file is a torch file of"),
    "encoder.autoencoder.name": Wire((f"encoder={{name: beats, arch: {ARCH}}}",), AUTOENCODER),
    "encoder.autoencoder.checkpoint": Wire("a.pt", AUTOENCODER, refused=FROM_SCRATCH),
    "encoder.autoencoder.train": Wire("true", AUTOENCODER, refused=FROM_SCRATCH),
    "encoder.autoencoder.layers": Wire("1", AUTOENCODER, refused=FROM_SCRATCH),
    "encoder.autoencoder.frozen_layers": Wire("1", AUTOENCODER, refused=ALL_FROZEN),
    "encoder.autoencoder.frames": Wire("3", AUTOENCODER),
    "encoder.autoencoder.hidden": Wire("9", AUTOENCODER),
    "encoder.autoencoder.bottleneck": Wire("7", AUTOENCODER),
    **speech("wav2vec2"),
    **speech("unispeech"),
    **speech("hubert"),
    **speech("wavlm"),
    **convolutional("cnn10", {"channels": "3", "dropout": "0.5"}),
    **convolutional("mobilenet", {"width": "0.3"}),
    "data.sets": "[dev_train]",
    "data.label": ["machine+section+domain+attr", Wire("folder", ("loss.dlcl=null",))],
    "data.hide_attributes": "[fan]",
    "data.chunk_seconds": ["0.4", embed("0.4", "train.steps=0", *CHUNKS)],
    "data.feats_type": [Wire("fbank", looks="heard"), embed("fbank", "train.steps=0", looks="heard")],
    "data.balance": ["machine", "class"],
    "data.balance_temperature": Wire("2.0", ("data.balance=class",)),
    "data.held_out": "{}",
    "data.held_out.fraction": Wire("0.5", ("data.held_out={}",)),
    "data.held_out.by": Wire("folder", ("data.held_out={}",), refused="no machine has two training clips"),
    "data.workers": embed("1"),
    "data.level": [
        "clip_rms",
        "machine_rms",
        embed("clip_rms", "train.steps=0"),
        embed("machine_rms", "train.steps=0"),
    ],
    "data.reference": [
        "complex",
        "magnitude",
        embed("complex", "train.steps=0"),
        Wire("complex", ("data.feats_type=fbank",)),
    ],
    "model.lora": "null",
    "model.lora.branches": "3",
    "model.lora.rank": "3",
    "model.lora.fully_connected": "false",
    "model.lora.targets": "[q_proj, fc1]",
    "model.group_adapter": "null",
    "model.group_adapter.groups": "4",
    "model.group_adapter.position": ["ffn", "transformer"],
    "model.group_adapter.hidden": "5",
    "model.group_adapter.temperature": "0.2",
    "model.pooling": ["mean", "mean_std", Wire("cls", AST)],
    "model.layers_dim": Wire("7", ("encoder.layers=concatenated",)),
    "model.attention_dim": "7",
    "model.embedding_dim": ["9", "null"],
    "loss.normalise": "false",
    "loss.aam": Wire(("loss.aam=null", "loss.cross_entropy=true")),
    "loss.aam.scale": "20.0",
    "loss.aam.margin": "0.5",
    "loss.aam.centres": "3",
    "loss.adacos": "{}",
    "loss.adacos.centres": Wire("3", ("loss.adacos={}",)),
    "loss.cross_entropy": "true",
    "loss.centre": "{}",
    "loss.centre.weight": Wire("0.5", ("loss.centre={}",)),
    "loss.centre.rate": Wire("0.25", ("loss.centre={}",)),
    "loss.exchange": "{}",
    "loss.exchange.kind": Wire("statex", ("loss.exchange={}",)),
    "loss.exchange.probability": Wire("1.0", ("loss.exchange={probability: 0.1}",)),
    "loss.exchange.weight": Wire("0.1", ("loss.exchange={}",)),
    "loss.dlcl": "null",
    "loss.dlcl.weight": "2.0",
    "loss.dlcl.temperature": "0.5",
    "loss.dlcl.codes": "16",
    "loss.dlcl.memory": "2",
    **{f"train.{name}": other for name, other in TRAIN_WIRES.items()},
    "train.specaugment": "null",
    "train.specaugment.time_masks": "0",
    "train.specaugment.time_width": "3",
    "train.specaugment.freq_masks": "0",
    "train.specaugment.freq_width": "3",
    "train.specaugment.warp": "0",
    "train.pseudo_labels": Wire("{}", ("loss.dlcl=null",)),
    "train.pseudo_labels.steps": Wire("[1]", ("loss.dlcl=null", "train.pseudo_labels={}")),
    "train.pseudo_labels.method": Wire("agglomerative", ("loss.dlcl=null", "train.pseudo_labels={fewest: 4, most: 4}")),
    "train.pseudo_labels.fewest": Wire("4", ("loss.dlcl=null", "train.pseudo_labels={most: 4}")),
    "train.pseudo_labels.most": Wire("3", ("loss.dlcl=null", "train.pseudo_labels={}")),
    "train.noise": Wire("{probability: 1.0}"),
    "train.noise.source": Wire("supplemental", ("train.noise={}",), refused="stage 1 found no supplemental clips"),
    "train.noise.probability": Wire("1.0", ("train.noise={probability: 0.1}",)),
    "train.noise.snr_low": Wire("-5.0", ("train.noise={probability: 1.0}",)),
    "train.noise.snr_high": Wire("6.0", ("train.noise={probability: 1.0}",)),
    "train.mixup": "{}",
    "train.mixup.probability": Wire("1.0", ("train.mixup={probability: 0.1}",)),
    "train.mixup.alpha": Wire("0.2", ("train.mixup={probability: 1.0}",)),
    "train.speed": "{machines: [fan]}",
    "train.speed.machines": Wire("[pump]", ("train.speed={machines: [fan]}",)),
    "train.speed.factors": Wire("[0.8]", ("train.speed={machines: [fan]}",)),
    "train.gain": "{}",
    "train.gain.probability": Wire("1.0", ("train.gain={probability: 0.1}",)),
    "train.gain.low": Wire("-3.0", ("train.gain={}",)),
    "train.gain.high": Wire("9.0", ("train.gain={}",)),
    "train.save_steps": "[2]",
    "train.graphs": "true",
    **{f"train.rates.{name}": "0.5" for name in ("encoder", "lora", "group_adapter", "head", "decay")},
    "train.ema": "0.5",
    "train.accumulate": Wire("4", looks="curve"),
    "embed.checkpoint": [embed("step1", "train.save_steps=[1]"), embed("average", "train.save_steps=[1]")],
    "embed.segment": embed("chunk"),
    "embed.hop_seconds": [embed("0.05", *CHUNKS), embed("0.05", "embed.chunks=true", CHUNKS[1])],
    "embed.chunks": embed("true"),
    **pooled("mean", {}),
    **pooled("std", {}),
    **pooled("max", {}),
    **pooled("gem", {"p": "2.0"}),
    **pooled("gwrp", {"r": "0.9"}),
    **pooled("rdp", {"gamma": "9.0", "weights": "frame"}),
    **pooled("hybrid", {"gamma": "1.0", "p": "1.0", "weights": "frame"}),
    "embed.arrays.cls.pooling": embed("max", *CLS),
    "embed.arrays.cls.bands": [
        embed("true", *FISHER, "train.steps=0", "embed.arrays.cls={pooling: cls}"),
        Wire(("embed.arrays.cls={pooling: cls, bands: true}",), refused=NO_SPECIALS),
    ],
    "embed.arrays.cls.layers": embed("1", *CLS),
    "embed.batch_size": embed("3", looks="heard"),
    "embed.precision": embed("bfloat16"),
    "embed.memory_gb": embed("1.0"),
    **score(
        "knn",
        {
            "per_domain": Wire("false", ("score.knn.k=2",)),  # the nearest of all is the nearest of any domain
            "k": "2",
            "distance": "euclid",
            "join": Wire("coupled", ("score.knn.array=bands",)),
            "rescale": "{kind: ratio}",
            "rescale.kind": Wire("difference", RESCALED),
            "rescale.k": Wire("3", RESCALED),
            "rescale.k_target": Wire("1", RESCALED),
            "rescale.rank": Wire("0.5", RESCALED),
            "rescale.total": Wire("true", ("score.knn.rescale={kind: difference, k: 2}",)),
        },
    ),
    "score.knn.normalise": ["test_zscore", "zscore", "median"],
    **score(
        "kmeans",
        {"per_domain": "false", "n_clusters": "3", "distance": "euclid", "renormalise": "true", "random_state": "1"},
    ),
    **score("lof", {"n_neighbors": "3", "per_domain": Wire("true", ("score.lof={detector: lof, n_neighbors: 2}",))}),
    **score("gmm", {"n_components": "2", "covariance_type": "diag", "reg_covar": "0.1"}),
    "score.gmm.random_state": Wire("1", ("score.gmm={detector: gmm, n_components: 3}",)),
    **score("mahalanobis", {}),
    **score("iforest", {"n_estimators": "20", "max_samples": "8", "random_state": "1"}),
    **{f"score.given.{name}": other for name, other in SCORE_WIRES.items()},
    "score.given.detector": Wire(("score.given={detector: knn}",)),
    "score.given.array": "score.b",
    "score.given.non_negative": Wire("true", ("score.given.array=score.positive",)),
    "score.given.smote": Wire("{k: 1}", refused="smote: Input should be None"),
    "score.given.per_domain": Wire("true", refused="per_domain: Input should be False"),
    "pretrain.init": Wire("b.pt", ("arch=null", "init=a.pt")),
    "pretrain.arch": Wire(("arch=null", "init=a.pt")),
    **{f"pretrain.arch.{name}": other for name, other in ARCH_WIRES.items()},
    # of the network that pre-training hands on
    "pretrain.arch.encoder_layerdrop": Wire("0.5", looks="cfg"),
    "pretrain.arch.layer_wise_gradient_decay_ratio": Wire("0.5", looks="cfg"),
    "pretrain.mask": "0.5",
    "pretrain.sound.crop_seconds": "0.5",
    "pretrain.sound.generated": "0.25",
    "pretrain.sound.mixed": "0.1",
    "pretrain.sound.speed": "0.5",
    "pretrain.sound.level_db": "[-40.0, -20.0]",
    "pretrain.sound.channel": "1",
    "pretrain.sound.resample": Wire("false", refused="8000 Hz, expected 16000 Hz"),
    "pretrain.sound.cache_hours": "0.0",
    "pretrain.sound.machines": "0.9",
    "pretrain.sound.longest_seconds": "2.0",
    "pretrain.sound.noise": "{}",
    "pretrain.sound.noise.probability": Wire("0.3", NOISE),
    "pretrain.sound.noise.snr_db": Wire("[0.0, 0.0]", NOISE),
    "pretrain.sound.noise.kinds": Wire("[hum]", NOISE),
    "pretrain.sound.noise.room": Wire("1.0", NOISE),
    "pretrain.latent": "{layers: 1}",
    "pretrain.latent.decay": Wire("0.0", LATENT),
    "pretrain.latent.layers": Wire("2", LATENT),
    "pretrain.latent.weight": Wire("0.1", LATENT),
    "pretrain.latent.clip": Wire("0.1", LATENT),
    "pretrain.tokenizer.weight": Wire("0.5", LATENT),
    "pretrain.tokenizer.teacher": "a.pt",
    "pretrain.tokenizer.codes": ["9", Wire("9", TEACHER)],
    "pretrain.tokenizer.dim": "5",
    "pretrain.tokenizer.level": "0.5",
    "pretrain.tokenizer.relative": "false",
    "pretrain.tokenizer.codebooks": ["4", Wire("4", TEACHER)],
    "pretrain.tokenizer.statistics_clips": ["9", Wire("9", TEACHER)],
    "pretrain.predictor.layers": "2",
    "pretrain.predictor.dim": "12",
    "pretrain.predictor.heads": "4",
    "pretrain.predictor.conv_pos": "6",
    **{f"pretrain.train.{name}": other for name, other in TRAIN_WIRES.items()},
    "pretrain.train.schedule": "constant",
}
