#!/usr/bin/env bash
# What encoders are worth for machines in noise, before anything is trained on them: one table.
#     ./yardstick.sh --encoders "pretrained/asdkit_medium2.pt exp/new/encoder.pt" [--real FOLDER] [--probe-clips FOLDER]
# Frozen embeddings and the detectors of egs/custom, on the machines of egs/mini and on recordings, clean and in noise.
# Also in the table: log-mels, and random weights of each encoder's size. What is measured is kept: the same command
# goes on, and another encoder adds a column.
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # sh yardstick.sh
set -euo pipefail
set +o posix # where sh is bash

# Options
encoders=pretrained/asdkit_medium2.pt # BEATs files, separated by spaces
real=                        # folder with bldc/dev_data/BLDCMotor and dcase2020/dev_data/slider; none: mini alone
probe_clips=                 # folder of clips named <fold>-<id>-<take>-<class> (ESC-10); none: no probe
random_seeds="0 1 2"         # of the random weights
conditions=                  # these alone: --conditions "clean pink_-6" (default: all)
out=exp/yardstick            # folder of corpora, scores and table.md
num_threads=2                # threads
# End of options

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
utils=$here/../../utils
# shellcheck source=utils/parse_options.sh
. "$utils/parse_options.sh"
(($# == 0)) || die "unexpected word '$1'"
cd "$here"
# shellcheck source=utils/path.sh
. "$utils/path.sh"
check_python

mkdir -p "$out"
bash ../mini/local/data.sh "$out/corpora/mini"
python3 -m asdkit.bin.prepare_data --dataset ../mini/conf/dataset.yaml --corpus "$out/corpora/mini" --data "$out/data/mini"
if [[ -n $real ]]; then
    python3 local/real.py --real "$real" --out "$out/corpora/real.csv"
    python3 -m asdkit.bin.prepare_data --dataset ../custom/conf/dataset.yaml --corpus "$out/corpora/real.csv" \
        --data "$out/data/real"
fi
read -ra files <<<"$encoders"
exec python3 local/yardstick.py --encoders "${files[@]}" --random-seeds "$random_seeds" --out "$out" \
    --threads "$num_threads" --conditions "$conditions" ${real:+--real} \
    ${probe_clips:+--probe-clips "$probe_clips"}
