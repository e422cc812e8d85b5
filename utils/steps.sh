#!/usr/bin/env bash
# Embeds and scores the weights that a training kept on its way (train.save_steps), for a curve of scores over steps. In a
# recipe's folder, after stages 1 to 3 of the experiment:
#     ../../utils/steps.sh --tag TAG [options]
# The results are exp/TAG/steps.json, which stage 6 puts on the page, and exp/TAG/STEPS.md. Embeddings are not kept. What is
# scored is skipped; interrupted, the same command goes on.

# shellcheck disable=SC2034,SC2154  # options are read by name; some are the driver's
[ -n "${BASH_VERSION-}" ] || exec bash "$0" "$@" # sh steps.sh
set -euo pipefail

# Options
tag=                         # name of the experiment
seeds=0                      # its seeds: --seeds "0 1 2"
# as in asd.sh: data dump expdir cmd
gpu=0                        # GPUs of a job: 0 or 1
# as in asd.sh: num_threads
force=false                  # true: score again
# as in asd.sh: dry_run
# End of options

utils=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=utils/parse_options.sh
. "$utils/parse_options.sh"
# shellcheck source=utils/path.sh
. "$utils/path.sh"
config=- stage=0 stop_stage=0 first_stage=0 last_stage=0 set=() untagged=()
[[ -n $tag ]] || die "--tag names the experiment"
# shellcheck source=utils/experiment.sh
. "$utils/experiment.sh"

work=(--data "$data" --dump "$dump" --exp "$exp")
programs=(python3 -m asdkit.bin.steps)
compute=(--max-jobs-run 1)
[[ ${cmd_words[0]} == */run_local.sh ]] || compute=()
[[ -z $num_threads ]] || compute+=(--num-threads "$num_threads")
device=()
((gpu == 0)) || { compute+=(--gpu 1) && device=(--device cuda); }
[[ $force == false ]] || device+=(--force true)
steps=1,2
if [[ $dry_run == true ]]; then
    echo "# the steps are those of exp/<tag>/config.yaml, train.save_steps and train.steps"
else
    check_python
    [[ -f $exp/config.yaml ]] || die "there is no experiment $exp: run its stages 1 to 3 first"
    steps=$("${programs[@]}" --exp "$exp" --list true) || die "nothing was scored"
    lock_folder "$exp"
fi
for seed in $seeds; do
    send "${compute[@]}" "JOB=$steps" "$exp/log/steps.seed$seed.JOB.log" \
        "${programs[@]}" "${work[@]}" --seed "$seed" --step JOB "${device[@]}" || die "seed $seed: failed"
done
send "$exp/log/steps.gather.log" "${programs[@]}" "${work[@]}" --gather true || die "the scores are there, the table failed"
[[ $dry_run == true ]] || printf '== %s\n' "steps: $exp/STEPS.md"
