import os
from pathlib import Path
from types import ModuleType

import pytest

pytest.register_assert_rewrite("download_server")  # a plugin that test modules import from
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests' tensors are tiny


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share one cluster run one after another (pytest-xdist's loadgroup)."""
    for item in items:
        if item.get_closest_marker("slurm"):
            item.add_marker(pytest.mark.xdist_group("slurm"))


@pytest.fixture(scope="session")
def kaldi() -> ModuleType:
    """torchaudio's port of Kaldi's features; skips where torchaudio was built for another torch than the one there."""
    try:
        from torchaudio.compliance import kaldi
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"torchaudio does not load: {str(error).splitlines()[0]}")
    return kaldi


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder with recordings, golden tensors and ground truth; tests that need it skip without it."""
    root = os.environ.get("ASDKIT_TEST_DATA")
    if not root:
        pytest.skip("ASDKIT_TEST_DATA is not set")
    if not Path(root).is_dir():
        pytest.fail(f"ASDKIT_TEST_DATA={root} is not a directory")
    return Path(root)


def tensors(path: Path) -> dict:
    """What an .npz file holds."""
    import numpy as np
    import torch

    return {name: torch.from_numpy(value) for name, value in np.load(path).items()}


@pytest.fixture
def golden(request, test_data):
    """Name of a file -> its tensors, of the encoder that the module is named after: test_ced has those of `ced`."""
    folder = test_data / "golden/encoders" / request.module.__name__.removeprefix("test_")
    return lambda name: tensors(folder / f"{name}.npz")


@pytest.fixture
def wavs(test_data):
    """The recordings that encoders' golden tensors are made of, name -> [clips, samples]; x12: x10 and then x2."""
    import torch

    inputs = test_data / "golden/encoders/inputs"
    found = tensors(inputs / "inputs_16k.npz") | tensors(inputs / "inputs_48k.npz")
    found = {name: torch.atleast_2d(value) for name, value in found.items()}
    return found | {"x12": torch.cat([found["x10"], found["x2"]], 1)}
