#!/usr/bin/env bash
# scikit-learn 1.9.1: PCA(whiten=True) on fewer clips than features divides its last direction by rounding.
# Ten centred clips vary in nine directions. Ten are kept: the tenth is any direction at a right angle to these, its variance is
# rounding, and whitening divides by its root. Training clips look well in it (no value above 2.5); those of other clips, normal
# or not, reach 1e15 in float64 and 2e6 in float32 and drown the nine others. There is no warning. Seen, for the distance to the
# next training clip: AUC 0.73 in float64 and 0.70 in float32; with n_components=9 0.96 in both, and no value above 1.8 there.
# Hurts whoever whitens embeddings by the clips of a domain that has ten of them: its scores come from one direction of chance.
set -euo pipefail
# A new environment in a folder of its own, removed at the end. PYTHON: the interpreter to build it from.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
python=$work/env/bin/python
"$python" -m pip install --quiet --disable-pip-version-check scikit-learn==1.9.1 numpy==2.2.6
cd "$work"

"$python" -W error - <<'PYTHON'
import sys

import numpy as np
from sklearn.decomposition import PCA

rng = np.random.default_rng(0)
factors = rng.normal(size=(6, 64))


def clips(number, spread):
    """Embeddings of 64 values: six factors that vary by spread, and a little of everything else."""
    return spread * rng.normal(size=(number, 6)) @ factors + 0.3 * rng.normal(size=(number, 64))


train, normal, broken = clips(10, 1), clips(200, 1), clips(200, 3)
found = {}
for dtype in (np.float64, np.float32):
    for components in (None, 9):
        pca = PCA(components, whiten=True).fit(train.astype(dtype))
        kept, near, far = (pca.transform(part.astype(dtype)).astype(float) for part in (train, normal, broken))
        low, high = (np.linalg.norm(part[:, None] - kept, axis=2).min(axis=1) for part in (near, far))
        auc = float((low[:, None] < high).mean())
        values = (float(np.abs(kept).max()), float(np.abs(near[:, -1]).max()))
        found[dtype.__name__, components] = (auc, *values)
        print(f"{dtype.__name__}, n_components={components}, {pca.n_components_} kept: AUC of the distance to the next training")
        print(f"    clip {auc:.3f}; largest of training clips {values[0]:.3g}, of others in the last component {values[1]:.3g}")
loose, tight = ([found[name, components] for name in ("float64", "float32")] for components in (None, 9))
drowned = all(training < 10 and value > 1e4 for _, training, value in loose) and all(value < 10 for *_, value in tight)
sys.exit(not (drowned and all(bad[0] < good[0] - 0.05 for bad, good in zip(loose, tight))))
PYTHON
