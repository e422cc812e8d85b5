"""A GPU gives what a CPU gives, waits for nothing within a step, and says what its memory does not hold."""

from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from asdkit.config import BeatsArch, Config
from asdkit.data.lists import Clip
from asdkit.detectors.knn import KNN
from asdkit.infer.clips import arrays, batches_of
from asdkit.infer.network import load_system
from asdkit.layers.resampler import Resampler
from asdkit.models.checkpoint import read_checkpoint
from asdkit.signals.audio import AudioReader
from asdkit.train.distributed import World, join_world
from asdkit.train.finetune import fine_tuning
from asdkit.utils.typed_yaml import validate

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")

ARCH = BeatsArch(
    encoder_layers=3, encoder_embed_dim=64, encoder_ffn_embed_dim=128, encoder_attention_heads=4, embed_dim=32,
    conv_pos=16, conv_pos_groups=4, encoder_layerdrop=0.2,
).model_dump()  # fmt: skip
CPU, CUDA = World(0, 1, torch.device("cpu")), World(0, 1, torch.device("cuda:0"))
CLASSES = ["fan/00/a", "fan/00/b", "pump/00/-"]
STEPS = 8


@pytest.fixture(autouse=True)
def gpu():
    join_world("cuda")
    yield
    torch.cuda.set_sync_debug_mode("default")
    torch.cuda.set_per_process_memory_fraction(1.0)


def config(**changes) -> Config:
    raw = {
        "encoder": {"arch": ARCH},
        "data": {"chunk_seconds": 0.4},
        "model": {"lora": {"branches": 2, "rank": 4}, "group_adapter": {"groups": 3, "hidden": 4}, "embedding_dim": 8},
        "loss": {"dlcl": {"codes": 4, "memory": 10}},
        "train": {"steps": STEPS, "lr": 1e-3, "warmup_steps": 2, "log_every": 100, "checkpoint_every": 3},
        "embed": {},
    }
    for key, value in changes.items():
        section, name = key.split("__")
        raw[section] = {**raw[section], name: value}
    return validate(Config, raw, "test")


def batch(step, size=8):
    generator = torch.Generator().manual_seed(step)
    wavs = torch.rand(size, 6400, generator=generator) - 0.5
    labels = torch.arange(size) % 3
    utts = [f"utt{step}-{i}" for i in range(size)]
    return SimpleNamespace(wavs=wavs, feats=None, labels=labels, attributed=labels < 2, utts=utts)


def train(folder, settings, world=CUDA, stop=None, batches=batch):
    """Train to the end, or as if killed after the step `stop`; resumes what was killed."""
    trainer = fine_tuning(settings, CLASSES, 0, folder, {}, world)
    trainer.resume()
    trainer.prepare(batches(trainer.step + 1))

    def given():
        for step in range(trainer.step + 1, settings.train.steps + 1):
            if stop is not None and step > stop:
                raise KeyboardInterrupt
            yield batches(step)

    if stop is None:
        trainer.run(given(), {})
    else:
        with pytest.raises(KeyboardInterrupt):
            trainer.run(given(), {})
    return trainer


def weights(folder, *parts):
    content = read_checkpoint(folder / "checkpoint/final.pt")
    tensors = [tensor for part in parts or ("model", "objective") for tensor in content[part].values()]
    return torch.cat([tensor.flatten() for tensor in tensors if tensor.is_floating_point()])


def near(found, expected, tolerance):
    """Largest difference, as a part of the largest value."""
    found, expected = (torch.as_tensor(x).detach().cpu().double() for x in (found, expected))
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
def test_losses_and_gradients_of_a_step_are_those_of_a_cpu(tmp_path, full):
    found = []
    for world in (CPU, CUDA):
        trainer = fine_tuning(config(encoder__train=full), CLASSES, 0, tmp_path, {}, world)
        for trainer.step in (1, 2):  # the second one with a memory bank
            losses = trainer._update(trainer.system, batch(trainer.step))
        found.append((losses, [p.grad for p in trainer.parameters]))
    (expected, expected_gradients), (losses, gradients) = found
    largest = max(float(g.abs().max()) for g in expected_gradients if g is not None)
    for name in expected:
        near(losses[name], expected[name], 1e-4)
    for g, e in zip(gradients, expected_gradients, strict=True):
        assert (g is None) == (e is None)
        assert e is None or (g.cpu() - e).abs().max() <= 1e-4 * largest


def test_a_step_changes_the_weights_as_on_a_cpu(tmp_path):
    for name, world, steps in (("before", CPU, 0), ("cpu", CPU, 1), ("cuda", CUDA, 1)):
        train(tmp_path / name, config(train__steps=steps, train__warmup_steps=0), world)
    before, cpu, gpu = (weights(tmp_path / name, "model") for name in ("before", "cpu", "cuda"))
    # AdamW makes steps of one size even of gradients that are nothing but rounding: hence the norm
    assert (gpu - cpu).norm() <= 0.02 * (cpu - before).norm()


def clips(folder, count=12):
    rng, found = np.random.default_rng(0), []
    for number in range(count):
        path, samples = str(folder / f"{number}.flac"), (20000, 31000)[number % 2]
        tone = 0.1 * np.sin(np.arange(samples) * rng.uniform(0.01, 0.5))
        soundfile.write(path, tone + 0.02 * rng.standard_normal(samples), 16000, subtype="PCM_16")
        found.append(Clip(f"clip{number:02d}", path, samples, "fan"))
    return found


def embed(system, settings, device, batches):
    return dict(arrays(system, settings, batches, AudioReader(), torch.device(device)))


@pytest.mark.parametrize("segment", ["clip", "chunk"])
def test_embeddings_scores_and_shards_are_those_of_a_cpu(tmp_path, segment):
    settings = config(train__steps=2, embed__segment=segment, embed__batch_size=4, data__workers=2)
    train(tmp_path, settings, CPU)
    batches = batches_of(clips(tmp_path), settings.embed.batch_size)
    tables = []
    for device, shards in (("cpu", 1), ("cuda", 1), ("cuda", 3)):
        system = load_system(settings, tmp_path / "checkpoint/final.pt", torch.device(device))
        found = {}
        for job in range(shards):
            found |= embed(system, settings, device, batches[job::shards])
        tables.append(np.stack([found[utt]["embedding"] for utt in sorted(found)]))
    expected, one, three = tables
    assert one.shape == (12, 8)
    near(one, expected, 1e-4)
    assert np.array_equal(one, three)
    cpu, gpu = (KNN(1).fit(table[:8]).anomaly_score(table[8:]) for table in (expected, one))
    assert np.abs(cpu - gpu).max() <= 1e-4


def test_bfloat16_and_tf32_are_near_float32_and_not_the_same(tmp_path):
    train(tmp_path, config(train__steps=2), CPU)
    batches, tables = batches_of(clips(tmp_path), 4), {}
    for precision in ("float32", "tf32", "bfloat16"):
        settings = config(train__steps=2, embed__precision=precision)
        system = load_system(settings, tmp_path / "checkpoint/final.pt", torch.device("cuda"))
        found = embed(system, settings, "cuda", batches)
        tables[precision] = np.stack([found[utt]["embedding"] for utt in sorted(found)])
    near(tables["tf32"], tables["float32"], 1e-2)
    near(tables["bfloat16"], tables["float32"], 5e-2)
    assert len({table.tobytes() for table in tables.values()}) == 3


@pytest.mark.parametrize("graphs", [False, True], ids=["eager", "graphs"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_killed_and_resumed_gives_the_weights_of_an_unbroken_run(tmp_path, precision, graphs):
    settings = config(train__precision=precision, train__graphs=graphs)
    train(tmp_path / "whole", settings)
    train(tmp_path / "killed", settings, stop=5)
    assert train(tmp_path / "killed", settings).step == STEPS
    near(weights(tmp_path / "killed"), weights(tmp_path / "whole"), 1e-5 if precision == "float32" else 1e-3)


@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
@pytest.mark.parametrize("position", ["mha", "transformer"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_cuda_graphs_change_no_result(tmp_path, precision, position, full):
    adapter = {"groups": 3, "hidden": 4, "position": position}
    for graphs in (False, True):
        changes = {"train__precision": precision, "train__graphs": graphs, "train__grad_clip": 0.5}
        trainer = train(tmp_path / str(graphs), config(model__group_adapter=adapter, encoder__train=full, **changes))
        blocks = trainer.system.model.encoder.blocks()
        assert ["make_graphed" in block.module.forward.__qualname__ for block in blocks] == 3 * [graphs]
    tolerance = 2e-2 if full else 1e-5 if precision == "float32" else 1e-3  # full: the keys' bias has no gradient
    near(weights(tmp_path / "True"), weights(tmp_path / "False"), tolerance)


@pytest.mark.parametrize("changes", [{}, {"graphs": True}, {"precision": "bfloat16", "grad_clip": 1.0}], ids=str)
def test_a_step_waits_for_nothing(tmp_path, changes):
    def given(step):
        torch.cuda.set_sync_debug_mode("error" if 3 < step < STEPS else "default")
        return batch(step)

    settings = config(**{f"train__{key}": value for key, value in changes.items()}, train__checkpoint_every=100)
    train(tmp_path, settings, batches=given)


def test_a_loss_that_is_not_finite_names_the_clips_of_its_step(tmp_path):
    def given(step):
        found = batch(step)
        found.wavs[1, 0] = float("nan") if step == 4 else 0
        return found

    settings = config(train__checkpoint_every=7)
    with pytest.raises(ValueError, match="step 4: the loss is not finite.*utt4-0 utt4-1"):
        train(tmp_path, settings, batches=given)
    assert not (tmp_path / "checkpoint").exists()


def leave_free(size):
    """Let torch have so many bytes of the GPU's memory beside what it has."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + size) / total)


def test_a_batch_that_does_not_fit_is_told(tmp_path):
    trainer = fine_tuning(config(train__batch_size=1024), CLASSES, 0, tmp_path, {}, CUDA)
    leave_free(8 << 20)
    with pytest.raises(ValueError, match="step 1: train.batch_size 1024 does not fit into the GPU's memory: set a sm"):
        trainer.run([batch(1, 1024)], {})
    assert not (tmp_path / "checkpoint").exists()


def test_clips_that_do_not_fit_are_told(tmp_path):
    settings = config(train__steps=0, embed__batch_size=64)
    train(tmp_path, settings)
    system = load_system(settings, tmp_path / "checkpoint/final.pt", torch.device("cuda"))
    batches = batches_of(64 * clips(tmp_path, 1), 64)
    leave_free(4 << 20)
    with pytest.raises(
        ValueError, match="others of its length: embed.batch_size 64 does not fit into the GPU's memory"
    ):
        embed(system, settings, "cuda", batches)


def test_resampling_stays_exact_where_products_are_made_in_tf32():
    clips = 0.3 * torch.randn(2, 32000, generator=torch.Generator().manual_seed(0))
    resampler = Resampler(16000, 48000)
    expected = resampler(clips)
    torch.set_float32_matmul_precision("high")
    try:
        found = resampler.cuda()(clips.cuda()).cpu()
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert (found - expected).abs().max() < 2e-6 * expected.abs().max()
