#!/usr/bin/env bash
# Run a program, or an array of jobs of it, on a Slurm cluster, and wait for it:
#     run_slurm.sh [options] [JOB=1:N | JOB=A,B,...] LOG PROGRAM ARGS...
# The word JOB in LOG and ARGS stands for the job's number. What is not given is left to the cluster's defaults.

# shellcheck disable=SC2034  # options are read by name
set -euo pipefail

# Options
partition=       # partition
account=         # account
qos=             # quality of service
gpu=0            # GPUs of a job
mem=             # memory of a job, for example 8G
time=            # time limit of a job, hours:minutes:seconds
num_threads=     # CPU cores and threads of a job
max_jobs_run=    # jobs of the array that run at a time (default: no limit)
sbatch_opt=()    # anything else for sbatch, repeatable: --sbatch-opt=--constraint=a100
# End of options

utils=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=utils/parse_options.sh
. "$utils/parse_options.sh"
# shellcheck source=utils/jobs.sh
. "$utils/jobs.sh"
command -v sbatch >/dev/null || die "there is no sbatch on this machine: is it a login node of a Slurm cluster?"
read_job "$@"

# A name that no other job has, left in the folders that the driver has taken before there is a job: should both be killed,
# the next run finds it and asks for it.
put_job "$log" "${jobs[0]}"
read -r token </proc/sys/kernel/random/uuid
name=$(basename -- "$REPLY" .log)-${token%%-*}
folder=$(dirname -- "$REPLY")
records=()
while IFS= read -r locked; do
    [[ -n $locked ]] || continue
    mkdir -p -- "$locked/.jobs"
    records+=("$locked/.jobs/$name")
    : >"${records[-1]}"
done <<<"${ASDKIT_LOCKED-}"
options=(--parsable --export=ALL --nodes=1 --ntasks=1 --job-name="$name" --chdir="$PWD")
options+=(--array="1-${#jobs[@]}${max_jobs_run:+%$max_jobs_run}")
# Slurm's own words (time limit, out of memory) do not pass through the job's shell.
options+=(--output="${folder//%/%%}/.slurm-%x_%a.out")
for key in partition account qos mem time; do
    [[ -z ${!key} ]] || options+=("--$key=${!key}")
done
[[ $gpu == 0 ]] || options+=("--gres=gpu:$gpu")
[[ -z $num_threads ]] || options+=("--cpus-per-task=$num_threads")
for words in "${sbatch_opt[@]}"; do
    read -ra words <<<"$words"
    options+=("${words[@]}")
done

# The script of one task: all that it needs is in it, quoted by bash, so later edits of these files do not matter.
task_script() {
    echo '#!/usr/bin/env bash'
    declare -f put_job job_words run_job
    declare -p jobs log command
    # shellcheck disable=SC2016
    printf '%s\n' 'threads=${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-1}}' \
        'export OMP_NUM_THREADS=$threads MKL_NUM_THREADS=$threads' \
        'run_job "${jobs[SLURM_ARRAY_TASK_ID - 1]}"'
}

forget() {
    rm -f -- "${records[@]}" "$folder/.slurm-${name}_"*.out
}

sent=
stop() {
    trap '' INT TERM HUP
    if [[ -n $sent ]]; then
        scancel --name "$name"
        for ((tries = 0; tries < 50; tries++)); do
            queued "$name" || break
            sleep 0.2
        done
        echo "run_slurm.sh: cancelled job ${id:-$name}" >&2
    fi
    queued "$name" || forget
    exit "$1"
}
trap 'stop 129' HUP
trap 'stop 130' INT
trap 'stop 143' TERM

# Drop the jobs whose logs have ended from `left`.
look() {
    local job still=()
    for job in "${left[@]}"; do
        put_job "$log" "$job"
        has_ended "$REPLY" "" || still+=("$job")
    done
    left=("${still[@]}")
}

begin_logs
sent=true
id=$(sbatch "${options[@]}" < <(task_script)) || {
    queued "$name" || forget # a controller in a hurry may take a job and not say so
    die "sbatch did not take the job: sbatch ${options[*]}"
}
id=${id%%;*}
# Watching the logs shows the end within a second (sbatch --wait looks every 2 to 32 s); the queue is asked now and
# then, for tasks that were killed and write no last line.
left=("${jobs[@]}") gone=
for ((seconds = 0; ; seconds++)); do
    look
    ((${#left[@]})) || break
    if [[ -z $gone ]]; then
        ((seconds % 15)) || queued "$name" || gone=$seconds
    else
        # On a network file system a log's end shows a little after its task's.
        ((seconds < gone + 10)) || break
    fi
    sleep 1
done
said=$(cat "$folder/.slurm-${name}_"*.out 2>/dev/null || true)
forget
report_jobs || {
    [[ -z $said ]] || printf 'Slurm says:\n%s\n' "$said" >&2
    exit 1
}
