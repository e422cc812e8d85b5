#!/usr/bin/env bash
# MIMII as its makers publish it: four machines of four ids each, at three signal-to-noise ratios.
# The unpacked archives lie in downloads/, or in the folder given as --corpus; see README.md.
# Options: ./run.sh --help
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # sh run.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec bash ../../utils/asd.sh --config conf/beats_lora_ga.yaml "$@"
