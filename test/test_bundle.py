"""The one file that scores: read as it was written, and refused where it is damaged, newer or not what it should be."""

import copy
import json
import os

import detecting
import numpy as np
import pytest

from asdkit.monitor import bundle as container
from asdkit.monitor.bundle import Bundle, write_bundle

RANDOM = np.random.default_rng(0)
ARRAYS = {
    "graph": RANDOM.integers(0, 256, 1000).astype(np.uint8),
    "w.1": RANDOM.normal(size=(130, 150)).astype(np.float32),
    "w.2": RANDOM.integers(-127, 127, (3, 5, 7)).astype(np.int8),
    "empty": np.zeros((0, 4), np.float32),
    "m0.recordings": np.arange(4),
    "m0.self_rows": np.array([0, 1, 3]),
    "m0.self_scores": np.array([0.1, 0.2, np.inf]),
    "m0.source.x": RANDOM.normal(size=(4, 3)).astype(np.float32),
    "m0.sensors": RANDOM.normal(size=(4, 2)),
    "m0.spectra": RANDOM.normal(size=(4, 2)).astype(np.float32),
}
HEADER = {
    "made_by": {"version": "1.0", "commit": None},
    "card": {"any": ["thing", 1, None]},
    "reading": {
        "rate": 16000,
        "channel": None,
        "resample": False,
        "signal": {"variable": None, "rate": None, "unit": "m/s^2", "scale": 9.81, "full_scale": None},
        "reference": "none",
        "reference_channel": None,
        "level": "keep",
    },
    "network": {
        "kind": "onnx",
        "precision": "float32",
        "window": 400,
        "hop": 160,
        "shortest": 32000,
        "segment": "clip",
        "chunk": 198,
        "chunk_hop": 100,
        "arrays": {"embedding": [3]},
        "graphs": {"-": "graph"},
        "weights": {"a.weight": "w.1", "b::c": "w.2", "none": "empty"},
        "memory": [[160000, 1000]],
        "settings": {},
    },
    "score": {
        "name": "knn",
        "detector": "knn",
        "arrays": ["embedding"],
        "non_negative": True,
        "percentile": 90.0,
        "settings": {"k": 1},
    },
    "machines": [
        {
            "machine": "Presse ä",
            "section": "-",
            "rms": None,
            "seconds": 10.0,
            "threshold": 0.5,
            "clips": {key: ["a", "b", "c", "d e"] for key in ("utt", "name", "domain", "attr", "section")},
            "recordings": "m0.recordings",
            "self_rows": "m0.self_rows",
            "self_scores": "m0.self_scores",
            "detectors": {"source": {"low": 0, "width": 1, "settings": {}, "arrays": {"x": "m0.source.x"}}},
            "sensors": {"names": ["rms", "dc"], "values": "m0.sensors"},
            "spectra": {
                "edges": [0, 100, 200],
                "seconds": 0.5,
                "mean": "m0.spectra",
                "deviation": "m0.spectra",
            },
        }
    ],
}


def written(tmp_path, header=HEADER, arrays=ARRAYS):
    path = tmp_path / "a.asdkit"
    write_bundle(path, header, arrays)
    return path


def test_what_was_written_is_read(tmp_path):
    found = Bundle.open(written(tmp_path))
    assert {key: found.header[key] for key in HEADER} == HEADER
    for name, array in ARRAYS.items():
        assert found.array(name).dtype == array.dtype and not found.array(name).flags.writeable
        np.testing.assert_array_equal(found.array(name), array)
        assert found.sections[name].offset % (4096 if array.nbytes >= 65536 else 64) == 0
    with open(found.path, "rb") as file:
        file.seek(found.sections["w.1"].offset)
        assert file.read(found.sections["w.1"].length) == ARRAYS["w.1"].tobytes()


def test_no_change_of_a_byte_goes_unnoticed(tmp_path):
    path = written(tmp_path)
    whole, random = path.read_bytes(), np.random.default_rng(1)
    places = {*range(80), *random.integers(0, len(whole), 300).tolist(), len(whole) - 1}
    for place in sorted(places):
        spoilt = bytearray(whole)
        spoilt[place] ^= 1 << int(random.integers(8))
        path.write_bytes(spoilt)
        with pytest.raises(ValueError, match="a.asdkit: "):
            Bundle.open(path)
    for length in {*range(70), *random.integers(0, len(whole), 80).tolist(), len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="a.asdkit: "):
            Bundle.open(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match="1 bytes more"):
        Bundle.open(path)


def test_what_is_no_bundle_is_told(tmp_path, monkeypatch):
    path = tmp_path / "a.asdkit"
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        Bundle.open(path)
    with pytest.raises(ValueError, match="not a file"):
        Bundle.open(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a file"):
        Bundle.open(tmp_path / "pipe")
    path.write_bytes(b"RIFF" + bytes(100))
    with pytest.raises(ValueError, match="not a bundle of asdkit: it begins with b'RIFF"):
        Bundle.open(path)
    monkeypatch.setattr(container, "VERSION", 2)
    written(tmp_path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="a newer asdkit wrote it"):
        Bundle.open(path)


def mutated(value, random):
    """A copy of JSON data with one place changed, dropped or added."""
    value = copy.deepcopy(value)
    places = []

    def walk(inner):
        for key in inner if isinstance(inner, dict) else range(len(inner)):
            places.append((inner, key))
            if isinstance(inner[key], dict | list):
                walk(inner[key])

    walk(value)
    inner, key = places[random.integers(len(places))]
    others = (None, True, -1, 0, 3, 10**30, 1e308, 0.5, "", "graph", "-", "\ud800", "\x1b", [], {}, [[]], {"a": 1})
    kind = random.integers(4)
    if kind == 0 and isinstance(inner, dict):
        del inner[key]
    elif kind == 1 and isinstance(inner, dict):
        inner["more"] = others[random.integers(len(others))]
    elif kind == 1 and inner:
        inner.append(inner[0])
    else:
        inner[key] = others[random.integers(len(others))]
    return value


def test_a_header_that_is_signed_but_wrong_is_refused(tmp_path):
    """Whoever signs it: no error but a ValueError, and what is taken holds arrays of the lengths that it tells."""
    path, random, taken = written(tmp_path), np.random.default_rng(2), 0
    whole = path.read_bytes()
    told = json.loads(whole[64 : 64 + int.from_bytes(whole[12:16], "little")])
    for _ in range(400):
        text = json.dumps(mutated(told, random)).encode()
        start = container._START.pack(container.MAGIC, 1, len(text), container.hashlib.sha256(text).digest())
        pad = bytes(-(len(start) + len(text)) % 4096)
        first = -(-(64 + int.from_bytes(whole[12:16], "little")) // 4096) * 4096
        path.write_bytes(start + text + pad + whole[first:])
        try:
            found = Bundle.open(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: "), error
            continue
        taken += 1
        for name in found.sections:
            found.array(name)
    assert 0 < taken < 200  # what is free text, and cards


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 100_000, "no JSON"),
        ('{"sections": {}, "sections": {}}', "a key occurs twice"),
        ('{"sections": {}, "card": NaN}', "NaN is no number"),
        ('{"sections": {}, "card": ' + "9" * 5000 + "}", "a.asdkit: the header"),
        ("[]", "has no sections"),
        ('{"sections": {}}', "card is missing"),
    ],
)
def test_a_header_that_is_no_header(tmp_path, text, told):
    path = tmp_path / "a.asdkit"
    digest = container.hashlib.sha256(text.encode()).digest()
    path.write_bytes(container._START.pack(container.MAGIC, 1, len(text), digest) + text.encode())
    with pytest.raises(ValueError, match=told):
        Bundle.open(path)


def changed(path, value):
    header = copy.deepcopy(HEADER)
    inner = header
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return header


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("reading", "rate"), 0, "reading.rate: expected a whole number from 1"),
        (("reading", "level"), "loud", "reading.level: expected one of keep, clip_rms, machine_rms, got 'loud'"),
        (("reading", "more"), 1, "reading.more is not known"),
        (("network", "weights"), {"a": "nowhere"}, "network.weights.a: there is no array 'nowhere'"),
        (("network", "graphs"), {"-": "w.1"}, "network.graphs.-: expected an array of 1 dimensions of uint8"),
        (("machines", 0, "self_rows"), "m0.recordings", "machines.0: self_scores: 3 of them, 4 are wanted"),
        (("machines", 0, "clips", "attr"), ["a"], "machines.0: clips.attr: 1 of them, 4 are wanted"),
        (("machines", 0, "sensors", "names"), ["a"], "sensors.names: 1 of them, 2"),
        (("machines", 0, "spectra", "edges"), [0, 1], "bands of spectra.mean: 2 of them, 1"),
        (("machines", 0, "detectors"), {}, "machines.0: has no detectors"),
        (("machines",), HEADER["machines"] * 2, "machines: one occurs twice"),
    ],
)
def test_wrong_headers_are_told_and_not_written(tmp_path, path, value, told):
    with pytest.raises(ValueError, match=told):
        written(tmp_path, changed(path, value))
    assert not list(tmp_path.iterdir())


def test_arrays_that_a_bundle_cannot_hold(tmp_path):
    with pytest.raises(ValueError, match="array w.1: a bundle cannot hold complex128"):
        written(tmp_path, arrays={**ARRAYS, "w.1": np.zeros(3, complex)})
    with pytest.raises(ValueError, match="is no name"):
        written(tmp_path, arrays={**ARRAYS, "a b": np.zeros(3)})


def test_a_bundle_that_changes_while_it_is_used_is_refused(tmp_path):
    path = detecting.bundle(tmp_path / "press.asdkit")
    used = Bundle.open(path)
    name = next(iter(used.sections))
    before = used.array(name).copy()
    detecting.bundle(path, machines=("pump",))  # another file takes its name
    np.testing.assert_array_equal(used.array(name), before)
    used.check_unchanged()
    with pytest.raises(ValueError, match="has changed since it was opened: start again"):
        used.check_unchanged(named=True)
    again = Bundle.open(path)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ValueError, match="has changed since it was opened: start again"):
        again.check_unchanged()
    path.unlink()
    used.check_unchanged()
