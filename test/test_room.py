"""Recordings that are too long for the memory: said before training, and like any other error."""

import pytest
import torch
from corpora import prepare, write_clip

from asdkit.bin import extract_embeddings, make_lists, train
from asdkit.config import BeatsArch, Config, EmbedConfig
from asdkit.data.feats import dump_shard
from asdkit.data.lists import Clip, recorded_clips
from asdkit.encoders.beats import random_beats
from asdkit.encoders.logmel import Logmel
from asdkit.infer import clips as inference
from asdkit.infer import room
from asdkit.infer.clips import represent
from asdkit.infer.room import check_room
from asdkit.models.classifier import Classifier
from asdkit.models.system import System
from asdkit.signals.audio import AudioReader
from asdkit.utils.memory import memory_told, total_memory
from asdkit.utils.typed_yaml import validate

ARCH = {"encoder_layers": 1, "encoder_embed_dim": 8, "encoder_ffn_embed_dim": 8, "encoder_attention_heads": 4,
        "embed_dim": 8, "conv_pos": 4, "conv_pos_groups": 2}  # fmt: skip
BEATS = (
    "encoder: {arch: {encoder_layers: 1, encoder_embed_dim: 8, encoder_ffn_embed_dim: 8, encoder_attention_heads: 4, "
    "embed_dim: 8, conv_pos: 4, conv_pos_groups: 2}}\nmodel: {pooling: mean, embedding_dim: null}\ntrain: {steps: 0}\n"
)
MINUTE = 60 * 16000


def test_what_is_estimated():
    base, small = random_beats(BeatsArch()), random_beats(BeatsArch(**ARCH))
    pairs = 2992**2  # 60 s: 5998 frames, 374 x 8 patches
    assert base.memory(MINUTE, 1, "cpu", "float32") == pytest.approx(12 * pairs * 8, rel=0.1)
    assert base.memory(MINUTE, 8, "cpu", "float32") == base.memory(MINUTE, 1, "cpu", "float32")  # one by one
    assert base.memory(MINUTE, 8, "cuda", "float32") == pytest.approx(12 * pairs * 4 * 9, rel=0.1)
    assert base.memory(MINUTE, 8, "cuda", "bfloat16") == pytest.approx(12 * pairs * 2 * 9, rel=0.1)
    assert base.memory(10 * MINUTE, 1, "cpu", "float32") == pytest.approx(86.5e9, rel=0.02)
    assert small.memory(MINUTE, 1, "cpu", "float32") < base.memory(MINUTE, 1, "cpu", "float32") / 2.5
    assert base.memory(100, 1, "cpu", "float32") < 1e5
    assert Logmel().memory(60 * MINUTE, 8, "cpu", "float32") < 4e9
    config = validate(Config, {"encoder": {"arch": ARCH}}, "test")
    assert Classifier(config, ["a", "b"]).memory(MINUTE, 2, "cuda", "float32") == small.memory(
        MINUTE, 2, "cuda", "float32"
    )
    assert System().memory(MINUTE, 1, "cpu", "float32") == 0


def test_the_estimate_is_what_attention_takes(monkeypatch):
    """The largest tensors of one clip, counted as torch makes them."""
    encoder, made = random_beats(BeatsArch(**ARCH)).eval(), []
    real = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda *a: (made.append(a[3].numel()), real(*a))[1]
    )
    with torch.inference_mode():
        encoder(encoder.frontend(torch.randn(1, MINUTE // 4)))
    assert encoder.memory(MINUTE // 4, 1, "cpu", "float32") == pytest.approx(2 * 4 * made[0] + 42 * MINUTE // 4)


class Square:
    """Needs its samples squared, on a GPU for each clip."""

    sample_rate = 1

    def memory(self, samples, clips, device, precision):
        return samples**2 * (clips if device == "cuda" else 1)


def lengths(*samples):
    return [Clip(f"c{i}", f"/x/c{i}.wav", length, "fan") for i, length in enumerate(samples)]


def test_what_does_not_fit_is_named_with_what_to_do():
    found, config = lengths(10, 100, 100, 7), EmbedConfig()
    check_room(Square(), found, config, {"cpu": 10_000})
    check_room(Square(), found, config, {"cpu": 10_000, "cuda": 1})  # one of them will do
    check_room(Square(), found, config, {"cpu": 1, "cuda": 20_000})
    check_room(Square(), [], config, {"cpu": 1})
    check_room(Square(), found, EmbedConfig(segment="chunk"), {"cpu": 1})
    check_room(Square(), found, EmbedConfig(memory_gb=1.0), {"cpu": 1})
    with pytest.raises(
        ValueError, match="/x/c1.wav: 100 s long: .* about 0.0 GB of memory, there are 0.0 GB.* Embed chu"
    ):
        check_room(Square(), found, config, {"cpu": 9_999})
    with pytest.raises(
        ValueError, match="/x/c1.wav: .* a GPU, .*2 of this length .*--set embed.batch_size=1. If stage"
    ):
        check_room(Square(), found, config, {"cuda": 19_999})
    with pytest.raises(ValueError, match="--set embed.segment=chunk"):
        check_room(Square(), found, config, {"cuda": 9_999})
    with pytest.raises(ValueError, match="there are 0.0 GB"):
        check_room(Square(), found, EmbedConfig(memory_gb=1e-6), {"cpu": 1 << 40})


@pytest.fixture
def work(tmp_path):
    for split, seconds in (("train", 1), ("test", 1), ("test", 45)):
        write_clip(
            tmp_path / f"corpus/dev_data/raw/fan/{split}/section_00_source_{split}_normal_{seconds:04d}.wav", seconds
        )
    prepare(tmp_path, sets={"dev": {"path": "dev_data"}}, ground_truth=None)
    (tmp_path / "conf/a.yaml").write_text(BEATS)
    return tmp_path


def options(work):
    return ["--data", str(work / "data"), "--dump", str(work / "dump"), "--exp", str(work / "exp/a")]


def test_stage_2_refuses_before_anything_is_trained_and_stage_4_before_the_first_clip(work, monkeypatch):
    settings = ["--config", str(work / "conf/a.yaml"), *options(work)]
    monkeypatch.setattr(room, "total_memory", lambda: 10**8)
    with pytest.raises(
        ValueError, match=r"test_normal_0045.wav: 45 s long: as a whole it needs about 0.2 GB of memory, t"
    ):
        make_lists.main(settings)
    assert not (work / "exp/a").exists()
    monkeypatch.setattr(room, "total_memory", lambda: 10**9)
    make_lists.main(settings)
    train.main([*options(work), "--device", "cpu"])
    monkeypatch.setattr(room, "total_memory", lambda: 10**8)
    with pytest.raises(ValueError, match="test_normal_0045.wav: 45 s"):
        extract_embeddings.main([*options(work), "--device", "cpu"])
    make_lists.main([*settings, "--set", "embed.segment=chunk", "--force", "true"])
    make_lists.main([*settings, "--set", "embed.memory_gb=5", "--force", "true"])


def test_short_recordings_build_no_network(work, monkeypatch):
    monkeypatch.setattr(room, "SURE", 60.0)
    monkeypatch.setattr("asdkit.encoders.build_encoder", lambda config: pytest.fail("built"))
    make_lists.main(["--config", str(work / "conf/a.yaml"), *options(work)])
    assert list((work / "exp").rglob("labels.tsv"))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 1.86 GiB for an array with shape (5,)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to "
                     "allocate 25180897792 bytes. Error code 12"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 23.45 GiB. GPU 0 has a total capacity of 79.11 "
                               "GiB of which 7.35 GiB is free. Including non-PyTorch memory, this process has 71 GiB"),
    ],
    ids=["numpy", "torch", "cuda"],
)  # fmt: skip
def test_out_of_memory_is_one_line_that_names_the_clip(error, tmp_path, work):
    sizes = {"MemoryError": "1.86 GiB", "RuntimeError": "25.2 GB", "OutOfMemoryError": "23.45 GiB"}
    free = ", 7.35 GiB of 79.11 GiB were free" if "CUDA" in str(error) else ""
    where = "the GPU's memory" if "CUDA" in str(error) else "memory"
    words = f"does not fit into {where}: .*", f" .{sizes[type(error).__name__]} more were asked for{free}.$"

    class Full(System):
        sample_rate, window, hop = 16000, 1, 1

        def frontend(self, wav):
            return wav

        def represent(self, feats, machines=()):
            raise error

    clips = recorded_clips(work / "data", "dev_train")
    with pytest.raises(
        ValueError, match=rf"normal_0001.wav, 16000 samples {words[0]}segment=chunk.*{words[1]}"
    ) as found:
        list(inference.arrays(Full(), validate(Config, {}, "x"), [clips], AudioReader(), torch.device("cpu")))
    assert "\n" not in str(found.value)

    def frontend(wav):
        raise error

    with pytest.raises(
        ValueError, match=rf"normal_0001.wav: what .* makes of 16000 samples {words[0]}cut the recording{words[1]}"
    ):
        dump_shard(frontend, AudioReader(), clips, tmp_path / "dump", 1, 1)


def test_torch_itself_is_understood_and_other_errors_stay():
    with (
        pytest.raises(ValueError, match=r"x does not fit into memory: y \(4,000,000.0 GB more were asked for\)"),
        memory_told("x", "y"),
    ):
        torch.empty(10**15)
    with pytest.raises(RuntimeError, match="shapes"), memory_told("x", "y"):
        raise RuntimeError("shapes")


def test_chunks_of_long_clips_go_through_in_groups_and_give_the_same(monkeypatch):
    class Mean(System):
        calls = []

        def represent(self, feats, machines=()):
            self.calls.append(len(feats))
            return {"embedding": feats.mean(1)}

    feats = torch.randn(2, 700, 3, generator=torch.Generator().manual_seed(0))
    config = EmbedConfig(segment="chunk", chunks=True)
    found = represent(Mean(), feats, config, 10, 5)  # 139 chunks of each clip
    assert Mean.calls == [256, 22]
    monkeypatch.setattr(inference, "PIECES", 1000)
    for name, array in represent(Mean(), feats, config, 10, 5).items():
        torch.testing.assert_close(found[name], array)
    assert found["embedding.chunks"].shape == (2, 139, 3)


def test_limits_of_control_groups(tmp_path):
    whole = total_memory(tmp_path)
    assert whole > 10**8 and total_memory() <= whole
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/slurm/job_1/step_0\n")
    group = tmp_path / "sys/fs/cgroup/slurm/job_1/step_0"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    assert total_memory(tmp_path) == whole
    (group.parent / "memory.max").write_text("1000000\n")
    assert total_memory(tmp_path) == 1000000
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/docker/x\n3:cpuset:/\n")
    (tmp_path / "sys/fs/cgroup/memory/docker/x").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes").write_text("2000000\n")
    assert total_memory(tmp_path) == 2000000
