#!/usr/bin/env bash
# Machines with several sensors: an experiment and a score for each channel of the dataset description, and one score of
# them all, for each recording. In egs/custom:
#     ./channels.sh --corpus DIR [options]
# channels/dataset.yaml describes the channels, channels/NAME.yaml is the experiment of the channel NAME. The fused scores
# lie in exp/fused, those of a channel in exp/NAME, its manifests in data/NAME.

# shellcheck disable=SC2034,SC2154  # options are read by name; some are the driver's
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # sh channels.sh
set -euo pipefail
utils=$(dirname "${BASH_SOURCE[0]}")/../../utils

# Options
channels="sound vibration"   # of the dataset description
conf=channels                # folder of dataset.yaml and of an experiment for each channel
corpus=downloads             # folder of the recordings, or a CSV file that lists them
# as in asd.sh: seeds
scale=zscore                 # of each channel's scores before they are joined: zscore, median, minmax, none or rank
join=mean                    # one score from the channels': mean, max or min
data=data                    # folder of the manifests, a folder inside for each channel
dump=dump                    # folder of the lists and features, likewise
expdir=exp                   # folder of the experiments
# as in asd.sh: cmd nj gpu nodes num_threads force dry_run
# End of options

# shellcheck source=utils/parse_options.sh
. "$utils/parse_options.sh"
(($# == 0)) || die "unexpected word '$1': several channels stand in one word, --channels \"$channels $1\""
read -ra names <<<"$channels"
((${#names[@]} > 1)) || die "--channels names two channels or more, not '$channels'; for one: ./run.sh --channel NAME"
cd "$(dirname "${BASH_SOURCE[0]}")"
for name in "${names[@]}"; do
    [[ -f $conf/$name.yaml ]] || die "--channels: there is no experiment $conf/$name.yaml"
    ./run.sh --dataset "$conf/dataset.yaml" --channel "$name" --config "$conf/$name.yaml" --tag "$name" \
        --corpus "$corpus" --seeds "$seeds" --data "$data/$name" --dump "$dump/$name" --expdir "$expdir" --cmd "$cmd" \
        --nj "$nj" --gpu "$gpu" --nodes "$nodes" ${num_threads:+--num-threads "$num_threads"} --force "$force" --dry-run "$dry_run"
done
../../utils/fuse.sh --tag fused --members "${names[*]}" --scale "$scale" --join "$join" --data "$data/${names[0]}" \
    --expdir "$expdir" --force "$force" --dry-run "$dry_run"
