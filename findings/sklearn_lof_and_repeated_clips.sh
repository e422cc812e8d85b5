#!/usr/bin/env bash
# scikit-learn 1.7.2: LocalOutlierFactor(novelty=True) fails without a word when training clips are repeated.
# A clip that stands in the training set more often than n_neighbors has neighbours at distance 0 only, so its density is
# bounded by rounding alone, and a normal clip near it lies as far below that density as numbers go. Seen with the default of
# 20 neighbours: a clip beside a training clip scores -1 when that one stands there 20 times, and -900,000 when it stands there
# 22 times. The scores of other clips stay as they were, and there is no warning.
# Hurts whoever balances domains by repeating the few clips of one: normal clips of just that domain become the anomalies.
set -euo pipefail
# A new environment in a folder of its own, removed at the end. PYTHON: the interpreter to build it from.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
python=$work/env/bin/python
"$python" -m pip install --quiet --disable-pip-version-check scikit-learn==1.7.2 numpy==2.2.6
cd "$work"

"$python" -W error - <<'PYTHON'
import sys

import numpy as np
from sklearn.neighbors import LocalOutlierFactor

rng = np.random.default_rng(0)
source, target = rng.normal(0, 1, (200, 16)), rng.normal(5, 1, 16)
beside, normal = target + 0.1 * rng.normal(size=(1, 16)), rng.normal(0, 1, (50, 16))
found = {}
for copies in (20, 22):
    detector = LocalOutlierFactor(novelty=True).fit(np.vstack([source, np.tile(target, (copies, 1))]))
    found[copies] = (float(detector.score_samples(beside)[0]), float(detector.score_samples(normal).min()))
    print(f"{copies} copies: beside the repeated clip {found[copies][0]:.4g}, lowest of the others {found[copies][1]:.4g}")
sys.exit(not (found[20][0] > -10 and found[22][0] < -1e4 and all(low > -10 for _, low in found.values())))
PYTHON
