import copy

import pytest
import torch

from asdkit.config import BeatsArch, Config
from asdkit.infer.clips import fold
from asdkit.models.embedder import Embedder, embed
from asdkit.utils.typed_yaml import validate

ARCH = BeatsArch(
    encoder_layers=2, encoder_embed_dim=24, encoder_ffn_embed_dim=48, encoder_attention_heads=4, embed_dim=16,
    conv_pos=16, conv_pos_groups=4,
).model_dump()  # fmt: skip


@pytest.mark.parametrize(("amp", "dtype"), [("none", torch.float32), ("bfloat16", torch.bfloat16)])
def test_folded_weights_give_the_same_embeddings(amp, dtype):
    torch.manual_seed(0)
    settings = {"encoder": {"arch": ARCH}, "model": {"group_adapter": {}}, "embed": {"amp": amp}}
    config = validate(Config, settings, "test")
    model = Embedder(config).eval()
    feats = torch.randn(3, 64, 128)
    folded = copy.deepcopy(model)
    fold(folded, dtype)
    assert folded.projection.weight.dtype == folded.encoder.encoder.pos_conv[0].folded.dtype == dtype
    assert folded.state_dict().keys() == model.state_dict().keys()
    assert torch.equal(embed(folded, feats, config.embed, 64, 64), embed(model, feats, config.embed, 64, 64))
