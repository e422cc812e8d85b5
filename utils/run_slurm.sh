#!/usr/bin/env bash
# Run a program, or an array of jobs of it, on a Slurm cluster, and wait for it:
#     run_slurm.sh [options] [JOB=1:N | JOB=A,B,...] LOG PROGRAM ARGS...
# The word JOB in LOG and ARGS stands for the job's number. What is not given is left to the cluster's defaults.
# Options that hold for all jobs of a cluster may stand in the file that the environment variable ASDKIT_SLURM_OPTS names,
# one or more a line, as they are written here; those of a line that begins with `gpu:` or `cpu:` are for jobs with or
# without GPUs only. Options given here win. docs/cluster.md has an example.

# shellcheck disable=SC2034  # options are read by name
set -euo pipefail

# Options
partition=       # partition
account=         # account
qos=             # quality of service
nodes=1          # nodes of a job, each of which runs the program (docs/cluster.md)
gpu=0            # GPUs of a job on each node
gpu_type=        # their type, for example a100
mem=             # memory of a job, for example 8G
time=            # time limit of a job, hours:minutes:seconds
num_threads=     # CPU cores and threads of a job
max_jobs_run=    # jobs of the array that run at a time (default: no limit)
max_submit=      # jobs of the array in the queue at a time (default: as many as sbatch takes)
requeue=         # so many seconds before the time limit a training writes a checkpoint and is queued again (default: never)
before=()        # a line of shell that the job runs first, repeatable: --before "module load cuda"
sbatch_opt=()    # anything else for sbatch, repeatable: --sbatch-opt=--constraint=a100
# End of options

utils=$(dirname "${BASH_SOURCE[0]}")
given=("$@")
# shellcheck source=utils/parse_options.sh
. "$utils/parse_options.sh"
# shellcheck source=utils/jobs.sh
. "$utils/jobs.sh"
# shellcheck source=utils/slurm_job.sh
. "$utils/slurm_job.sh"
if [[ -n ${ASDKIT_SLURM_OPTS-} ]]; then
    read_site "$ASDKIT_SLURM_OPTS"
    own=("${given[@]:0:${#given[@]}-$#}") rest=("$@") before=() sbatch_opt=()
    set -- "${site[@]}" "${own[@]}" "${rest[@]}"
    # shellcheck source=utils/parse_options.sh
    . "$utils/parse_options.sh"
    (($# == ${#rest[@]})) || die "$ASDKIT_SLURM_OPTS: '$1' is no option: write --name value"
fi
# shellcheck source=utils/progress.sh
. "$utils/progress.sh"
# shellcheck source=utils/slurm_queue.sh
. "$utils/slurm_queue.sh"
command -v sbatch >/dev/null || die "there is no sbatch on this machine: is it a login node of a Slurm cluster?"
for key in nodes max_submit requeue; do
    [[ -z ${!key} || ${!key} =~ ^[1-9][0-9]*$ ]] || die "--${key//_/-} is a number from 1, not '${!key}'"
done
read_job "$@"

# An array has no more tasks than the cluster takes.
most=${#jobs[@]}
((most == 1)) || {
    size=$(timeout 60 scontrol show config 2>/dev/null | sed -n 's/^MaxArraySize *= *\([0-9]*\).*/\1/p') || size=
    ((${size:-0} <= 1 || size > most)) || most=$((size - 1)) # the largest number is one below it
}
size=$most

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
options=(--parsable --export=ALL --nodes="$nodes" --ntasks="$nodes" --job-name="$name" --chdir="$PWD")
# Slurm's own words (time limit, out of memory) do not pass through the job's shell.
options+=(--output="${folder//%/%%}/.slurm-%x_%A_%a.out" --open-mode=append)
((nodes == 1)) || options+=(--ntasks-per-node=1)
[[ -z $requeue ]] || options+=(--requeue "--signal=B:USR1@$requeue")
for key in partition account qos mem time; do
    [[ -z ${!key} ]] || options+=("--$key=${!key}")
done
[[ $gpu == 0 ]] || options+=("--gres=gpu:${gpu_type:+$gpu_type:}$gpu")
[[ -z $num_threads ]] || options+=("--cpus-per-task=$num_threads")
for option in "${sbatch_opt[@]}"; do
    split_words "$option"
    options+=("${words[@]}")
done

# task_script COUNT: the script of a task among the next COUNT: all that it needs is in it, quoted by bash, so later
# edits of these files do not matter.
task_script() {
    local part=("${jobs[@]:sent:$1}")
    local jobs=("${part[@]}")
    echo '#!/usr/bin/env bash'
    declare -f put_job job_words run_job run_words hear end_line_of
    declare -p jobs log command nodes before
    # shellcheck disable=SC2016
    printf '%s\n' "asked= heard= pid=" 'trap "hear USR1" USR1' 'trap "hear TERM" TERM' \
        'threads=${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-1}}' \
        'export OMP_NUM_THREADS=$threads MKL_NUM_THREADS=$threads' \
        'for one in "${before[@]}"; do eval "$one" || { echo "--before failed: $one" >&2; exit 1; }; done' \
        'code=0 && run_job "${jobs[SLURM_ARRAY_TASK_ID - 1]}" || code=$?' \
        '[[ $code == 0 || $asked != TERM ]] || { trap - TERM && kill -TERM $$; }' 'exit "$code"'
}

forget() {
    rm -f -- "${records[@]}" "$folder/.slurm-${name}_"*.out
    forget_progress
}

begun=
stop() {
    trap '' INT TERM HUP
    end_line
    if [[ -n $begun ]]; then
        [[ -z $sbatch_pid ]] || { kill -TERM "$sbatch_pid" && wait "$sbatch_pid"; } 2>/dev/null || true
        scancel --name "$name"
        where=$(printf '%s\n' "${places[@]%_*}" | uniq | xargs)
        for ((tries = 0; tries < 50; tries++)); do
            queued "$name" || break
            sleep 0.2
        done
        echo "run_slurm.sh: cancelled job ${where:-$name}" >&2
    fi
    queued "$name" || forget
    exit "$1"
}
trap 'stop 129' HUP
trap 'stop 130' INT
trap 'stop 143' TERM

# Show how many tasks are done, and what waits for what: on a terminal every second; else, while nothing runs, after a
# minute, then every minute, every ten minutes after hours.
show() {
    local done='' state=$waiting
    ((${#jobs[@]} == 1)) || done="$((${#jobs[@]} - ${#left[@]})) of ${#jobs[@]} done"
    [[ -z $refused ]] || state="$((${#jobs[@]} - sent)) to be sent ($refused)${waiting:+, }$waiting"
    tell "$done" "$state"
    [[ -z $line_pid && -n $state && $running == false ]] && ((seconds >= due)) || return 0
    echo "run_slurm.sh: still waiting: $state" >&2
    due=$((seconds + (seconds < 600 ? 60 : seconds < 6000 ? seconds / 10 : 600)))
}

# Watching the logs shows the end within a second (sbatch --wait looks every 2 to 32 s); the queue is asked now and
# then, for tasks that wait, and for those that were killed and write no last line.
begin_logs
begun=true left=("${jobs[@]}") gone='' waiting='' running=false due=60 patience=10
for (( ; ; seconds++)); do
    look
    ((${#left[@]})) || break
    send_part
    if [[ -n $gone ]]; then
        # Another machine's lines show late on a network file system, up to a minute where it keeps what it has seen.
        ls -- "$folder" >/dev/null
        (((seconds - gone) % 15 != 1)) || ask_slurm
        [[ -z $gone ]] || ((seconds < gone + patience)) || break
    elif ((seconds == 2 || seconds % (${#waiting} && seconds < 60 ? 5 : 15) == 0)); then
        queued "$name" || { if ((sent < ${#jobs[@]})); then lost=true; else gone=$seconds; fi; }
        waiting=$(sed -E 's/(, )?[^ ]+ (RUNNING|COMPLETING)//g; s/^, //' <<<"$REPLY")
        [[ $waiting == "$REPLY" ]] && running=false || running=true
    fi
    show
    sleep 1
done
end_line
said=$(cat "$folder/.slurm-${name}_"*.out 2>/dev/null || true)
forget
report_jobs || {
    [[ -z $said ]] || printf 'Slurm says:\n%s\n' "$said" >&2
    exit 1
}
