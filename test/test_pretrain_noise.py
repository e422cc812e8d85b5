"""Pre-training in noise, on machines, and after a moving average."""

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from recipe import ROOT
from test_pretrain import CPU, config, pretrained
from test_pretrain import recordings as recordings  # a fixture

from asdkit.models.checkpoint import read_checkpoint
from asdkit.pretrain.config import NoiseConfig, SoundConfig
from asdkit.pretrain.corpus import Recordings, list_audio, training_sounds, write_list
from asdkit.pretrain.loop import pretraining
from asdkit.pretrain.machines import APART, ELEMENTS, TEETH, Dice, apart, draw_machines, machine_sounds, struck
from asdkit.pretrain.noise import KINDS, heard_in_noise, in_a_room, noises
from asdkit.pretrain.synth import unit

LATENT = {"decay": 0.9, "layers": 2}


def dice(seed=0):
    return Dice(torch.Generator().manual_seed(seed))


def clips(count=64, samples=16000):
    return unit(torch.randn(count, samples, generator=torch.Generator().manual_seed(5)))


def test_noise_is_at_the_snr_that_is_asked_for():
    own = clips()
    heard = heard_in_noise(own, NoiseConfig(probability=1.0, snr_db=[-6.0, -6.0], room=0.0), dice())
    noise = (heard - own).square().mean(1)
    torch.testing.assert_close(noise, torch.full_like(noise, 10**0.6), rtol=1e-4, atol=0)


def test_a_part_of_the_clips_stays_clean():
    own = clips(400, 800)
    heard = heard_in_noise(own, NoiseConfig(probability=0.25, room=0.0), dice())
    same = (heard == own).all(1)
    assert 0.65 < same.float().mean() < 0.85


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_noise_is_another_in_every_clip(kind):
    made = noises(clips(6), [kind], dice())
    assert made.isfinite().all()
    torch.testing.assert_close(made.square().mean(1), torch.ones(6), rtol=1e-3, atol=0)
    likeness = (F.normalize(made) @ F.normalize(made).t()).fill_diagonal_(0)
    assert likeness.abs().max() < 0.99


def test_hum_has_the_lines_of_the_mains():
    power = torch.fft.rfft(noises(clips(8, 160000), ["hum"], dice())).abs().square()
    hz = torch.fft.rfftfreq(160000, 1 / 16000)
    for row in power:
        peak = float(hz[row.argmax()])
        assert min(abs(peak / mains - round(peak / mains)) for mains in (50, 60)) < 0.25


def test_a_room_rings_on():
    click = torch.zeros(4, 16000)
    click[:, 0] = 1
    rung = in_a_room(click, dice())
    power = rung[:, 1:].square()
    assert (power[:, :2000].sum(1) > 10 * power[:, -2000:].sum(1)).all() and (power.sum(1) > 0.01).all()


def test_codes_are_those_of_the_clean_clip_and_the_encoder_hears_the_noise():
    sound = SoundConfig(generated=1.0, noise=NoiseConfig(probability=1.0, snr_db=[-20.0, -20.0]))
    heard, clean = training_sounds(8, sound, None, torch.Generator().manual_seed(0))
    assert heard.abs().max() <= 1
    ratio = clean.square().mean(1) / (heard - clean).square().mean(1)
    assert (ratio < 0.02).all(), "20 dB below, less what a room does to the clip"
    alone, same = training_sounds(8, SoundConfig(generated=1.0), None, torch.Generator().manual_seed(0))
    assert torch.equal(alone, same)


def test_machines_are_finite_of_unit_power_and_decided_by_the_seed():
    made = machine_sounds(16, 16000, dice())
    assert made.isfinite().all()
    torch.testing.assert_close(made.square().mean(1), torch.ones(16), rtol=1e-3, atol=0)
    assert torch.equal(made, machine_sounds(16, 16000, dice())) and not torch.equal(made[0], made[1])


def test_a_shaft_is_heard_at_its_speed():
    machines = draw_machines(64, dice())
    shares = []
    for row in range(64):
        one = type(machines)(**{name: getattr(machines, name)[[row]] for name in machines.__dataclass_fields__})
        turns = float(one.speed) / 16000 * torch.arange(64000, dtype=torch.float64).unsqueeze(0)
        rate = float(one.speed * one.strikes)
        found = int((struck(one, turns, dice(row)) != 0).sum())
        shares.append(abs(found - 4 * rate) <= 1)
    assert all(shares)


def test_nothing_is_drawn_near_the_machines_that_mini_is_tested_with(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "egs/mini/local"))
    import machines as mini

    text = (ROOT / "egs/mini/local/machines.py").read_text()
    # the numbers of mini's generator that this test stands on
    assert "7 blades" in text and "19 * turns" in text and "19 / 47" in text and "range(3)" in text
    assert "passings(turns, 3.375), passings(turns, 5.625)" in text and "turns * 0.375" in text
    tables = (mini.FAN_MODES, mini.GEAR_MODES, mini.OPEN_MODES, mini.CLOSE_MODES, mini.PUMP_MODES)
    modes = [hz for table in tables for hz, *_ in table]
    places = [1 + 0.04 * point["loc"] for one in mini.MACHINES for point in one.source + one.target if "loc" in point]
    modes += [hz * place for hz, *_ in mini.BEARING_MODES for place in places]
    drawn = draw_machines(4000, dice())
    for taken, found in ((modes, drawn.resonances), ((3.375, 5.625, 0.375), drawn.strikes)):
        away = (found.flatten()[:, None] / torch.tensor(taken) - 1).abs().min(1).values
        assert away.min() > 0.9 * APART
    assert not {3, 4, 7} & set(ELEMENTS) and not {19, 47} & set(TEETH)
    assert set(drawn.elements.flatten().tolist()) == set(ELEMENTS) and drawn.teeth.unique().numel() == len(TEETH)
    for name in ("machines", "acoustics"):
        sys.modules.pop(name, None)


def test_values_apart_are_even_in_their_logarithm_elsewhere():
    drawn = apart(1.0, 100.0, (10.0,), dice(), 20000)
    assert drawn.min() >= 1 and drawn.max() <= 100 and not ((drawn > 9.81) & (drawn < 10.19)).any()
    assert abs(float((drawn < 10).float().mean()) - 0.5) < 0.02


def test_lengths_are_drawn_by_step_and_hold_as_much_sound(tmp_path):
    what = config(sound={"crop_seconds": 0.5, "generated": 1.0, "longest_seconds": 2.0})
    _, sounds = pretraining(what, None, 0, tmp_path, {}, CPU)
    sizes = [sounds.size(step) for step in range(1, 30)]
    assert all(0.5 <= seconds <= 2 and 1.2 < count * seconds < 3 for count, seconds in sizes)
    assert all(seconds in (0.5, 2) or seconds / 0.2 == pytest.approx(round(seconds / 0.2)) for _, seconds in sizes)
    assert len({count for count, _ in sizes}) > 2
    batch = next(iter(sounds.batches([3])))
    count, seconds = sounds.size(3)
    assert batch.wavs.shape == (count, round(16000 * seconds)) and batch.clean is None


def test_killed_and_resumed_with_noise_machines_and_a_moving_average(tmp_path, recordings):
    sound = {"crop_seconds": 0.4, "longest_seconds": 0.8, "generated": 0.5, "machines": 0.5, "noise": {}}
    write_list(tmp_path / "r.tsv", list_audio(recordings, SoundConfig()))
    corpus = Recordings(tmp_path / "r.tsv", SoundConfig())
    what = config(sound=sound, latent=LATENT)
    pretrained(what, tmp_path / "whole", corpus)
    pretrained(what, tmp_path / "cut", corpus, stop=4)
    pretrained(what, tmp_path / "cut", corpus)
    whole, cut = (read_checkpoint(tmp_path / name / "checkpoint/final.pt") for name in ("whole", "cut"))
    for part in ("module", "latent"):
        assert all(torch.equal(value, cut[part][key]) for key, value in whole[part].items())
    assert (tmp_path / "whole/train.tsv").read_text() == (tmp_path / "cut/train.tsv").read_text()


def test_the_average_follows_the_encoder_by_its_decay(tmp_path):
    trainer, sounds = pretraining(config(latent={"decay": 0.0, "layers": 1}), None, 0, tmp_path, {}, CPU)
    system = trainer.system
    name, own = next((name, p) for name, p in system.encoder.named_parameters() if p.requires_grad)
    before = own.detach().clone()
    trainer.run(sounds.batches(range(1, 3)), {})
    average = dict(system.latent.average.named_parameters())[name]
    assert int(system.latent.followed) == 2
    assert not torch.equal(average, before) and not torch.equal(average, own), "one step behind"
    system.latent._follow(system.encoder)
    assert torch.equal(average, own)


def test_targets_are_standardised_over_the_batch_and_clean(tmp_path):
    trainer, _ = pretraining(config(latent=LATENT), None, 0, tmp_path, {}, CPU)
    feats = torch.randn(5, 48, 128, generator=torch.Generator().manual_seed(1))
    targets = trainer.system.latent.targets(feats).flatten(0, 1)
    np.testing.assert_allclose(targets.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(targets.std(0), 1, atol=1e-3)


def test_40_steps_lower_the_latent_error(tmp_path):
    train = {"steps": 40, "batch_size": 8, "warmup_steps": 5, "log_every": 10, "checkpoint_every": 100, "lr": 3e-3}
    what = config(latent={"decay": 0.99, "layers": 1}, tokenizer__weight=0.0, train=train)
    pretrained(what, tmp_path)
    head, *rows = (line.split("\t") for line in (tmp_path / "train.tsv").read_text().splitlines())
    column = head.index("latent")
    assert float(rows[-1][column]) < 0.9 * float(rows[0][column])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"latent": {"layers": 3}}, "the encoder has 2 layers"),
        ({"sound__noise": {"snr_db": [3, -3]}}, "the lower ratio comes first"),
        ({"sound__noise": {"kinds": ["grey"]}}, "coloured"),
        ({"sound__longest_seconds": 0.2}, "less than crop_seconds"),
        ({"tokenizer__weight": 0}, "nothing to predict"),
        ({"tokenizer__weight": 0, "latent": {"weight": 0, "clip": 0}}, "nothing to predict"),
    ],
)
def test_wrong_settings_are_explained(changes, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        pretraining(config(**changes), None, 0, tmp_path, {}, CPU)
