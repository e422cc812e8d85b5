# shellcheck shell=bash
# Sourced by the job wrappers after utils/jobs.sh, where read_job has set jobs and log: while jobs run, one line on the
# terminal that moves. Without a terminal nothing is shown.
# shellcheck disable=SC2154

# begin_line: a process draws the line until its end of the pipe `line` is closed, also when the wrapper is killed.
begin_line() {
    line_pid=
    if [[ -t 2 && ${TERM-dumb} != dumb ]]; then
        exec {line}> >(draw_line)
        line_pid=$!
    else
        exec {line}>/dev/null
    fi
}

# tell WORDS STATE: what the line begins with from now on, and what it says while no job has progress to show.
tell() {
    [[ $1/$2 == "${told-}" ]] || printf '%s\t%s\n' "$1" "$2" >&"$line"
    told=$1/$2
}

# end_line: leave the terminal as if there had been no line.
end_line() {
    [[ -n ${line-} ]] || return 0
    exec {line}>&-
    while [[ -n $line_pid ]] && kill -0 "$line_pid" 2>/dev/null; do sleep 0.01; done
    line=
}

# Draw once a second: the time, what was told, and the line that each running job keeps in <log>.progress.
draw_line() {
    local words='' state='' part='' heard code job bars width
    trap '' INT TERM HUP
    while :; do
        bars=
        for job in "${jobs[@]}"; do
            put_job "$log" "$job"
            [[ ! -r $REPLY.progress ]] || ! read -r heard <"$REPLY.progress" || bars+="  $heard"
        done 2>/dev/null
        [[ -n $bars ]] || bars="  ${state:-running}"
        printf -v heard '%d:%02d%s%s' $((SECONDS / 60)) $((SECONDS % 60)) "${words:+  $words}" "$bars"
        width=$(stty size <&2 2>/dev/null) || width=
        width=${width#* }
        ((width > 1)) || width=80
        printf '\r%s\e[K' "${heard:0:width-1}" >&2 || true # the wrapper must not write to a closed pipe
        code=0
        IFS= read -r -t 1 heard || code=$?
        ((code == 0 || code > 128)) || break
        part+=$heard # what came before a second was over
        ((code == 0)) || continue
        words=${part%$'\t'*} state=${part#*$'\t'} part=
    done
    printf '\r\e[K' >&2 || true
}
