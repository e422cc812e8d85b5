"""A bundle of two machines and what scores with it, for tests of asdkit-detect: levels in bands, nothing trained."""

import os

import numpy as np
import soundfile

from asdkit.monitor.bundle import write_bundle
from asdkit.monitor.evidence import band_edges, levels, step, summary
from asdkit.monitor.sensors import measure

RATE, SECONDS, CLIPS = 16000, 2.0, 12
READING = {
    "rate": RATE,
    "channel": None,
    "resample": False,
    "signal": None,
    "reference": "none",
    "reference_channel": None,
    "level": "keep",
}
NETWORK = {
    "kind": "torch",
    "precision": "float32",
    "window": 1,
    "hop": 1,
    "shortest": 1,
    "segment": "clip",
    "chunk": 1,
    "chunk_hop": 1,
    "arrays": {"embedding": [32]},
    "graphs": {},
    "weights": {},
    "memory": [],
    "settings": {},
}
SCORE = {
    "name": "knn",
    "detector": "knn",
    "arrays": ["embedding"],
    "non_negative": True,
    "percentile": 90,
    "settings": {},
}
KNN = {"k": 1, "distance": "euclid", "join": "mean", "memories": 1, "log": False}


def sound(machine, seed, fault=False, seconds=SECONDS):
    """A machine: noise and its tone; its fault: another tone. float32 [T]."""
    at = np.arange(round(seconds * RATE)) / RATE
    pitch = {"press": 400, "pump": 1100}[machine]
    wav = 0.02 * np.random.default_rng(seed).standard_normal(len(at)) + 0.1 * np.sin(2 * np.pi * pitch * at)
    return (wav + fault * 0.1 * np.sin(2 * np.pi * 3000 * at)).astype("float32")


def write(path, wav, rate=RATE, subtype="PCM_16"):
    """Write a recording, its folder too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wav, rate, subtype=subtype)
    return path


def bundle(path, machines=("press",), sections=("-",), threshold=10.0, wavs=None, **reading):
    """Write a bundle; returns its path. wavs: the machines' recordings (default: such as `sound` makes)."""
    arrays, entries = {}, []
    for machine in machines:
        for section in sections:
            own = wavs or [sound(machine, seed) for seed in range(CLIPS)]
            own = [np.rint(wav * 32768).astype("float32") / 32768 for wav in own]  # as files of 16 bits hold them
            found = [summary(levels(wav, RATE)) for wav in own]
            sensors = [measure(wav, RATE, "PCM_16") for wav in own]
            mean = np.stack([one for one, _ in found])
            apart = np.linalg.norm(mean[:, None] - mean[None], axis=2) + np.diag(np.full(len(own), np.inf))
            start = f"{machine}.{section}."
            made = {
                "mean": mean,
                "x": mean,
                "deviation": np.stack([one for _, one in found]),
                "numbers": np.arange(len(own)),
                "self": apart.min(axis=1).astype("float64"),
                "sensors": np.array([list(one.values()) for one in sensors]),
            }
            arrays |= {start + name: array for name, array in made.items()}
            learnt = {"x": f"{start}x", "rows": f"{start}numbers"}
            names = [f"normal_{seed:02d}.wav" for seed in range(len(own))]
            entries.append(
                {
                    "machine": machine,
                    "section": section,
                    "rms": None,
                    "seconds": len(own[0]) / RATE,
                    "threshold": threshold,
                    "clips": {key: names for key in ("utt", "name", "domain", "attr", "section")},
                    "recordings": f"{start}numbers",
                    "self_rows": f"{start}numbers",
                    "self_scores": f"{start}self",
                    "detectors": {"all": {"low": 0, "width": 1, "settings": KNN, "arrays": learnt}},
                    "sensors": {"names": list(sensors[0]), "values": f"{start}sensors"},
                    "spectra": {
                        "edges": band_edges(RATE).tolist(),
                        "seconds": step(RATE),
                        "mean": f"{start}mean",
                        "deviation": f"{start}deviation",
                    },
                }
            )
    header = {
        "made_by": {"version": "0", "commit": None},
        "card": {},
        "reading": READING | reading,
        "network": NETWORK,
        "score": SCORE,
        "machines": entries,
    }
    write_bundle(path, header, arrays)
    return path


class Levels:
    """In place of a network: mean levels in bands."""

    def run(self, wav, machine):
        return {"embedding": np.stack([levels(one, RATE).mean(axis=0) for one in wav])}


class Poisoned(Levels):
    """Dies of loud clips, as a library might."""

    def run(self, wav, machine):
        if np.abs(wav).max() > 0.9:
            os._exit(9)
        return super().run(wav, machine)
