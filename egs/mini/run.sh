#!/usr/bin/env bash
# The whole chain on made-up machines, in a few minutes: ./run.sh. Options: ./run.sh --help
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # sh run.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec bash ../../utils/asd.sh --stage 0 --corpus downloads/mini "$@"
