import copy

import numpy as np
import pytest
import torch
from corpora import write_clip

from asdkit.config import BeatsArch, Config
from asdkit.data.batches import Framing
from asdkit.data.lists import Clip
from asdkit.infer.clips import ClipBatches, batches_of, represent, segments, shard_of
from asdkit.infer.network import fold
from asdkit.models.classifier import Classifier
from asdkit.signals.audio import AudioReader
from asdkit.utils.typed_yaml import validate

ARCH = BeatsArch(
    encoder_layers=2, encoder_embed_dim=24, encoder_ffn_embed_dim=48, encoder_attention_heads=4, embed_dim=16,
    conv_pos=16, conv_pos_groups=4,
).model_dump()  # fmt: skip


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_folded_weights_give_the_same_embeddings(precision, dtype):
    torch.manual_seed(0)
    settings = {"encoder": {"arch": ARCH}, "model": {"group_adapter": {}}, "embed": {"precision": precision}}
    config = validate(Config, settings, "test")
    model = Classifier(config, ["a", "b"]).eval()
    feats = torch.randn(3, 64, 128)
    folded = copy.deepcopy(model)
    fold(folded, dtype)
    assert folded.model.projection.weight.dtype == dtype
    assert folded.model.encoder.encoder.pos_conv[0].folded.dtype == torch.float32  # with so few channels in a group
    assert folded.state_dict().keys() == model.state_dict().keys()
    found, expected = (represent(system, feats, config.embed, 64, 64)["embedding"] for system in (folded, model))
    assert torch.equal(found, expected)


def test_clips_shorter_than_a_chunk_are_repeated_as_in_training(tmp_path):
    path, reader = str(write_clip(tmp_path / "a.wav", 0.1)), AudioReader()
    batches = ClipBatches([[Clip("a", path, 1600, "fan")]], reader, 4000, Framing(16000, 400, 160))
    (utts, wavs, _), whole = batches[0], torch.from_numpy(reader.read(path).copy())
    assert utts == ["a"] and torch.equal(wavs, whole.repeat(3)[None, :4000])


@pytest.mark.parametrize(("frames", "starts"), [(4, [0]), (5, [0, 1]), (10, [0, 3, 6]), (11, [0, 3, 6, 7])])
def test_windows_reach_the_end_of_a_clip(frames, starts):
    cut = segments(torch.arange(frames).expand(2, -1), 4, 3)
    assert cut[1].tolist() == [list(range(start, start + 4)) for start in starts]


@pytest.mark.parametrize("num_jobs", [1, 2, 3, 7])
@pytest.mark.parametrize("free", [True, False])
def test_shards_are_even_in_seconds_of_sound(num_jobs, free):
    """Lengths of nine clips each make batches of eight and one in turn: every second batch would be a ninth of all."""
    lengths = (
        np.random.default_rng(num_jobs).integers(1, 480_000, 200) if free else np.repeat(range(16000, 32000, 1000), 9)
    )
    clips = [Clip(f"u{number:03d}", "-", int(samples), "fan") for number, samples in enumerate(lengths)]
    batches = batches_of(clips, 8)
    shards = [shard_of(batches, num_jobs, job, 20_000) for job in range(1, num_jobs + 1)]
    assert sorted((batch for shard in shards for batch in shard), key=batches.index) == batches
    assert all(shard == sorted(shard, key=batches.index) for shard in shards)
    seconds = [[sum(max(clip.samples, 20_000) for clip in batch) for batch in shard] for shard in shards]
    assert max(map(sum, seconds)) - min(map(sum, seconds)) <= max(map(max, seconds))
    assert num_jobs == 1 or shard_of(batches[:1], num_jobs, num_jobs) == []


LENGTHS = [16, 40, 41, 64, 70, 100, 33]  # frames


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("layers", [None, "weighted", [1, 2]])
@pytest.mark.parametrize("position", ["mha", "ffn", "transformer"])
def test_clips_of_several_lengths_go_through_the_network_together(precision, layers, position, monkeypatch):
    """As each does alone: attention, adapters and poolings hear a clip by itself."""
    torch.manual_seed(0)
    settings = {
        "encoder": {"arch": ARCH, "layers": layers},
        "model": {"group_adapter": {"position": position}},
        "embed": {"precision": precision, "arrays": {"bands": {"bands": True}, "heard": {"layers": 0}}},
    }
    if layers:
        settings["embed"]["arrays"]["first"] = {"layers": 1}
    system = Classifier(validate(Config, settings, "test"), ["a", "b"]).eval()
    fold(system, getattr(torch, precision))
    feats = [torch.randn(frames, 128) for frames in LENGTHS]
    monkeypatch.setattr("asdkit.models.embedder.TOGETHER", 60)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        together, alone = system.represent_each(feats), [system.represent(one[None]) for one in feats]
    for one, expected in zip(together, alone, strict=True):
        assert one.keys() == expected.keys()
        for name, array in one.items():
            close = (1e-4, 1e-5) if precision == "float32" else (0.05, 0.05)
            torch.testing.assert_close(array.float(), expected[name].float(), rtol=close[0], atol=close[1])


def test_rare_lengths_share_batches_and_others_keep_theirs():
    lengths = [10] * 3 + [11] * 9 + [12, 13, 13, 14, 15] + [16] * 4
    clips = [Clip(f"u{number:02d}", "-", samples, "fan") for number, samples in enumerate(lengths)]
    found = [[clip.samples for clip in batch] for batch in batches_of(clips, 4, mixed=True)]
    assert found == [[10] * 3, [11] * 4, [11] * 4, [11], [12, 13, 13, 14], [15], [16] * 4]
    apart = [[clip.samples for clip in batch] for batch in batches_of(clips, 4)]
    assert apart == [[10] * 3, [11] * 4, [11] * 4, [11], [12], [13] * 2, [14], [15], [16] * 4]
