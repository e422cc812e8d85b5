#!/usr/bin/env bash
# Run a program, or an array of jobs of it, on this machine:
#     run_local.sh [options] [JOB=1:N | JOB=A,B,...] LOG PROGRAM ARGS...
# The word JOB in LOG and ARGS stands for the job's number. A failed job does not stop the others.
set -euo pipefail

# Options
max_jobs_run=    # jobs that run at a time (default: all)
num_threads=     # threads of a job (default: the cores divided by the jobs that run at a time)
nodes=1          # for clusters: this machine is one
gpu=0            # GPUs of a job, of those in CUDA_VISIBLE_DEVICES or of all; jobs take turns (0: a job sees them all)
mem=             # for clusters: no effect here
time=            # for clusters: no effect here
# End of options

utils=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=utils/parse_options.sh
. "$utils/parse_options.sh"
# shellcheck source=utils/jobs.sh
. "$utils/jobs.sh"
# shellcheck source=utils/progress.sh
. "$utils/progress.sh"
: "$mem" "$time"
[[ $nodes == 1 ]] || die "--nodes $nodes: this is one machine; --cmd run_slurm.sh takes several (docs/cluster.md)"
[[ $gpu =~ ^[0-9]+$ ]] || die "--gpu is a number from 0, not '$gpu'"
devices=()
if ((gpu > 0)); then
    if [[ -n ${CUDA_VISIBLE_DEVICES+set} ]]; then
        IFS=, read -ra devices <<<"$CUDA_VISIBLE_DEVICES" # -1 ends the list
        for i in "${!devices[@]}"; do [[ ${devices[i]} != -* ]] || { devices=("${devices[@]:0:i}") && break; }; done
        told="in CUDA_VISIBLE_DEVICES '$CUDA_VISIBLE_DEVICES'"
    else
        mapfile -t devices < <(nvidia-smi -L 2>/dev/null | sed -n 's/^GPU \([0-9]*\):.*/\1/p')
        told="named by nvidia-smi -L"
    fi
    ((gpu <= ${#devices[@]})) || die "--gpu $gpu: a job needs $gpu of the GPUs $told, which are ${#devices[@]}"
fi
read_job "$@"

at_once=${max_jobs_run:-${#jobs[@]}}
[[ $at_once =~ ^[1-9][0-9]*$ ]] || die "--max-jobs-run is a number from 1, not '$at_once'"
((at_once <= ${#jobs[@]})) || at_once=${#jobs[@]}
if [[ -z $num_threads ]]; then
    num_threads=$(($(nproc) / at_once))
    ((num_threads > 0)) || num_threads=1
fi
[[ $num_threads =~ ^[1-9][0-9]*$ ]] || die "--num-threads is a number from 1, not '$num_threads'"
export OMP_NUM_THREADS=$num_threads MKL_NUM_THREADS=$num_threads

# End every job and what it started, asking first.
stop() {
    trap '' INT TERM HUP
    local pid groups=() tries
    for pid in $(jobs -rp); do groups+=("-$pid"); done
    if ((${#groups[@]})); then
        kill -TERM -- "${groups[@]}" 2>/dev/null || true
        for ((tries = 0; tries < 30; tries++)); do
            kill -0 -- "${groups[@]}" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL -- "${groups[@]}" 2>/dev/null || true
    fi
    end_line
    forget_progress
    echo "run_local.sh: stopped" >&2
    exit "$1"
}
trap 'stop 129' HUP
trap 'stop 130' INT
trap 'stop 143' TERM

# Wait until fewer than so many jobs run.
wait_for_fewer() {
    local running
    while running=$(jobs -rp | wc -l) && ((running >= $1)); do
        ((${#jobs[@]} == 1)) || tell "$((turn - running)) of ${#jobs[@]} done" ""
        wait -n || true
    done
}

begin_logs
begin_line
for turn in "${!jobs[@]}"; do
    wait_for_fewer "$at_once"
    own=()
    for ((i = turn * gpu; i < (turn + 1) * gpu; i++)); do own+=("${devices[i % ${#devices[@]}]}"); done
    ((gpu == 0)) || CUDA_VISIBLE_DEVICES=$(IFS=, && echo "${own[*]}") && export CUDA_VISIBLE_DEVICES
    set -m # a process group of its own for each job
    run_job "${jobs[turn]}" {line}>&- &
    set +m
done
turn=${#jobs[@]}
wait_for_fewer 1
end_line
forget_progress
report_jobs
