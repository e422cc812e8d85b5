#!/usr/bin/env bash
# What the parts of conf/machines.yaml are worth, and those that it does without: a quarter of the steps, the yardstick of all.
#     ./ablation.sh --corpus /path/to/esc10 --real FOLDER [options]
# A finished training is skipped, a killed one goes on.
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # sh ablation.sh
set -euo pipefail
set +o posix # where sh is bash

# Options
corpus=                      # folder of recordings to learn from
real=                        # recordings of machines for the yardstick, as there; none: mini alone
probe_clips=                 # ESC-10, for the yardstick's probe
steps=2250                   # of each training
seed=0                       # of weights, codes, sounds and masks
expdir=exp                   # folder of the runs
cmd=run_local.sh             # runs the programs
num_threads=2                # threads of a job
dry_run=false                # true: print the commands, run nothing
# End of options

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=utils/parse_options.sh
. "$here/../../utils/parse_options.sh"
(($# == 0)) || die "unexpected word '$1'"
[[ -n $corpus ]] || die "--corpus: a folder of recordings"
cd "$here"

declare -A parts=(
    [all]="" [machines]="sound.machines=0" [lengths]="sound.longest_seconds=null" [level]="tokenizer.relative=false"
    [noise]="sound.noise={}" [average]="latent={}"
)
encoders=(pretrained/asdkit_medium2.pt)
for name in all machines lengths level noise average; do
    tag=ablation_$name
    words=(bash run.sh --config conf/machines.yaml --corpus "$corpus" --tag "$tag" --seed "$seed" --expdir "$expdir"
        --cmd "$cmd" --num-threads "$num_threads" --set "train.steps=$steps")
    [[ -z ${parts[$name]} ]] || words+=(--set "${parts[$name]}")
    if [[ $dry_run == true ]]; then echo "${words[*]@Q}"; else "${words[@]}"; fi
    encoders+=("$expdir/$tag/encoder.pt")
done
words=(bash yardstick.sh --encoders "${encoders[*]}" --random-seeds "0" --num-threads "$num_threads"
    --out "$expdir/yardstick" --real "$real" --probe-clips "$probe_clips")
if [[ $dry_run == true ]]; then echo "${words[*]@Q}"; else "${words[@]}"; fi
