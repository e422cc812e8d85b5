#!/usr/bin/env bash
# The driver of all recipes: runs the stages --stage to --stop-stage in a recipe's folder.
#     ./run.sh [options]
# 0 download  fetch or make the recordings, in recipes that have local/data.sh or conf/download.yaml
# 1 data      one manifest per set
# 2 lists     the resolved configuration, labels, lists of recordings or features
# 3 train     one network per seed
# 4 embed     one embedding per clip
# 5 score     anomaly scores
# 6 report    results and tables
# What is done already is skipped; a killed run goes on where it was when the same command is given again.

# shellcheck disable=SC2034  # options are read by name
set -euo pipefail

# Options
stage=1                      # first stage to run
stop_stage=6                 # last stage to run
config=conf/default.yaml     # the experiment
set=()                       # changes a value of the experiment, repeatable: --set train.lr=3e-5
tag=                         # the experiment's name (default: the config's name and the --set values)
score=                       # only these settings of the experiment's score, separated by commas (default: all)
seeds=0                      # one training per seed: --seeds "0 1 2"
corpus=downloads             # folder of the recordings, or a CSV file that lists them
dataset=conf/dataset.yaml    # what the corpus looks like
machines=                    # only these machines, separated by commas (default: all)
sections=                    # only these sections (machine ids), separated by commas (default: all)
channel=                     # this channel of recordings that have several
resample=                    # true: convert recordings of other sample rates (default: as the dataset says)
revealed_attributes=         # folder of attributes that names hide, told after a challenge (default: not used)
check_content=               # false: stage 1 does not read recordings whole: silent ones and copies are not found
data=data                    # folder of the manifests
dump=dump                    # folder of the lists and features
expdir=exp                   # folder of the experiments
cmd=run_local.sh             # runs the programs: --cmd "run_slurm.sh --partition main"
nj=                          # jobs that share features (stage 2) and embeddings (stage 4) (default: --gpu, at least 2)
gpu=0                        # GPUs of a training job, for $cmd; more than one: one process on each, by torchrun
nodes=1                      # nodes of a training job, with so many GPUs each, for $cmd (docs/cluster.md)
num_threads=                 # threads of a job, for $cmd (default: it divides the machine's cores)
report_clips=                # so many of the most wrong of each kind and machine in report/index.html, or all (default: 20)
report_single_file=          # true: their pictures and sounds within report/index.html (default: files beside it)
report_originals=            # true: it plays recordings where they lie, whole (default: sounds cut to 20 s and compressed)
report_compare=              # experiments of --expdir to compare this one with: --report-compare "TAG TAG:SCORE"
profile=false                # true: stages 3 and 4 write where their time goes (docs/speed.md)
force=false                  # true: make again what the chosen stages made
dry_run=false                # true: print the commands, run nothing
# End of options

utils=$(dirname "${BASH_SOURCE[0]}")
first_stage=0 last_stage=6
# What is trained and embedded does not depend on these: another value is no other experiment.
untagged=(score embed.memory_gb data.workers train.log_every train.checkpoint_every train.graphs
    train.accumulate)
# shellcheck source=utils/parse_options.sh
. "$utils/parse_options.sh"
# shellcheck source=utils/path.sh
. "$utils/path.sh"
# shellcheck source=utils/experiment.sh
. "$utils/experiment.sh"

[[ -n $nj ]] || nj=$((gpu > 2 ? gpu : 2))
[[ $nj =~ ^[1-9][0-9]*$ ]] || die "--nj is a number from 1, not '$nj'"
read -ra seed_list <<<"$seeds"
for seed in "${seed_list[@]:-none}"; do
    [[ $seed =~ ^(0|[1-9][0-9]*)$ ]] || die "--seeds is a list of numbers such as \"0 1 2\", not '$seeds'"
done
[[ -z $(printf '%s\n' "${seed_list[@]}" | sort | uniq -d) ]] || die "--seeds '$seeds': a seed occurs twice"
seed_jobs=JOB=$(IFS=, && echo "${seed_list[*]}")

[[ ! "$data $dump $exp" =~ (^|[^[:upper:]])JOB([^[:upper:]]|$) ]] ||
    die "the word JOB stands for a job's number: --data, --dump, --expdir and --tag cannot hold it"

work=(--data "$data" --dump "$dump" --exp "$exp")
# A training takes all of this machine; a cluster may train all seeds at once.
one_at_a_time=(--max-jobs-run 1)
[[ ${cmd_words[0]} == */run_local.sh ]] || one_at_a_time=()
compute=()
[[ -z $num_threads ]] || compute+=(--num-threads "$num_threads")
embed_gpu=() device=()
((gpu == 0)) || { embed_gpu=(--gpu 1) && device=(--device cuda); }
python=(python3 -m)
forced=() sources=()
[[ $force == false ]] || forced=(--force true)
for key in machines sections channel resample revealed_attributes check_content; do
    [[ -z ${!key} ]] || sources+=("--${key//_/-}" "${!key}")
done
[[ $profile == false ]] && profiled=() || profiled=(--profile "$profile")
[[ -z $score ]] && chosen=() || chosen=(--score "$score")

# begin NUMBER NAME: whether the stage was asked for.
begin() {
    ((stage <= $1 && $1 <= stop_stage)) || return 1
    current=$1 name="stage $1 ($2)" logs=$exp/log
    (($1 >= 2)) || logs=$data/log
    if [[ $dry_run == true ]]; then echo "# $name"; else echo "== $name: $(date +%T)"; fi
}

# run [options of $cmd] [JOB=...] PROGRAM[.PART] ARGS: run asdkit.bin.PROGRAM, or a script of the recipe, through $cmd.
run() {
    local options=() words=() what
    while [[ $1 == --* ]]; do
        options+=("$1" "$2")
        shift 2
    done
    [[ $1 != JOB=* ]] || { options+=("$1") && shift; }
    words=("${python[@]}" "asdkit.bin.${1%%.*}") what=$1
    [[ $1 != */* ]] || { words=("$1") && what=$(basename "$1" .sh); }
    send "${options[@]}" "$logs/$current.$what.log" "${words[@]}" "${@:2}" || die "$name failed"
}

# A mistake in the experiment is found before the first stage, and leaves nothing behind. From stage 3 on, the experiment is
# there; it may get new settings of its score.
[[ $dry_run == true ]] || check_python
if ((stop_stage >= 2)); then
    there=()
    ((stage <= 2)) || there=(--must-exist true)
    ((stage <= 2)) || [[ ! -d $exp ]] || lock_folder "$exp"
    [[ $dry_run == false ]] || echo "# before the first stage"
    call "${python[@]}" asdkit.bin.configure "${settings[@]}" --exp "$exp" "${chosen[@]}" "${there[@]}" "${forced[@]}" ||
        die "no stage was run"
fi

# Experiments that start together on the same data prepare them once.
((stage >= 2)) || lock_folder "$data"

if begin 0 download; then
    if [[ -x local/data.sh ]]; then
        run local/data.sh "$corpus" ${machines:+--machines "$machines"} "${forced[@]}"
    elif [[ -f conf/download.yaml ]]; then
        run download --download conf/download.yaml --dataset "$dataset" --out "$corpus" \
            ${machines:+--machines "$machines"} "${forced[@]}"
    else
        die "this recipe has no stage 0: start at --stage 1 and give the recordings' folder as --corpus"
    fi
fi

if begin 1 data; then
    run prepare_data --dataset "$dataset" --corpus "$corpus" --data "$data" "${sources[@]}" "${forced[@]}"
    [[ $dry_run == true ]] || latest_run "$logs/1.prepare_data.log" | sed '/^#/d'
fi

((stage >= 2)) || free_folder
tested=true
((stop_stage < 5)) || [[ $dry_run == true || ! -f $data/dataset.yaml ]] || compgen -G "$data/*_test/manifest.tsv" >/dev/null ||
    { tested=false && echo "== $data has no test clips (stage 1 says what it did not read): thresholds, but no results"; }
((stage > 2 || stop_stage < 2)) || lock_folder "$exp"

if begin 2 lists; then
    lock_folder "$dump" # features are shared by experiments
    run make_lists "${settings[@]}" "${work[@]}" "${forced[@]}"
    [[ $dry_run == false ]] ||
        echo "# only where exp/<tag>/config.yaml says data.feats_type: fbank, or another data.reference than none"
    if [[ $dry_run == true ]] || grep -qsxE "  (feats_type: fbank|reference: (complex|magnitude))" "$exp/config.yaml"; then
        run "${compute[@]}" JOB=1:"$nj" extract_feats.JOB "${work[@]}" --num-jobs "$nj" --job JOB "${forced[@]}"
        run extract_feats.merge "${work[@]}" --num-jobs "$nj" --merge true "${forced[@]}"
        [[ $dry_run == true ]] || latest_run "$logs/2.extract_feats.merge.log" | grep WARNING || true
    fi
    free_folder
fi

if begin 3 train; then
    python=("${train_python[@]}")
    run "${one_at_a_time[@]}" "${compute[@]}" "${train_gpu[@]}" "$seed_jobs" train.seedJOB \
        "${work[@]}" --seed JOB "${device[@]}" "${profiled[@]}" "${forced[@]}"
    python=(python3 -m)
fi

if begin 4 embed; then
    [[ $dry_run == false ]] || echo "# only where exp/<tag>/config.yaml says embed.precision: auto"
    if [[ $dry_run == true ]] || grep -qsx "  precision: auto" "$exp/config.yaml"; then
        run "${one_at_a_time[@]}" "${compute[@]}" "${embed_gpu[@]}" "$seed_jobs" extract_embeddings.seedJOB.choose \
            "${work[@]}" --seed JOB --choose true "${device[@]}" "${forced[@]}"
        for seed in "${seed_list[@]}"; do
            [[ $dry_run == true ]] ||
                latest_run "$logs/4.extract_embeddings.seed$seed.choose.log" | grep -o "embed.precision auto: .*" || true
        done
    fi
    for seed in "${seed_list[@]}"; do
        shards=("${work[@]}" --seed "$seed" --num-jobs "$nj")
        run "${compute[@]}" "${embed_gpu[@]}" JOB=1:"$nj" "extract_embeddings.seed$seed.JOB" \
            "${shards[@]}" --job JOB "${device[@]}" "${profiled[@]}" "${forced[@]}"
        run "extract_embeddings.seed$seed.merge" "${shards[@]}" --merge true "${forced[@]}"
    done
fi

if begin 5 score; then
    run "$seed_jobs" score.seedJOB --data "$data" --exp "$exp" --seed JOB "${chosen[@]}" "${forced[@]}"
fi

[[ $tested == true ]] || ! begin 6 report || { echo "== nothing to report without test clips, but a bundle can be made"; exit; }
if begin 6 report; then
    published=()
    [[ ! -f conf/published.yaml ]] || published=(--published conf/published.yaml)
    shown=(${report_clips:+--clips "$report_clips"} ${report_single_file:+--single-file "$report_single_file"}
        ${report_originals:+--originals "$report_originals"})
    read -ra beside <<<"$report_compare"
    ((${#beside[@]} == 0)) || shown+=(--compare "${beside[@]}")
    run report --data "$data" --exp "$exp" "${published[@]}" "${shown[@]}" "${chosen[@]}" "${forced[@]}"
    [[ $dry_run == true ]] || printf '== %s\n' "results: $exp/RESULTS.md" "page: $exp/report/index.html"
fi
