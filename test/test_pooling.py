import pytest
import torch

from asdkit.config import EmbedConfig, ModelConfig
from asdkit.infer.clips import represent, segments
from asdkit.models.pooling import build_pooling
from asdkit.models.system import System


def test_mean_and_deviation():
    x = torch.randn(2, 9, 4)
    torch.testing.assert_close(build_pooling(ModelConfig(pooling="mean"), 4)(x), x.mean(1))
    both = build_pooling(ModelConfig(pooling="mean_std"), 4)
    assert both.dim == 8
    torch.testing.assert_close(both(x)[:, 4:], ((x - x.mean(1, keepdim=True)) ** 2).mean(1).sqrt())


def test_attentive_pooling_written_out():
    torch.manual_seed(0)
    pooling = build_pooling(ModelConfig(pooling="attentive", attention_dim=5), 4)
    x = torch.randn(2, 9, 4)
    first, _, second = pooling.attention
    for clip, result in zip(x, pooling(x), strict=True):
        score = torch.stack([second.weight[0] @ torch.tanh(first.weight @ h + first.bias) for h in clip])
        weight = torch.exp(score) / torch.exp(score).sum()
        mean = sum(w * h for w, h in zip(weight, clip, strict=True))
        variance = sum(w * (h - mean) ** 2 for w, h in zip(weight, clip, strict=True))
        torch.testing.assert_close(result, torch.cat([mean, variance.sqrt()]), rtol=1e-4, atol=1e-5)


def test_attentive_pooling_has_finite_gradients_on_constant_tokens():
    pooling = build_pooling(ModelConfig(pooling="attentive"), 4)
    x = torch.ones(2, 5, 4, requires_grad=True)
    pooling(x).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_segments_use_every_frame():
    feats = torch.arange(10.0).view(1, 10, 1)
    assert segments(feats, 4, 3).squeeze().tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert segments(feats, 4, 5).squeeze().tolist() == [[0, 1, 2, 3], [5, 6, 7, 8], [6, 7, 8, 9]]
    assert segments(feats, 10, 5).shape == (1, 1, 10, 1)


class Mean(System):
    def represent(self, feats, machines=()):
        return {"embedding": feats.mean(1), "score.max": feats.amax(1)}


@pytest.mark.parametrize(("segment", "expected"), [("clip", 4.5), ("chunk", (1.5 + 4.5 + 7.5) / 3)])
def test_embedding_of_clips_and_of_chunks(segment, expected):
    feats = torch.arange(10.0).view(1, 10, 1).repeat(2, 1, 1)
    result = represent(Mean(), feats, EmbedConfig(segment=segment), chunk=4, hop=3)
    assert result.keys() == {"embedding", "score.max"}
    torch.testing.assert_close(result["embedding"], torch.full((2, 1), expected))


@pytest.mark.parametrize("segment", ["clip", "chunk"])
def test_chunks_are_kept_beside_the_embedding(segment):
    feats = torch.arange(10.0).view(1, 10, 1).repeat(2, 1, 1)
    result = represent(Mean(), feats, EmbedConfig(segment=segment, chunks=True), chunk=4, hop=3)
    assert set(result) == {"embedding", "score.max", "embedding.chunks", "score.max.chunks"}
    assert result["embedding.chunks"][1].squeeze().tolist() == [1.5, 4.5, 7.5]
    alone = represent(Mean(), feats, EmbedConfig(segment=segment), chunk=4, hop=3)
    assert torch.equal(result["embedding"], alone["embedding"])
