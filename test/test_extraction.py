import copy

import torch

from asdkit.config import BeatsArch, Config
from asdkit.models.embedder import Embedder
from asdkit.models.embedding import embed
from asdkit.models.extraction import round_linears
from asdkit.utils.typed_yaml import validate

ARCH = BeatsArch(
    encoder_layers=2, encoder_embed_dim=24, encoder_ffn_embed_dim=48, encoder_attention_heads=4, embed_dim=16,
    conv_pos=16, conv_pos_groups=4,
).model_dump()  # fmt: skip


def test_rounded_weights_give_the_embeddings_of_autocast():
    torch.manual_seed(0)
    settings = {"encoder": {"arch": ARCH}, "model": {"group_adapter": {}}, "embed": {"amp": "bfloat16"}}
    config = validate(Config, settings, "test")
    model = Embedder(config).eval()
    feats = torch.randn(3, 64, 128)
    rounded = copy.deepcopy(model)
    round_linears(rounded)
    assert rounded.projection.weight.dtype == torch.bfloat16
    assert torch.equal(embed(rounded, feats, config.embed, 64, 64), embed(model, feats, config.embed, 64, 64))
