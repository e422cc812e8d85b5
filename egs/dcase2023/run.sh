#!/usr/bin/env bash
# DCASE 2023 Task 2 (first shot: other machines in the evaluation set).
# The recordings lie in downloads/, or in the folder given as --corpus; ./run.sh --stage 0 fetches them first.
# Options: ./run.sh --help
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # sh run.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec bash ../../utils/asd.sh --config conf/beats_lora_ga.yaml "$@"
