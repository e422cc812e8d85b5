#!/usr/bin/env bash
# Pre-train an encoder on any folder of recordings, without labels.
#     ./run.sh --corpus /path/to/recordings [options]
# 1 list    find and check the recordings
# 2 train   masked prediction on recordings and generated sounds
# 3 export  the encoder as a BEATs file, with its SHA-256
# 4 probe   linear classification of labelled clips, with --probe-clips only
# A finished training is skipped, a killed one goes on where it was when the same command is given again.

# shellcheck disable=SC2034,SC2154  # options are read by name; some are the driver's
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # sh run.sh
set -euo pipefail
set +o posix # where sh is bash

# Options
stage=1                      # first stage to run
stop_stage=4                 # last stage to run
config=conf/continue.yaml    # the pre-training; this one starts from pretrained/asdkit_medium2.pt
set=()                       # changes a value of it, repeatable: --set train.steps=20000
tag=                         # the run's name (default: the config's name and the --set values)
seed=0                       # of weights, codes, sounds and masks
corpus=                      # folder of recordings, searched with its subfolders; none: generated sounds alone
probe_clips=                 # folder of clips named <fold>-<id>-<take>-<class> (ESC-10, ESC-50)
probe_channel=               # this channel of those clips, where they have several
expdir=exp                   # folder of the runs
# as in asd.sh: cmd gpu nodes
num_threads=2                # threads of a job, for $cmd
force=false                  # true: train again from the start
# End of options

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
utils=$here/../../utils
first_stage=1 last_stage=4 untagged=(train.log_every train.checkpoint_every sound.cache_hours)
# shellcheck source=utils/parse_options.sh
. "$utils/parse_options.sh"
cd "$here"
# shellcheck source=utils/path.sh
. "$utils/path.sh"
# shellcheck source=utils/experiment.sh
. "$utils/experiment.sh"
check_python

recordings=(--list "$exp/recordings.tsv")
if [[ -z $corpus ]]; then
    recordings=()
    settings+=(--set sound.generated=1)
fi

# job NUMBER PROGRAM ARGS: run asdkit.bin.PROGRAM through $cmd when its stage was asked for.
job() {
    ((stage <= $1 && $1 <= stop_stage)) || return 0
    echo "== stage $1 ($2): $(date +%T)"
    local options=(--num-threads "$num_threads")
    local runner=(python3 -m)
    [[ $1 != 2 ]] || { options+=("${train_gpu[@]}") && runner=("${train_python[@]}"); }
    send "${options[@]}" "$exp/log/$1.$2.log" "${runner[@]}" "asdkit.bin.$2" "${@:3}" || die "stage $1 failed"
}

lock_folder "$exp"
device=()
((gpu == 0)) || device=(--device cuda)
if [[ -n $corpus ]]; then
    job 1 list_audio --corpus "$corpus" "${settings[@]}" --out "$exp/recordings.tsv"
fi
job 2 pretrain "${settings[@]}" "${recordings[@]}" --exp "$exp" --seed "$seed" "${device[@]}" --force "$force"
job 3 export_encoder --checkpoint "$exp/checkpoint/final.pt" --out "$exp/encoder.pt"
((stage > 3 || stop_stage < 3)) || echo "== encoder: $exp/encoder.pt"
if [[ -n $probe_clips ]]; then
    job 4 probe --clips "$probe_clips" --checkpoint "$exp/encoder.pt" --out "$exp/probe.json" \
        ${probe_channel:+--channel "$probe_channel"}
    ((stop_stage < 4)) || latest_run "$exp/log/4.probe.log"
fi
