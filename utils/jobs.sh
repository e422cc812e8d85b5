# shellcheck shell=bash
# Sourced by the job wrappers run_local.sh and run_slurm.sh, and by the drivers through utils/experiment.sh: jobs, their
# logs and what Slurm says of them. After utils/parse_options.sh, for die.

# Read `[JOB=1:N | JOB=A,B,...] LOG PROGRAM ARGS...` into jobs (numbers; one empty word when it is no array),
# log and command.
read_job() {
    jobs=("")
    if [[ ${1-} == JOB=* ]]; then
        if [[ $1 =~ ^JOB=([0-9]+):([0-9]+)$ ]] && ((BASH_REMATCH[1] <= BASH_REMATCH[2])); then
            mapfile -t jobs < <(seq "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}")
        elif [[ $1 =~ ^JOB=[0-9]+(,[0-9]+)*$ ]]; then
            IFS=, read -ra jobs <<<"${1#JOB=}"
        else
            die "'$1' is neither JOB=1:N (N at least 1) nor JOB=A,B,..."
        fi
        shift
    fi
    (($# >= 2)) || die "got no LOG and PROGRAM after the options; see --help"
    log=$1
    command=("${@:2}")
}

# A log holds all runs of its job. A run begins when it is submitted, so that the last line of the one before is not taken
# for its own.
begin_logs() {
    local job words
    for job in "${jobs[@]}"; do
        job_words "$job"
        mkdir -p -- "$(dirname -- "$REPLY")"
        {
            [[ ! -s $REPLY ]] || echo
            printf '#%s\n# submitted at %s\n' "$(printf ' %q' "${words[@]}")" "$(date '+%F %T')"
        } >>"$REPLY"
    done
}

# Set REPLY to the text with the job's number for JOB; JOB beside a capital letter (JOBS) is another word.
put_job() {
    local rest=$1
    REPLY=
    while [[ -n $2 && $rest == *JOB* ]]; do
        REPLY+=${rest%%JOB*}
        rest=${rest#*JOB}
        if [[ $REPLY == *[[:upper:]] || $rest == [[:upper:]]* ]]; then REPLY+=JOB; else REPLY+=$2; fi
    done
    REPLY+=$rest
}

# Set words to the command of a job, and REPLY to its log.
job_words() {
    local word
    words=()
    for word in "${command[@]}"; do
        put_job "$word" "$1"
        words+=("$REPLY")
    done
    put_job "$log" "$1"
}

# Run one job: its output goes to its log, after `# started at ...`; the last line is `# ended code C, S s`.
run_job() {
    local job_log words code=0
    # Large pages for the C library's memory: a training step takes 4 to 8 % less time, and gives the same bits.
    local -x GLIBC_TUNABLES=${GLIBC_TUNABLES-glibc.malloc.hugetlb=1}
    job_words "$1"
    job_log=$REPLY
    SECONDS=0
    # shellcheck disable=SC2094
    {
        printf '# started at %s on %s, %s threads%s\n' "$(date '+%F %T')" "$(uname -n)" "${OMP_NUM_THREADS-}" \
            "${CUDA_VISIBLE_DEVICES:+, GPU $CUDA_VISIBLE_DEVICES}"
        "${words[@]}" </dev/null || code=$?
        # The last line begins on a line of its own.
        [[ -z $(tail -c 1 -- "$job_log") ]] || echo
        printf '# ended code %d, %d s\n' "$code" "$SECONDS"
    } >>"$job_log" 2>&1
    return "$code"
}

# Print what the latest run of a job wrote to its log.
latest_run() {
    tac -- "$1" | sed '/^# submitted at /{n;q}' | tac
}

has_ended() {
    [[ $(tail -n 1 -- "$1") == "# ended code $2"* ]]
}

# Judge the jobs by their logs' last lines: 1 when any failed, naming the failed logs and showing the end of the first.
report_jobs() {
    local job failed=() job_log
    for job in "${jobs[@]}"; do
        put_job "$log" "$job"
        has_ended "$REPLY" "0," || failed+=("$REPLY")
    done
    ((${#failed[@]})) || return 0
    {
        printf '%s: %d / %d failed:\n' "${0##*/}" "${#failed[@]}" "${#jobs[@]}"
        for job_log in "${failed[@]}"; do
            if [[ $(tail -n 1 -- "$job_log") == "# submitted at "* ]]; then
                echo "  $job_log (never started)"
            elif has_ended "$job_log" ""; then
                echo "  $job_log"
            else
                echo "  $job_log (killed: the log has no '# ended' line)"
            fi
        done
        echo "End of ${failed[0]}:"
        latest_run "${failed[0]}" | tail -n 15 | sed 's/^/    /'
    } >&2
    return 1
}

# Whether Slurm may have jobs of this name; sets REPLY to their ids and states.
queued() {
    REPLY=$(squeue --noheader --name "$1" --format "%i %T" 2>/dev/null) || REPLY="squeue does not answer"
    REPLY=${REPLY//$'\n'/, }
    [[ -n $REPLY ]]
}
