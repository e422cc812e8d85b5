#!/usr/bin/env bash
# pyod 3.6.7: five detectors forget what they were fitted on, and compare the clips of a call to be scored with each other.
# COF, SOD, LOCI, SOS and LMDD have fit() and decision_function() as all detectors of the package; but fitted on wholly other
# clips they give the same scores, to the bit. Seen, for 10 normal and 30 broken clips in one call: AUC 0.04, 0.66, 0.21, 0.50
# and 0.00 (KNN and LOF: 1.00). A clip that is scored alone gets an IndexError, a ValueError, 0, nan and 0. ECOD, COPOD and ROD
# look at both: a normal clip's score changes with the others of the call (ECOD: 5.64 or 4.85). The help of the method
# speaks of the fitted detector for all but LOCI, where it says nothing.
# Hurts whoever trains on normal clips alone, tests where faults are frequent, and compares detectors of one package.
set -euo pipefail
# A new environment in a folder of its own, removed at the end. PYTHON: the interpreter to build it from.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
python=$work/env/bin/python
"$python" -m pip install --quiet --disable-pip-version-check pyod==3.6.7 scikit-learn==1.9.1 numpy==2.2.6
cd "$work"

"$python" -W ignore - <<'PYTHON'
import sys

import numpy as np
from pyod.models.cof import COF
from pyod.models.copod import COPOD
from pyod.models.ecod import ECOD
from pyod.models.knn import KNN
from pyod.models.lmdd import LMDD
from pyod.models.loci import LOCI
from pyod.models.lof import LOF
from pyod.models.rod import ROD
from pyod.models.sod import SOD
from pyod.models.sos import SOS

rng = np.random.default_rng(0)
train, other = rng.normal(0, 1, (40, 4)), rng.normal(50, 5, (40, 4))
normal, broken = rng.normal(0, 1, (10, 4)), rng.normal(6, 1, (30, 4))
test = np.vstack([normal, broken])
forgets, mixes = {}, {}
for kind in (COF, SOD, LOCI, SOS, LMDD, ECOD, COPOD, ROD, KNN, LOF):
    settings, name = {"random_state": 0} if kind is LMDD else {}, kind.__name__
    detector = kind(**settings).fit(train)
    scores = detector.decision_function(test)
    forgets[name] = np.array_equal(scores, kind(**settings).fit(other).decision_function(test))
    beside = float(detector.decision_function(np.vstack([normal[:1], train[1:]]))[0])
    mixes[name] = not np.isclose(scores[0], beside)
    try:
        alone = float(detector.decision_function(normal[:1])[0])
    except (IndexError, ValueError) as error:
        alone = type(error).__name__
    auc = float((scores[:10, None] < scores[None, 10:]).mean())
    print(f"{name}: fitted on other clips, the scores are {'the same' if forgets[name] else 'others'}; AUC {auc:.2f};")
    print(f"    a normal clip scores {scores[0]:.3f} in that call, {beside:.3f} in a call of normal clips, alone {alone}")
first, second = {"COF", "SOD", "LOCI", "SOS", "LMDD"}, {"ECOD", "COPOD", "ROD"}
sys.exit(not all(forgets[name] == (name in first) and mixes[name] == (name in first | second) for name in forgets))
PYTHON
