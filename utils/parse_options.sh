# shellcheck shell=bash
# Sourced by a script that has an option block; every variable of the block becomes an option.
#
#     # Options
#     stop_stage=6     # last stage to run          -> --stop-stage 3 or --stop-stage=3
#     dry_run=false    # run nothing                -> --dry-run, --dry-run true
#     set=()           # key=value, repeatable      -> --set a=1 --set b=2
#     # as in asd.sh: seeds gpu   # these of a script beside this one, with its values and help
#     # End of options
#     . "$utils/parse_options.sh"
#
# Reading stops at the first word that does not begin with a dash: the script finds what is left in "$@".
# --help prints the comments at the top of the script and those of the block, with the values of the moment.

option_file=${BASH_SOURCE[1]}

# Say what is wrong, after the script's name, and end.
die() {
    printf '%s: %s\n' "${option_file##*/}" "$1" >&2
    exit 1
}

# option_block FILE: print the lines of its block.
option_block() {
    sed -n '/^# Options$/,/^# End of options$/p' "$1"
}

# The lines of the block, those that it takes from another script's among them, and the names in it.
declare -A option_names=()
option_lines=()
while IFS= read -r option_line; do
    if [[ $option_line =~ ^\#\ as\ in\ ([a-z_]+\.sh):\ ([a-z_ ]+) ]]; then
        for option_name in ${BASH_REMATCH[2]}; do
            option_line=$(option_block "${BASH_SOURCE[0]%/*}/${BASH_REMATCH[1]}" | grep "^$option_name=")
            eval "$option_line"
            option_names[$option_name]=1
            option_lines+=("$option_line")
        done
        continue
    fi
    [[ ! $option_line =~ ^([a-z][a-z0-9_]*)= ]] || option_names[${BASH_REMATCH[1]}]=1
    option_lines+=("$option_line")
done < <(option_block "$option_file")

option_is_array() {
    [[ $(declare -p "$1") == "declare -a"* ]]
}

option_help() {
    local _line _name _value
    sed -n '2,${/^#/!q;s/^# \{0,1\}//p;}' "$option_file"
    printf '\nOptions:\n'
    for _line in "${option_lines[@]}"; do
        if [[ $_line =~ ^([a-z][a-z0-9_]*)=[^#]*\#\ (.*)$ ]]; then
            _name=${BASH_REMATCH[1]} _line=${BASH_REMATCH[2]}
            local -n _current=$_name
            _value=${_current[*]-}
            [[ $_value == *" "* ]] && _value="'$_value'"
            printf '  --%-28s %s\n' "${_name//_/-} $_value" "$_line"
        elif [[ $_line =~ ^\ +\#\ (.*)$ ]]; then
            printf '    %-28s %s\n' "" "${BASH_REMATCH[1]}"
        fi
    done
}

# Edit distance of two words.
option_distance() {
    local a=$1 b=$2 i j best above=() row=()
    for ((j = 0; j <= ${#b}; j++)); do above[j]=$j; done
    for ((i = 1; i <= ${#a}; i++)); do
        row=("$i")
        for ((j = 1; j <= ${#b}; j++)); do
            best=$((above[j - 1] + 1))
            [[ ${a:i-1:1} == "${b:j-1:1}" ]] && best=${above[j - 1]}
            ((above[j] + 1 < best)) && best=$((above[j] + 1))
            ((row[j - 1] + 1 < best)) && best=$((row[j - 1] + 1))
            row[j]=$best
        done
        above=("${row[@]}")
    done
    echo "${above[-1]}"
}

option_unknown() {
    local name distance nearest=3 near=""
    for name in "${!option_names[@]}"; do
        distance=$(option_distance "$1" "$name")
        if ((distance < nearest)) || [[ $name == "$1"* ]]; then
            nearest=$((distance < nearest ? distance : nearest))
            near=$name
        fi
    done
    die "unknown option --${1//_/-}.${near:+ Did you mean --${near//_/-}?} --help lists all options"
}

# Take one option off the words given; option_words is set to how many words it was.
option_take() {
    local _word=${1#--} _name _value
    _name=${_word%%=*}
    _name=${_name//-/_}
    [[ -n $_name && -n ${option_names[$_name]-} ]] || option_unknown "$_name"
    option_words=1
    if [[ $_word == *=* ]]; then
        _value=${_word#*=}
    elif (($# > 1)) && [[ $2 != --* ]]; then
        _value=$2
        option_words=2
    elif [[ ${!_name-} == true || ${!_name-} == false ]]; then
        _value=true
    else
        die "$1 needs a value (one that starts with -- is written $1=VALUE)"
    fi
    if option_is_array "$_name"; then
        local -n _array=$_name
        _array+=("$_value")
        return
    fi
    if [[ ${!_name} == true || ${!_name} == false ]] && [[ $_value != true && $_value != false ]]; then
        die "--${_name//_/-} is true or false, not '$_value'"
    fi
    printf -v "$_name" '%s' "$_value"
}

while (($#)); do
    case $1 in
        -h | --help)
            option_help
            exit 0
            ;;
        --?*)
            option_take "$@"
            shift "$option_words"
            ;;
        -?*) die "options have two dashes, not '$1'; --help lists all options" ;;
        *) break ;;
    esac
done
