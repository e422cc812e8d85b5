"""Weights of wav2vec 2.0, UniSpeech, HuBERT and WavLM: folders of the library transformers, files of the authors."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field
from torch import Tensor, nn

from asdkit.encoders.checkpoints import check_weights, put_in, read_folder, read_torch, read_weights, renamed
from asdkit.utils.files import read_json
from asdkit.utils.typed_yaml import Section, validate

LIBRARY_EPS, AUTHORS_EPS = 1e-7, 1e-5  # what is added to the variance of a clip
MASK = "masked_spec_embed"
PREPROCESSOR = "preprocessor_config.json"
CONV = "encoder.pos_conv_embed.conv."

# What pre-training and fine-tuning put on top of the network, left out here.
HEADS = dict.fromkeys(
    (
        r"quantizer\.", r"project_q\.", r"project_hid\.", r"ctc_proj\.", r"lm_head\.", r"projector\.", r"classifier\.",
    )
)  # fmt: skip
LIBRARY: dict[str, str | None] = {
    **HEADS,
    # torch has named the parts of a normalised weight so since 2.1; before, as here
    r"encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original0$": f"{CONV}weight_g",
    r"encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original1$": f"{CONV}weight_v",
}
AUTHORS: dict[str, str | None] = {
    **dict.fromkeys((r"quantizer\.", r"project_q\.", r"final_proj\.")),
    r"mask_emb$": MASK,
    r"feature_extractor\.conv_layers\.(\d+)\.0\.": r"feature_extractor.conv_layers.\1.conv.",
    r"feature_extractor\.conv_layers\.(\d+)\.2\.(?:1\.)?": r"feature_extractor.conv_layers.\1.layer_norm.",
    r"post_extract_proj\.": "feature_projection.projection.",
    r"layer_norm\.": "feature_projection.layer_norm.",
    r"encoder\.pos_conv\.0\.": CONV,
    r"encoder\.layers\.(\d+)\.self_attn\.grep_linear\.": r"encoder.layers.\1.attention.gru_rel_pos_linear.",
    r"encoder\.layers\.(\d+)\.self_attn\.grep_a$": r"encoder.layers.\1.attention.gru_rel_pos_const",
    r"encoder\.layers\.(\d+)\.self_attn\.relative_attention_bias\.": r"encoder.layers.\1.attention.rel_attn_embed.",
    r"encoder\.layers\.(\d+)\.self_attn\.": r"encoder.layers.\1.attention.",
    r"encoder\.layers\.(\d+)\.self_attn_layer_norm\.": r"encoder.layers.\1.layer_norm.",
    r"encoder\.layers\.(\d+)\.fc1\.": r"encoder.layers.\1.feed_forward.intermediate_dense.",
    r"encoder\.layers\.(\d+)\.fc2\.": r"encoder.layers.\1.feed_forward.output_dense.",
}
HOLDS = {
    "wav2vec2": "a wav2vec 2.0 file is a torch file of 'cfg' (with 'model' and 'task') and 'model'",
    "wavlm": "a WavLM file is a torch file of 'cfg' and 'model'",
}
FOLDER = f"give a folder of config.json, {PREPROCESSOR} and weights, as transformers' save_pretrained writes them"


@dataclass(frozen=True)
class Found:
    """Weights under the library's names, the settings of their network in its words.

    eps: what is added to the variance when a clip is brought to mean 0 and variance 1; None: clips are taken as they
    are.
    """

    settings: dict[str, Any]
    weights: dict[str, Any]
    eps: float | None


class _Cfg(Section):
    """What the authors' files say of a network, as far as it is needed."""

    model_config = ConfigDict(extra="ignore")

    encoder_layers: int = Field(ge=1)
    encoder_embed_dim: int = Field(ge=1)
    encoder_ffn_embed_dim: int = Field(ge=1)
    encoder_attention_heads: int = Field(ge=1)
    conv_feature_layers: str
    conv_bias: bool
    extractor_mode: Literal["default", "layer_norm"]
    layer_norm_first: bool
    conv_pos: int = Field(ge=1)
    conv_pos_groups: int = Field(ge=1)
    dropout: float
    attention_dropout: float
    activation_dropout: float
    dropout_input: float
    # Other values than these make another network.
    activation_fn: Literal["gelu"]
    layer_type: Literal["transformer"] = "transformer"
    pos_conv_depth: Literal[1] = 1

    def settings(self, where: str) -> dict[str, Any]:
        """The same in the library's words; ValueError with `where` for convolutions that cannot be read."""
        dims, kernels, strides = zip(*_convolutions(self.conv_feature_layers, where), strict=True)
        return {
            "hidden_size": self.encoder_embed_dim,
            "num_hidden_layers": self.encoder_layers,
            "num_attention_heads": self.encoder_attention_heads,
            "intermediate_size": self.encoder_ffn_embed_dim,
            "conv_dim": list(dims),
            "conv_kernel": list(kernels),
            "conv_stride": list(strides),
            "conv_bias": self.conv_bias,
            "feat_extract_norm": {"default": "group", "layer_norm": "layer"}[self.extractor_mode],
            "do_stable_layer_norm": self.layer_norm_first,
            "num_conv_pos_embeddings": self.conv_pos,
            "num_conv_pos_embedding_groups": self.conv_pos_groups,
            "hidden_dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "activation_dropout": self.activation_dropout,
            "feat_proj_dropout": self.dropout_input,
        }


class _WavlmCfg(_Cfg):
    normalize: bool
    num_buckets: int = Field(ge=4, multiple_of=4)
    max_distance: int = Field(ge=1)
    relative_position_embedding: Literal[True]
    gru_rel_pos: Literal[True]

    def settings(self, where: str) -> dict[str, Any]:
        return super().settings(where) | {"num_buckets": self.num_buckets, "max_bucket_distance": self.max_distance}


def read_speech(path: str | Path, name: str) -> Found:
    """The weights of the encoder `name`: a folder that transformers wrote, or for wav2vec2 and wavlm the authors' file.

    Raises ValueError naming the file and what is wrong: unreadable or damaged, code in it, another network, parts that
    are not known here.
    """
    if Path(path).is_dir():
        return _folder(Path(path), name)
    if name not in HOLDS:
        raise ValueError(f"{path}: for {name}, {FOLDER}")
    contents = read_torch(path, HOLDS[name])
    cfg, weights = (contents.get(key) if isinstance(contents, dict) else None for key in ("cfg", "model"))
    if not isinstance(cfg, dict) or not isinstance(weights, dict):
        got = ", ".join(map(str, contents)) if isinstance(contents, dict) else type(contents).__name__
        raise ValueError(f"{path}: holds {got[:200]}; {HOLDS[name]}, each a dict. Or {FOLDER}")
    where = f"{path}: cfg"
    if name == "wavlm":
        read = validate(_WavlmCfg, cfg, where)
        normalised = read.normalize
    else:
        read, normalised = _fairseq(cfg, where)
    return Found(read.settings(where), renamed(weights, AUTHORS), AUTHORS_EPS if normalised else None)


def fit(network: nn.Module, found: Found, path: str) -> None:
    """Put the weights into the library's network, as float32 and strictly.

    Raises ValueError naming `path` for missing, unknown or wrongly shaped weights.
    """
    expected = network.state_dict()
    weights = {key: value for key, value in found.weights.items() if key != MASK or MASK in expected}
    check_weights(path, expected, weights, "the network that its configuration describes")
    put_in(network, weights)


def _folder(path: Path, name: str) -> Found:
    settings, file = read_folder(path, name)
    if settings.get("add_adapter") or settings.get("adapter_attn_dim") is not None:
        raise ValueError(f"{path}: config.json has add_adapter or adapter_attn_dim: such networks are not known here")
    if not (path / PREPROCESSOR).exists():
        raise ValueError(
            f"{path}: no {PREPROCESSOR} in it, which says whether clips are normalised: get it from where the weights "
            'are from, or write \'{"do_normalize": true, "sampling_rate": 16000}\' into it'
        )
    heard = read_json(path / PREPROCESSOR)
    rate, normalised = heard.get("sampling_rate", 16000), heard.get("do_normalize", True)
    if rate != 16000:
        raise ValueError(f"{path}/{PREPROCESSOR}: sampling_rate is {rate!r}, expected 16000")
    weights = read_weights(file, FOLDER)
    return Found(settings, renamed(_without(weights, f"{name}."), LIBRARY), LIBRARY_EPS if normalised else None)


def _without(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The names without the prefix that they have where a head was saved with the network."""
    return {name.removeprefix(prefix): value for name, value in weights.items()}


def _fairseq(cfg: dict[str, Any], where: str) -> tuple[_Cfg, bool]:
    """The network's part of what fairseq keeps, and whether clips are normalised."""
    model, task = cfg.get("model"), cfg.get("task")
    if not isinstance(model, dict) or not isinstance(task, dict):
        raise ValueError(f"{where}: expected 'model' and 'task', dicts")
    if (kind := model.get("_name", "wav2vec2")) != "wav2vec2":
        raise ValueError(f"{where}.model: _name is {kind!r}, expected 'wav2vec2': only pre-trained networks are read")
    if not isinstance(task.get("normalize"), bool):
        raise ValueError(f"{where}.task: 'normalize' is {task.get('normalize')!r}, expected true or false")
    return validate(_Cfg, model, f"{where}.model"), task["normalize"]


def _convolutions(text: str, where: str) -> list[tuple[int, int, int]]:
    """Channels, kernel and stride of each convolution, from '[(512, 10, 5)] + [(512, 3, 2)] * 4'."""

    def value(node: ast.expr) -> Any:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return value(node.left) + value(node.right)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            return value(node.left) * min(ast.literal_eval(node.right), 100)
        return ast.literal_eval(node)

    try:
        found = [tuple(map(int, layer)) for layer in value(ast.parse(text, mode="eval").body)]
        if found and all(len(layer) == 3 and min(layer) > 0 for layer in found):
            return found
    except (ValueError, TypeError, SyntaxError):
        pass
    raise ValueError(f"{where}: conv_feature_layers is {text[:200]!r}, expected such as '[(512, 10, 5)] * 2'")
