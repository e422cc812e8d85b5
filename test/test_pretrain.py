import copy
import subprocess

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from recipe import ROOT, environment

from asdkit.bin import pretrain as program
from asdkit.config import BeatsArch
from asdkit.encoders.beats import random_beats
from asdkit.encoders.beats_checkpoint import load_beats, save_beats
from asdkit.models.checkpoint import read_checkpoint, save_checkpoint
from asdkit.pretrain.config import PretrainConfig, TokenizerConfig, load_pretrain_config
from asdkit.pretrain.corpus import Recordings, list_audio, list_digest, write_list
from asdkit.pretrain.export import export
from asdkit.pretrain.loop import pretraining
from asdkit.pretrain.masking import draw_mask, take
from asdkit.pretrain.synth import Dice, generate
from asdkit.pretrain.teacher import TeacherTokenizer, centres
from asdkit.pretrain.tokenizer import RandomTokenizer, cut_patches, perplexity
from asdkit.pretrain.visible import encode_visible
from asdkit.train.distributed import World
from asdkit.train.loop import Trainer
from asdkit.utils.files import sha256_file
from asdkit.utils.typed_yaml import dump_yaml, validate

CPU = World(0, 1, torch.device("cpu"))
ARCH = BeatsArch(
    encoder_layers=2, encoder_embed_dim=32, encoder_ffn_embed_dim=64, encoder_attention_heads=4, embed_dim=16,
    conv_pos=16, conv_pos_groups=4, encoder_layerdrop=0.0,
)  # fmt: skip


def config(**changes) -> PretrainConfig:
    raw = {
        "arch": ARCH.model_dump(),
        "sound": {"crop_seconds": 0.5, "generated": 1.0},
        "tokenizer": {"codes": 16, "dim": 8, "codebooks": 2, "statistics_clips": 16},
        "predictor": {"dim": 16, "heads": 2, "conv_pos": 8},
        "train": {"steps": 6, "batch_size": 4, "warmup_steps": 2, "log_every": 2, "checkpoint_every": 3},
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        raw[section] = {**raw[section], name: value} if name else value
    return validate(PretrainConfig, raw, "test")


def pretrained(what, folder, corpus=None, stop=None) -> Trainer:
    trainer, sounds = pretraining(what, corpus, 0, folder, {"made": "from"}, CPU)
    trainer.run(sounds.batches(range(trainer.step + 1, (stop or what.train.steps) + 1)), {})
    return trainer


@pytest.fixture
def recordings(tmp_path):
    folder = tmp_path / "recordings"
    (folder / "a b").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, length in (("a b/long.wav", 40000), ("short.flac", 3000), ("other.WAV", 16000)):
        soundfile.write(folder / name, 0.1 * rng.standard_normal(length), 16000)
    return folder


def feats(clips=3, frames=70):
    return torch.randn(clips, frames, 128, generator=torch.Generator().manual_seed(0))


def tokenizer(seed=0, **changes):
    torch.manual_seed(seed)
    made = RandomTokenizer(TokenizerConfig(codes=16, dim=8, codebooks=2, **changes), 16, 128)
    made.fit(feats(40))
    return made


def test_patches_are_in_the_order_of_the_encoders_convolution():
    weight = torch.randn(5, 1, 16, 16)
    expected = F.conv2d(feats().unsqueeze(1), weight, stride=16).flatten(2).transpose(1, 2)
    torch.testing.assert_close(cut_patches(feats(), 16) @ weight.flatten(1).T, expected, rtol=1e-4, atol=1e-4)


def test_tokens_are_decided_by_the_seed_and_the_sound():
    assert torch.equal(tokenizer()(feats()), tokenizer()(feats()))
    assert not torch.equal(tokenizer()(feats()), tokenizer(seed=1)(feats()))
    assert tokenizer()(feats()).shape == (3, 32, 2)


def test_tokens_are_the_nearest_codes_by_cosine():
    made = tokenizer(level=0.5, relative=False)
    tokens = made(feats())
    patches = feats()[:, :64].reshape(3, 4, 16, 8, 16).transpose(2, 3)  # [B, times, bands, 16, 16]
    patches = (patches - made.mean.unflatten(-1, (16, 16))) / made.spread.unflatten(-1, (16, 16))
    for clip, time, band, book in ((0, 0, 0, 0), (1, 3, 7, 1), (2, 2, 5, 0), (2, 1, 0, 1)):
        patch = patches[clip, time, band].flatten()
        patch = patch - 0.5 * patch.mean()
        cosines = [F.cosine_similarity(patch @ made.projection[book], code, 0) for code in made.codes[book]]
        assert int(tokens[clip, time * 8 + band, book]) == int(np.argmax(cosines))


def test_fitted_patches_have_mean_0_and_variance_1_in_every_bin():
    made = tokenizer(level=1.0, relative=False)
    patches = made.normalised(3 + 5 * feats(40)).unflatten(1, (-1, 8))
    torch.testing.assert_close(patches.flatten(0, 1).mean(0), 3 / made.spread + 4 * made.mean / made.spread)
    patches = made.normalised(feats(40)).unflatten(1, (-1, 8)).flatten(0, 1)
    torch.testing.assert_close(patches.mean(0), torch.zeros(8, 256), rtol=0, atol=1e-4)
    torch.testing.assert_close(patches.std(0), torch.ones(8, 256))


def test_a_louder_recording_keeps_its_tokens_when_they_are_relative():
    relative, absolute = tokenizer(level=1.0), tokenizer(level=1.0, relative=False)
    assert torch.equal(relative(feats()), relative(feats() + 1.5))
    assert not torch.equal(absolute(feats()), absolute(feats() + 1.5))


def test_without_their_mean_louder_patches_keep_their_tokens():
    louder = feats() + torch.arange(3.0).view(3, 1, 1)
    for level, same in ((0.0, True), (1.0, False)):
        made = tokenizer(level=level, relative=False)
        made.spread.fill_(2.0)
        assert torch.equal(made(feats()), made(louder)) == same


def test_perplexity_counts_the_codes_in_use():
    even = torch.arange(8).repeat(3)
    one = torch.zeros(24, dtype=torch.long)
    assert perplexity(even[:, None], 16) == pytest.approx(8)
    assert perplexity(torch.stack([even, one], 1), 16) == pytest.approx(4.5)


@pytest.mark.parametrize(("ratio", "hidden"), [(0.75, 30), (0.5, 20), (0.001, 1), (0.999, 39)])
def test_mask_hides_its_share_of_every_clip(ratio, hidden):
    visible, masked = draw_mask(5, 40, ratio, torch.Generator().manual_seed(0))
    assert masked.shape == (5, hidden)
    both = torch.cat([visible, masked], 1).sort(1).values
    assert torch.equal(both, torch.arange(40).expand(5, -1))
    assert not torch.equal(masked[0], masked[1]) or hidden in (1, 39)


def test_with_nothing_hidden_the_encoder_is_the_published_one():
    torch.manual_seed(0)
    encoder = random_beats(ARCH).eval()
    everything = torch.arange(32).expand(3, -1)
    torch.testing.assert_close(encode_visible(encoder, feats(), everything)[-1], encoder(feats()), rtol=1e-4, atol=1e-5)


def test_hidden_patches_leave_no_trace():
    torch.manual_seed(0)
    encoder = random_beats(ARCH).eval()
    visible, masked = draw_mask(3, 32, 0.75, torch.Generator().manual_seed(0))
    changed = cut_patches(feats(), 16)
    changed = changed.scatter(1, masked.unsqueeze(-1).expand(-1, -1, 256), 9.0)
    changed = changed.unflatten(1, (4, 8)).unflatten(3, (16, 16)).permute(0, 1, 3, 2, 4).reshape(3, 64, 128)
    assert torch.equal(take(cut_patches(changed, 16), visible), take(cut_patches(feats(), 16), visible))
    assert torch.equal(*(encode_visible(encoder, x, visible)[-1] for x in (changed, feats())))


def test_visible_tokens_know_their_places():
    torch.manual_seed(0)
    encoder = random_beats(ARCH).eval()
    same = feats(1, 16).repeat(1, 4, 1)  # four times the same
    near = encode_visible(encoder, same, torch.tensor([[0, 8]]))[-1]
    far = encode_visible(encoder, same, torch.tensor([[0, 24]]))[-1]
    assert not torch.allclose(near, far, atol=1e-4)


def test_100_steps_on_generated_sounds_lower_the_loss(tmp_path):
    what = config(
        tokenizer={
            "codes": 16, "dim": 8, "codebooks": 2, "statistics_clips": 64, "level": 1.0, "relative": False,
        },
        train={"steps": 100, "batch_size": 16, "lr": 5e-3, "warmup_steps": 10, "log_every": 20},
    )  # fmt: skip
    rows = pretrained(what, tmp_path).curve.rows
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.4
    # less than a network without ears, which names codes as often as they occur
    assert rows[-1]["loss"] < np.log(rows[-1]["perplexity"]) - 0.15
    assert rows[-1]["accuracy"] > rows[0]["accuracy"] and 4 < rows[-1]["perplexity"] <= 16


def test_killed_and_resumed_equals_uninterrupted(tmp_path, recordings):
    what = config(sound={"crop_seconds": 0.5, "generated": 0.5, "mixed": 0.5})
    write_list(tmp_path / "list.tsv", list_audio(recordings, what.sound))

    def corpus():
        return Recordings(tmp_path / "list.tsv", what.sound)

    whole = pretrained(what, tmp_path / "whole", corpus())
    pretrained(what, tmp_path / "killed", corpus(), stop=5)  # last.pt is of step 3
    resumed = pretrained(what, tmp_path / "killed", corpus())
    final = [read_checkpoint(tmp_path / name / "checkpoint" / "final.pt") for name in ("whole", "killed")]
    for part in ("module", "tokenizer"):
        assert all(torch.equal(value, final[1][part][key]) for key, value in final[0][part].items())
    assert resumed.curve.rows == whole.curve.rows and len(whole.curve.rows) == 3
    assert (tmp_path / "whole/train.tsv").read_text() == (tmp_path / "killed/train.tsv").read_text()


def test_other_inputs_are_refused(tmp_path):
    pretrained(config(), tmp_path, stop=3)
    with pytest.raises(ValueError, match="made = 'from', now 'otherwise'"):
        pretraining(config(), None, 0, tmp_path, {"made": "otherwise"}, CPU)


@pytest.mark.parametrize("half", [True, False])
def test_an_exported_encoder_loads_strictly(tmp_path, half):
    trainer = pretrained(config(), tmp_path, stop=3)
    digest = export(tmp_path / "checkpoint/final.pt", tmp_path / "out.pt", half)
    encoder = load_beats(tmp_path / "out.pt").eval()
    assert all(value.dtype == torch.float32 for value in encoder.state_dict().values())
    expected = trainer.system.encoder.eval()(feats())
    tolerance = 5e-3 if half else 1e-6
    torch.testing.assert_close(encoder(feats()), expected, rtol=tolerance, atol=tolerance)
    assert digest == sha256_file(tmp_path / "out.pt")
    assert (tmp_path / "out.pt.sha256").read_text() == f"{digest}  out.pt\n"
    assert export(tmp_path / "checkpoint/final.pt", tmp_path / "out.pt", not half) != digest  # over the older file


def test_weights_that_16_bits_cannot_hold_are_refused(tmp_path):
    trainer = pretrained(config(), tmp_path, stop=3)
    trainer.system.encoder.layer_norm.weight.data[0] = 1e6
    trainer.run([], {})
    with pytest.raises(ValueError, match="--half false"):
        export(tmp_path / "checkpoint/final.pt", tmp_path / "out.pt", True)
    assert not (tmp_path / "out.pt").exists()


def test_pretraining_goes_on_from_a_file(tmp_path):
    pretrained(config(), tmp_path / "first", stop=3)
    export(tmp_path / "first/checkpoint/final.pt", tmp_path / "first.pt", False)
    what = config(init=str(tmp_path / "first.pt"), arch=None)
    trainer, sounds = pretraining(what, None, 0, tmp_path / "second", {}, CPU)
    start = copy.deepcopy(trainer.system.encoder.state_dict())
    assert all(torch.equal(value, start[key]) for key, value in load_beats(tmp_path / "first.pt").state_dict().items())
    trainer.run(sounds.batches(range(1, 7)), {})
    assert any(not torch.equal(value, start[key]) for key, value in trainer.system.encoder.state_dict().items())


def teacher(tmp_path):
    torch.manual_seed(0)
    encoder = random_beats(ARCH).eval()
    save_beats(encoder, tmp_path / "teacher.pt")
    return encoder, str(tmp_path / "teacher.pt")


def test_a_teachers_tokens_are_the_nearest_centres_of_its_outputs(tmp_path):
    encoder, path = teacher(tmp_path)
    made = TeacherTokenizer(TokenizerConfig(teacher=path, codes=12, codebooks=2))
    made.fit(feats(20))
    tokens = made(feats(20))
    assert tokens.shape == (20, 32, 2) and perplexity(tokens, 12) > 6
    x = (encoder(feats(20)).detach() - made.mean) / made.spread
    for clip, place, book in ((0, 0, 0), (7, 13, 1), (19, 31, 0)):
        part = x[clip, place, 16 * book : 16 * book + 16]
        assert int(tokens[clip, place, book]) == int(F.cosine_similarity(part, made.codes[book], dim=-1).argmax())
    with pytest.raises(ValueError, match="raise tokenizer.statistics_clips"):
        TeacherTokenizer(TokenizerConfig(teacher=path, codes=500)).fit(feats(3))
    with pytest.raises(ValueError, match="32 dimensions cannot be cut into 5"):
        TeacherTokenizer(TokenizerConfig(teacher=path, codebooks=5))


def test_centres_are_those_of_separate_clusters():
    torch.manual_seed(0)
    true = torch.eye(5)[:4]
    x = F.normalize(true.repeat(50, 1) + 0.05 * torch.randn(200, 5), dim=1)
    found = max((centres(x, 4) for _ in range(10)), key=lambda c: (x @ c.T).amax(1).sum())
    assert (found @ true.T).amax(0).min() > 0.99


def test_a_second_iteration_resumes_exactly(tmp_path):
    what = config(tokenizer={"teacher": teacher(tmp_path)[1], "codes": 12, "codebooks": 2, "statistics_clips": 16})
    pretrained(what, tmp_path / "whole")
    pretrained(what, tmp_path / "killed", stop=4)
    pretrained(what, tmp_path / "killed")
    final = [read_checkpoint(tmp_path / name / "checkpoint" / "final.pt") for name in ("whole", "killed")]
    assert all(torch.equal(value, final[1]["module"][key]) for key, value in final[0]["module"].items())


def test_the_program_does_nothing_the_second_time_and_refuses_other_settings(tmp_path, caplog):
    (tmp_path / "c.yaml").write_text(dump_yaml(config()))
    words = ["--config", str(tmp_path / "c.yaml"), "--exp", str(tmp_path / "exp")]
    program.main([*words, "--set", "train.steps=2"])
    written = (tmp_path / "exp/checkpoint/final.pt").stat().st_mtime_ns
    with caplog.at_level("INFO"):
        program.main([*words, "--set", "train.steps=2"])
    assert "already trained" in caplog.text
    assert (tmp_path / "exp/checkpoint/final.pt").stat().st_mtime_ns == written
    with pytest.raises(ValueError, match="train.lr"):
        program.main([*words, "--set", "train.steps=2", "--set", "train.lr=0.5"])


def test_a_killed_forced_training_leaves_no_old_network(tmp_path, monkeypatch):
    (tmp_path / "c.yaml").write_text(dump_yaml(config()))
    words = ["--config", str(tmp_path / "c.yaml"), "--exp", str(tmp_path / "exp"), "--set", "train.steps=2"]
    program.main(words)
    monkeypatch.setattr(Trainer, "run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        program.main([*words, "--force", "true"])
    assert not list((tmp_path / "exp/checkpoint").iterdir())


def test_recordings_are_found_and_read_in_parts(recordings, tmp_path):
    rows = list_audio(recordings, config().sound)
    assert [(row["wav"].split("/")[-1], row["samples"]) for row in rows] == [
        ("long.wav", "40000"), ("other.WAV", "16000"), ("short.flac", "3000"),
    ]  # fmt: skip
    write_list(tmp_path / "list.tsv", rows)
    cached, uncached = (
        Recordings(tmp_path / "list.tsv", config(sound__cache_hours=hours).sound) for hours in (2.0, 0.0)
    )
    assert np.array_equal(cached.read(0, 500, 8000), uncached.read(0, 500, 8000)) and not uncached.cache
    tiled = cached.read(2, 0, 8000)
    assert np.array_equal(tiled[:3000], tiled[3000:6000])
    crops = cached.crops(20, 8000, config().sound, Dice(torch.Generator().manual_seed(0)))
    assert crops.shape == (20, 8000) and (crops.std(1) > 0.03).all()
    soundfile.write(recordings / "a b/long.wav", np.zeros(16000), 16000)
    for sounds in (Recordings(tmp_path / "list.tsv", config().sound), uncached):
        with pytest.raises(ValueError, match=r"long\.wav: has changed: 16000 samples, it had 40000"):
            sounds.read(0, 0, 100)
    moved = tmp_path / "moved.tsv"
    moved.write_text((tmp_path / "list.tsv").read_text().replace(str(recordings), "/elsewhere"))
    assert list_digest(moved) == list_digest(tmp_path / "list.tsv")
    moved.write_text(moved.read_text().replace("wav\tsamples", "wav\tframes"))  # as older versions wrote it
    with pytest.raises(ValueError, match=r"moved\.tsv:1: header is .*frames.*Make the list again: stage 1"):
        Recordings(moved, config().sound)


def test_wrong_input_is_explained(tmp_path, recordings):
    with pytest.raises(ValueError, match=f"there is no folder {tmp_path}/nowhere"):
        list_audio(tmp_path / "nowhere", config().sound)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no \.wav"):
        list_audio(tmp_path / "empty", config().sound)
    (recordings / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"broken\.wav"):
        list_audio(recordings, config().sound)
    (tmp_path / "c.yaml").write_text("train:\n  step: 5\n")
    with pytest.raises(ValueError, match="Did you mean 'steps'"):
        load_pretrain_config(tmp_path / "c.yaml")
    (tmp_path / "c.yaml").write_text("train: {steps: 20}\n")
    with pytest.raises(ValueError, match="c.yaml: train.warmup_steps 200 is longer than train.steps 20"):
        load_pretrain_config(tmp_path / "c.yaml")
    (tmp_path / "c.yaml").write_text("mask: 0.5\n")
    with pytest.raises(ValueError, match="no --list"):
        program.main(["--config", str(tmp_path / "c.yaml"), "--exp", str(tmp_path)])
    with pytest.raises(ValueError, match="give one of"):
        config(init="x.pt")
    save_checkpoint(tmp_path / "x.pt", {"model": {}})
    with pytest.raises(ValueError, match="not a checkpoint"):
        export(tmp_path / "x.pt", tmp_path / "out.pt", True)


def test_generated_sounds_use_the_codes_evenly():
    encoder = random_beats(ARCH)
    sounds = 0.05 * generate(64, 16000, torch.Generator().manual_seed(0))
    features = encoder.frontend(sounds)
    made = RandomTokenizer(TokenizerConfig(), 16, 128)
    made.fit(features)
    assert perplexity(made(features), TokenizerConfig().codes) > 64  # of 256


PRETRAINED = ROOT / "egs/pretrain/pretrained"
SHIPPED = PRETRAINED / "asdkit_medium2.pt"


@pytest.mark.parametrize(("name", "card"), [("asdkit_medium", "MODEL_CARD.md"), ("asdkit_medium2", "MODEL_CARD_2.md")])
def test_the_shipped_file_is_the_one_that_its_card_describes(name, card):
    path = PRETRAINED / f"{name}.pt"
    digest = sha256_file(path)
    assert path.with_name(f"{path.name}.sha256").read_text() == f"{digest}  {path.name}\n"
    assert digest in (PRETRAINED / card).read_text()
    assert path.stat().st_size <= 8e6
    encoder = load_beats(path).eval()
    tokens = encoder(encoder.frontend(0.1 * torch.randn(2, 32000)))
    assert tokens.shape == (2, 96, encoder.dim) and tokens.isfinite().all()


def test_the_recipe_goes_on_from_the_shipped_file_on_anyones_recordings(tmp_path, recordings):
    settings = [
        "train.steps=2",
        "train.warmup_steps=1",
        "train.batch_size=2",
        "sound.crop_seconds=0.5",
        "tokenizer.statistics_clips=4",
    ]
    command = [
        "bash",
        str(ROOT / "egs/pretrain/run.sh"),
        "--corpus",
        str(recordings),
        "--expdir",
        str(tmp_path / "e x"),
    ]
    command += ["--tag", "mine", "--num-threads", "1", *(word for value in settings for word in ("--set", value))]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    exp = tmp_path / "e x/mine"
    assert len((exp / "recordings.tsv").read_text().splitlines()) == 4
    new, old = (load_beats(path).state_dict() for path in (exp / "encoder.pt", SHIPPED))
    assert new.keys() == old.keys()
    change = max(float((new[key] - old[key]).abs().max()) for key in new)
    assert 0 < change < 0.1  # two steps away from it, not a network of its own
    failed = subprocess.run([*command, "--stage", "0"], env=environment(), capture_output=True, text=True, timeout=60)
    assert failed.returncode == 1 and "from 1 to 4" in failed.stderr
