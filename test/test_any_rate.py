"""Recordings at their own rate, 4 to 96 kHz, from stage 1 to 6, heard up to half of it."""

import numpy as np
import pytest
import soundfile
from corpora import ROOT
from stages import Stages

from asdkit.utils.ark import read_ark
from asdkit.utils.files import read_json

BANDS = {4000: 1, 22050: 2, 96000: 12}
CONFIG = """encoder: {{name: fisher, sample_rate: {rate}, arch: {{embed_dim: 16, depth: 1, num_heads: 2}}}}
data: {{chunk_seconds: 0.4, feats_type: {feats}}}
model: {{lora: {{branches: 2, rank: 2}}, pooling: cls, embedding_dim: null}}
train: {{steps: 2, batch_size: 4, lr: 1e-4, warmup_steps: 1}}
embed: {{arrays: {{bands: {{pooling: rdp, bands: true}}}}}}
score: {{knn: {{}}, by_band: {{detector: knn, array: bands}}}}
"""


def recordings(stages: Stages, rate: int) -> None:
    """Write 6 training and 2 + 2 test clips of two machines, a hum in noise; anomalies whistle at 0.3 of the rate."""
    time = np.arange(rate) / rate
    for pitch, machine in ((180, "press"), (420, "pump")):
        for number, place in enumerate(["train/normal"] * 6 + ["test/normal"] * 2 + ["test/anomaly"] * 2):
            rng = np.random.default_rng(pitch + number)
            wave = 0.1 * np.sin(2 * np.pi * pitch * time) + 0.01 * rng.standard_normal(rate)
            if "anomaly" in place:
                wave += 0.05 * np.sin(2 * np.pi * 0.3 * rate * time)
            path = stages.corpus / f"{machine}/{place}_{number:04d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, wave, rate, subtype="PCM_24")


def prepared(folder, rate: int, feats: str = "raw", told: int | None = None) -> Stages:
    """Stage 1 of recordings of `rate`; told: what the dataset description says of it."""
    stages = Stages(folder, CONFIG.format(rate=rate, feats=feats))
    recordings(stages, rate)
    description = (ROOT / "egs/custom/conf/dataset.yaml").read_text()
    (folder / "dataset.yaml").write_text(description.replace("sample_rate: 16000", f"sample_rate: {told or rate}"))
    stages.run(1, 1, "--dataset", str(folder / "dataset.yaml"))
    return stages


@pytest.mark.parametrize(("rate", "feats"), [(4000, "raw"), (22050, "fbank"), (96000, "raw")])
def test_all_stages(tmp_path, rate, feats):
    stages = prepared(tmp_path, rate, feats)
    stages.run(2)
    clips, bands = (read_ark(stages.exp / f"seed0/embed/dev_test/{name}.ark") for name in ("embedding", "bands"))
    assert len(clips) == len(bands) == 8
    assert all(clip.shape == (16 * BANDS[rate],) for clip in clips.values())
    assert all(clip.shape == (6 * BANDS[rate], 16) for clip in bands.values())
    for score in ("knn", "by_band"):
        (found,) = read_json(stages.exp / f"seed0/score/{score}/results.json")["sets"].values()
        assert [one["values"]["auc"] for one in found["machines"]] == [1.0, 1.0]


def test_another_rate_than_that_of_the_data_is_refused(tmp_path):
    stages = prepared(tmp_path, 22050)
    stages.config.write_text(CONFIG.format(rate=16000, feats="raw"))
    stages.run(2, 2)
    with pytest.raises(ValueError, match="dataset description says 22050 Hz.*encoder.sample_rate=22050$"):
        stages.run(3, 3)


def test_nothing_is_resampled_unasked(tmp_path):
    with pytest.raises(ValueError, match="22050 Hz, expected 96000 Hz: set 'resample: true'"):
        prepared(tmp_path, 22050, told=96000)
