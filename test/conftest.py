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
