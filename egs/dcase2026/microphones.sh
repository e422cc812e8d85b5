#!/usr/bin/env bash
# The near microphone as it is, and without what the far one hears: complex (least squares) and magnitude (difference of
# magnitudes), side by side in exp/RESULTS.md. Options go to run.sh:
#     ./microphones.sh [--config conf/beats_frozen_bands.yaml] [--stage 1] [--seeds "0 1 2"] ...
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # sh microphones.sh
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
[[ ${1-} != --help ]] || exec ./run.sh --help
./run.sh --config conf/beats_frozen_bands.yaml "$@"
for how in complex magnitude; do
    ./run.sh --config conf/beats_frozen_bands.yaml --set "data.reference=$how" "$@"
done
