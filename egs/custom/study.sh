#!/usr/bin/env bash
# What other losses, classes and augmentations do for your machines: ./study.sh training --corpus FOLDER [options].
# Options: ./study.sh --help
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # sh study.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec bash ../../utils/study.sh "$@"
