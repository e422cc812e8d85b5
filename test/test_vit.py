"""What vision transformers are made of, beside the formulas written out."""

import pytest
import torch
import torch.nn.functional as F

from asdkit.layers.vit import ROWS, Attention, Patches, Trunk, VitBlock


def random(*shape) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_patches_are_time_major():
    patches = Patches(mels=8, dim=3, size=(4, 2), stride=(3, 2))
    feats = random(2, 12, 8)
    tokens = patches(feats)
    assert (patches.bands, [patches.columns(n) for n in (3, 4, 6, 7, 12)]) == (4, [0, 1, 1, 2, 3])
    assert tokens.shape == (2, 3 * 4, 3)
    for t in range(3):
        for f in range(4):
            patch = feats[:, 3 * t : 3 * t + 4, 2 * f : 2 * f + 2].flatten(1)  # [B, 8]
            expected = patch @ patches.weight.flatten(1).t() + patches.bias
            torch.testing.assert_close(tokens[:, t * 4 + f], expected)


@pytest.mark.parametrize("extra", [False, True])
def test_attention_is_the_formula(extra):
    torch.manual_seed(0)
    attention = Attention(12, 3, extra=extra).double()
    x = random(2, 5, 12).double()
    q, k, v = attention.qkv(x).chunk(3, -1)
    if extra:
        k, v = (
            torch.cat([own, more.expand(2, 1, 12)], 1) for own, more in ((k, attention.bias_k), (v, attention.bias_v))
        )
    heads = []
    for head in range(3):
        own = slice(4 * head, 4 * head + 4)
        scores = q[..., own] @ k[..., own].transpose(1, 2) / 2
        heads.append(scores.softmax(-1) @ v[..., own])
    expected = attention.proj(torch.cat(heads, -1))
    torch.testing.assert_close(attention(x), expected)


def test_a_block_is_the_formula():
    torch.manual_seed(0)
    block = VitBlock(12, 3, 20, qkv_bias=False)
    x = random(2, 5, 12) / 100  # so small that the norms' epsilon shows
    assert block.attn.qkv.bias is None

    def norm(x):
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()

    middle = x + block.attn(norm(x))
    hidden = block.mlp.fc1(norm(middle))
    expected = middle + block.mlp.fc2(hidden * (1 + torch.erf(hidden / 2**0.5)) / 2)
    torch.testing.assert_close(block(x), expected)
    assert list(block.block().linears) == ["qkv", "proj", "fc1", "fc2"]
    assert all(isinstance(getattr(*place), torch.nn.Linear) for place in block.block().linears.values())


def test_clips_may_go_through_in_groups():
    torch.manual_seed(0)
    trunk = Trunk(2, 8, 2, 16)
    x = random(5, ROWS // 2, 8)  # two at a time
    with torch.no_grad():
        torch.testing.assert_close(trunk(x), torch.cat([trunk(clip[None]) for clip in x]))
        grouped = trunk(x)
    torch.testing.assert_close(grouped, trunk(x))
    assert trunk.memory(ROWS // 2, 5, "cpu", "float32") == 2 * trunk.memory(ROWS // 2, 1, "cpu", "float32")
    assert trunk.memory(ROWS, 5, "cuda", "bfloat16") == 5 * ROWS * (8 + 2 * 16) * 2


def test_random_weights_are_small_and_biases_zero():
    torch.manual_seed(0)
    trunk = Trunk(2, 64, 2, 256)
    weights = [p for name, p in trunk.named_parameters() if name.endswith("weight") and "norm" not in name]
    assert len(weights) == 8 and all(0.017 < p.std() < 0.023 for p in weights)
    assert not any(p.any() for name, p in trunk.named_parameters() if name.endswith("bias"))
    assert F.cosine_similarity(trunk[0].mlp.fc1.weight.flatten(), trunk[1].mlp.fc1.weight.flatten(), 0).abs() < 0.1
