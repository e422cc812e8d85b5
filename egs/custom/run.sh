#!/usr/bin/env bash
# Your own machines: ./run.sh --corpus FOLDER, or a CSV file that lists the recordings. Options: ./run.sh --help
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # sh run.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec bash ../../utils/asd.sh "$@"
