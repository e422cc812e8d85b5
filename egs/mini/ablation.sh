#!/usr/bin/env bash
# From log-mels to the whole method, one part at a time: all experiments of conf with three seeds, side by side in
# exp/RESULTS.md. Options go to run.sh:
#     ./ablation.sh [--seeds "0 1 2"] [--cmd "run_slurm.sh --partition main"] ...
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # sh ablation.sh
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
[[ ${1-} != --help ]] || exec ./run.sh --help
experiments=(logmel random_frozen random_full random frozen full lora fc_lora group_adapter default)
# The frozen encoder, embedded once and scored in many ways.
experiments+=(frozen_bands frozen_density frozen_detectors)
# Others' baselines.
experiments+=(baseline_autoencoder baseline_cnn10 baseline_mobilenet)
for experiment in "${experiments[@]}"; do
    ./run.sh --seeds "0 1 2" --config "conf/$experiment.yaml" "$@"
done
