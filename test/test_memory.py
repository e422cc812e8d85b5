import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from asdkit.utils.memory import reuse_freed_memory
if sys.argv[1] == "reuse":
    assert reuse_freed_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(16 << 20)  # 128 MiB, freed at once
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is set")
def test_freed_arrays_are_used_again_without_new_pages():
    faults = {}
    for mode in ("default", "reuse"):
        run = subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True)
        faults[mode] = int(run.stdout)
    assert faults["reuse"] < 10
    assert faults["default"] > faults["reuse"]
