# shellcheck shell=bash
# Sourced by the job wrappers run_local.sh and run_slurm.sh, and by the drivers through utils/experiment.sh: jobs, their
# logs and what Slurm says of them. After utils/parse_options.sh, for die.

# Set words to those of a text, in which quotes and backslashes hold blanks as in a shell; nothing is expanded.
split_words() {
    xargs -r true <<<"$1" 2>/dev/null || die "a quote is not closed: $1"
    mapfile -d '' -t words < <(xargs -r printf '%s\0' <<<"$1")
}

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
    forget_progress
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

# Run one job: its output goes to its log, after `# started at ...`; the last line is `# ended code C, S s`. How far it is
# stands in <log>.progress while it runs (asdkit.utils.cli.progress).
run_job() {
    local job_log words code=0
    # Large pages for the C library's memory: a training step takes 4 to 8 % less time, and gives the same bits.
    local -x GLIBC_TUNABLES=${GLIBC_TUNABLES-glibc.malloc.hugetlb=1}
    job_words "$1"
    job_log=$REPLY
    local -x ASDKIT_PROGRESS=$job_log.progress
    SECONDS=0
    # shellcheck disable=SC2094
    {
        printf '# started at %s on %s, %s threads%s\n' "$(date '+%F %T')" "$(uname -n)" "${OMP_NUM_THREADS-}" \
            "${CUDA_VISIBLE_DEVICES:+, GPU $CUDA_VISIBLE_DEVICES}"
        run_words "${words[@]}" || code=$?
        rm -f -- "$ASDKIT_PROGRESS"
        # The last line begins on a line of its own.
        [[ -z $(tail -c 1 -- "$job_log") ]] || echo
        end_line_of "$code"
    } >>"$job_log" 2>&1
    return "$code"
}

# How the words of a job are run, and what its log's last line is; slurm_job.sh has others.
run_words() {
    "$@" </dev/null
}

end_line_of() {
    echo "# ended code $1, $SECONDS s"
}

# Remove what killed jobs left of their progress.
forget_progress() {
    local job
    for job in "${jobs[@]}"; do
        put_job "$log" "$job"
        rm -f -- "$REPLY.progress" "$REPLY.stopped"
    done
}

# Print what the latest run of a job wrote to its log, from the line before its submission, the command. Nothing may stop
# reading early here: under pipefail, what writes to it would end the driver.
latest_run() {
    local line
    line=$({ grep -n '^# submitted at ' || true; } <"$1" | tail -n 1)
    line=${line%%:*}
    tail -n "+$((${line:-0} > 1 ? line - 1 : 1))" -- "$1"
}

has_ended() {
    [[ $(tail -n 1 -- "$1" 2>/dev/null) == "# ended code $2"* ]]
}

# What Slurm says of a job whose log has no end.
declare -A verdict=()

# Judge the jobs by their logs' last lines: 1 when any failed, naming the failed logs and showing the end of the first.
report_jobs() {
    local job failed=() why=() unseen=() said i
    for job in "${jobs[@]}"; do
        put_job "$log" "$job"
        said=${verdict[${job:-none}]-}
        if has_ended "$REPLY" "0,"; then
            continue
        elif has_ended "$REPLY" ""; then
            why+=("")
        elif [[ $said == "COMPLETED 0:0" ]]; then
            unseen+=("$REPLY")
            continue
        elif [[ ! -e $REPLY || $(tail -n 1 -- "$REPLY") == "# submitted at "* ]]; then
            why+=(" (never started${said:+; Slurm: $said})")
        else
            why+=(" (killed: the log has no '# ended' line${said:+; Slurm: $said})")
        fi
        failed+=("$REPLY")
    done
    ((${#failed[@]} + ${#unseen[@]})) || return 0
    {
        ((!${#unseen[@]})) || echo "${0##*/}: Slurm says that the job of ${unseen[0]} ended well, but the end of its log does \
not show here: does this machine see the folder as the nodes do? Look again later: the same command goes on from there"
        ((${#failed[@]})) || return 1
        printf '%s: %d / %d failed:\n' "${0##*/}" "${#failed[@]}" "${#jobs[@]}"
        for i in "${!failed[@]}"; do echo "  ${failed[i]}${why[i]}"; done
        [[ -e ${failed[0]} ]] || return 1
        echo "End of ${failed[0]}:"
        latest_run "${failed[0]}" | tail -n 15 | sed 's/^/    /'
    } >&2
    return 1
}

# Whether Slurm may have jobs of this name; sets REPLY to their ids and states, with the reason of a state that has one.
queued() {
    REPLY=$(timeout 60 squeue --noheader --name "$1" --format "%i %T (%r)" 2>/dev/null) || REPLY="squeue does not answer"
    REPLY=${REPLY// (None)/}
    REPLY=${REPLY//$'\n'/, }
    [[ -n $REPLY ]]
}
