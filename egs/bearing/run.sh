#!/usr/bin/env bash
# A bearing behind three amounts of noise, generated: ./run.sh. By microphone: see README.md. Options: ./run.sh --help
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # sh run.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec bash ../../utils/asd.sh --stage 0 --corpus downloads/bearing --config conf/envelope.yaml "$@"
