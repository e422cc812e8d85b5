#!/usr/bin/env bash
# Your own machines: ./run.sh --corpus FOLDER, or a CSV file that lists the recordings. Options: ./run.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec bash ../../utils/asd.sh "$@"
