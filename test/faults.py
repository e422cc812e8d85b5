"""The faults that mutants.py puts in: one text in the place of another, and the tests that should notice."""

from typing import NamedTuple

FIELD = "test/test_wires.py::test_a_field_changes_the_result_or_is_declared_not_to"


class Fault(NamedTuple):
    """`old` occurs once in `file`; `tests`: file::name for test_<file>.py::test_<name>, [field] for one of test_wires.

    harmless: it costs time or memory alone, so that nobody has to notice.
    """

    name: str
    file: str
    old: str
    new: str
    tests: str
    harmless: bool = False


def selected(fault: Fault) -> list[str]:
    """Words for pytest."""
    words = []
    for word in fault.tests.split():
        file, separator, name = word.partition("::")
        name = f"::test_{name}" if separator else ""
        words.append(f"{FIELD}{word}" if word.startswith("[") else f"test/test_{file}.py{name}")
    return words


LOOP, CLIPS, NETWORK = "asdkit/train/loop.py", "asdkit/infer/clips.py", "asdkit/infer/network.py"
IDENTITY, YAML, FOLDER = "asdkit/config/identity.py", "asdkit/utils/typed_yaml.py", "asdkit/config/folder.py"
EXPERIMENT, SCORING = "asdkit/infer/experiment.py", "asdkit/detectors/scoring.py"
DECISIONS, EVALUATION = "asdkit/report/decisions.py", "asdkit/report/evaluation.py"
OBJECTIVE, EMBEDDER = "asdkit/losses/objective.py", "asdkit/models/embedder.py"
CHAIN = "asdkit/data/chain.py"
GATHER, LISTS, UPGRADE = "asdkit/losses/gather.py", "asdkit/data/lists.py", "asdkit/config/upgrade.py"

FAULTS = [
    # training
    Fault("schedule and warm-up ignored", LOOP, "learning_rate(settings, self.step)", "settings.lr",
          "[train.schedule] [train.warmup_steps]"),
    Fault("weight decay ignored", "asdkit/train/optim.py", "weight_decay=config.weight_decay", "weight_decay=0.01",
          "[train.weight_decay]"),
    Fault("SpecAugment never applied", "asdkit/train/finetune.py",
          "return spec_augment(feats, masks, generator) if masks and config.encoder.spectrogram else feats",
          "return feats", "[train.specaugment]"),
    Fault("data.balance ignored", "asdkit/data/batches.py", "config.data.balance, seed)", '"none", seed)',
          "[data.balance]"),
    Fault("loss.aam.scale ignored", OBJECTIVE, "config.aam.scale", "30.0", "[loss.aam.scale]"),
    Fault("loss.aam.margin ignored", OBJECTIVE, "config.aam.margin", "0.2", "[loss.aam.margin]"),
    Fault("loss.dlcl.temperature ignored", OBJECTIVE, "config.dlcl.temperature", "0.1", "[loss.dlcl.temperature]"),
    Fault("group adapter's temperature ignored", "asdkit/adapt/group_adapter.py",
          "config.hidden, config.temperature)", "config.hidden, 0.1)", "[model.group_adapter.temperature]"),
    Fault("model.attention_dim ignored", "asdkit/models/pooling.py", "config.attention_dim", "128",
          "[model.attention_dim]"),
    Fault("grad_clip of one tensor", LOOP, "clip_grad_norm_(self.parameters,", "clip_grad_norm_(self.parameters[:1],",
          "trainer"),
    Fault("forced training goes on from the old last.pt", "asdkit/bin/train.py",
          '(folder / "checkpoint" / "last.pt").unlink(missing_ok=True)', "pass",
          "pipeline::a_forced_training_starts_anew"),
    Fault("each process draws for its own rows", "asdkit/train/distributed.py", "return self.share(change(whole))",
          "return change(rows)", "distributed::two_processes_train_what_one_trains"),
    Fault("frozen encoder is trained", EMBEDDER, "requires_grad_(config.encoder.train)", "requires_grad_(True)",
          "[encoder.beats.train]"),
    Fault("resumed objective starts anew", "asdkit/models/classifier.py",
          'load_tensors(self.objective, content["objective"], f"{path}: objective")', "return",
          "train_loop::killed_and_resumed_is_bit_identical"),
    Fault("training reads recordings for features", LISTS, 'if config.data.feats_type == "raw":', "if True:",
          "[data.feats_type]"),
    Fault("memory counts as a result", "asdkit/pretrain/config.py", "2.0, ge=0, json_schema_extra=NO_RESULT,",
          "2.0, ge=0,", "[pretrain.sound.cache_hours]"),
    Fault("the optimiser starts anew when resumed", LOOP,
          'self.optimizer.load_state_dict(content["optimizer"])', "pass",
          "train_loop::killed_and_resumed_is_bit_identical"),
    Fault("the curve starts anew when resumed", LOOP, 'self.curve.load(content["curve"])', "pass",
          "train_loop::killed_and_resumed_is_bit_identical"),
    Fault("every step draws the same", LOOP,
          "feats = self._features(batch, seed_everything(self.seed, self.step, 0))",
          "feats = self._features(batch, seed_everything(self.seed, 0, 0))", "trainer"),
    Fault("the memory of negatives is empty when resumed", "asdkit/losses/dlcl.py",
          "self.register_load_state_dict_post_hook(_count)", "pass", "train_loop::killed_and_resumed_is_bit_identical"),
    Fault("every seed takes the same batches", "asdkit/data/sampler.py", "(self.seed, _ORDER, epoch)",
          "(0, _ORDER, epoch)", "sampler::a_batch_depends_on_seed_and_step_alone"),
    Fault("a killed forced pre-training leaves its old network", "asdkit/bin/pretrain.py",
          'for old in ("last.pt", "final.pt"):', 'for old in ("last.pt",):',
          "pretrain::a_killed_forced_training_leaves_no_old_network"),
    Fault("labels do not count for a training", LISTS, 'inputs | {"labels": sha256_file(Path(exp_dir) / "labels.tsv")}',
          "inputs", "lists"),
    # several processes
    Fault("gathered gradient is not multiplied", GATHER, "gradient[ctx.rank :: ctx.processes] * ctx.processes",
          "gradient[ctx.rank :: ctx.processes]", "distributed::two_processes_train_what_one_trains"),
    Fault("gathered rows in another order", GATHER, "whole[rank :: ctx.processes] = part[:size]",
          "whole[sum(sizes[:rank]) : sum(sizes[: rank + 1])] = part[:size]",
          "distributed::two_processes_train_what_one_trains"),
    Fault("means of unequal shares count the same", GATHER, "mean.reshape(1).expand(rows)", "mean.reshape(1)",
          "distributed::two_processes_pretrain_what_one_pretrains"),
    # embedding
    Fault("embeddings that are not finite (stage 4)", CLIPS, "if not np.isfinite(table).all()]", "if False]",
          "experiment::arrays_that_are_not_finite_are_refused"),
    Fault("embeddings that are not finite (stage 5)", "asdkit/utils/ark.py", "~np.isfinite(energy) | ", "",
          "score_faults::broken_embeddings_are_named"),
    Fault("LoRA not merged", NETWORK, "merge_lora(system)", "system", "pipeline experiment", True),
    Fault("network embeds as in training", NETWORK, ".to(device).eval()", ".to(device)",
          "experiment::arrays_and_scores_are_those_of_the_stages"),
    Fault("embed.hop_seconds ignored", CLIPS, "config.embed.hop_seconds * framing.rate", "1.0 * framing.rate",
          "[embed.hop_seconds]"),
    Fault("stage 4 ignores data.chunk_seconds", CLIPS, "round(config.data.chunk_seconds * framing.rate)",
          "round(0.3 * framing.rate)", "[data.chunk_seconds]"),
    Fault("the end of a clip is not heard", CLIPS, "list(range(0, frames - chunk, hop)) + [frames - chunk]",
          "list(range(0, frames - chunk + 1, hop))", "extraction::windows_reach_the_end_of_a_clip"),
    Fault("embed.chunks of whole clips alone", CLIPS, 'config.segment == "chunk" or config.chunks:',
          'config.segment == "chunk":', "[embed.chunks]"),
    Fault("embed.checkpoint ignored", EXPERIMENT,
          'path = self.seed_dir / "checkpoint" / f"{self.config.embed.checkpoint}.pt"',
          'path = self.seed_dir / "checkpoint" / "final.pt"', "[embed.checkpoint]"),
    Fault("short clips are not repeated", CLIPS, "tile(wav, max(self.chunk, len(wav))) for wav in wavs",
          "wav for wav in wavs",
          "extraction::clips_shorter_than_a_chunk_are_repeated_as_in_training"),
    Fault("stage 4 does not ask which weights", "asdkit/bin/extract_embeddings.py",
          '        "checkpoint": sha256_file(experiment.checkpoint),\n', "", "survival pipeline score_faults"),
    Fault("clips that no shard has are passed over", "asdkit/bin/extract_embeddings.py",
          'sorted({row["utt"] for row in rows} ^ table.keys())', "[]",
          "pipeline::changed_shard_and_cut_shard_are_refused"),
    Fault("how recordings are read does not count for features", CHAIN,
          ", **load_dataset(prepared.data).reader().identity()}", "}",
          "lists::features_of_recordings_that_were_read_otherwise_are_refused"),
    Fault("the last of several encoder.layers", EMBEDDER, "in self.chosen]).mean(0)", "in self.chosen])[-1]",
          "new_encoder::layers_are_chosen"),
    Fault("encoder.layers counted from 0", EMBEDDER, "layer - 1 if layer > 0", "layer if layer > 0",
          "new_encoder::layers_are_chosen [encoder.beats.layers]"),
    Fault("--num-jobs: every shard embeds everything", "asdkit/bin/extract_embeddings.py",
          "batch_size)[args.job - 1 :: args.num_jobs]", "batch_size)",
          "pipeline::number_of_shards_changes_no_bit"),
    Fault("--device does not reach stage 4", "asdkit/bin/extract_embeddings.py", "args.data, args.device)",
          "args.data)", "pipeline::a_gpu_that_is_not_there_stops_training_and_embedding"),
    # an experiment, opened
    Fault("weights of another hash are taken", EXPERIMENT, "if sha256_path(place) == known", "if True",
          "experiment::it_needs_neither_the_corpus_nor_the_data_nor_the_recipe"),
    Fault("weights that changed are loaded", "asdkit/models/checkpoint.py",
          'if backbone and sha256_path(backbone["path"]) != backbone["sha256"]:', "if False:",
          "checkpoint::another_backbone_file_is_refused"),
    Fault("the .sha256 beside weights is not read", "asdkit/encoders/beats_checkpoint.py", "if beside.exists() and",
          "if False and", "checkpoint::encoder_file_is_compared_with_the_sha256_beside_it"),
    Fault("embeddings of other weights are scored", CHAIN, 'wanted["checkpoint"] = sha256_file(weights)', "pass",
          "survival::embeddings_of_another_training_are_noticed"),
    Fault("weights of another configuration are used", EXPERIMENT, 'compare(marker, settings, wanted, again="--stage 3',
          'compare(marker, wanted, wanted, again="--stage 3',
          "pipeline::weights_of_another_configuration_are_not_embedded"),
    Fault("other weights take the place of moved ones", FOLDER, "set(made) == {sha256_path(path)}", "True",
          "survival::weights_may_be_moved"),
    Fault("an opened experiment reads the recipe's data", EXPERIMENT,
          'noted = self.given_data is None and (self.exp / "dataset.yaml").exists()', "noted = False",
          "experiment::it_needs_neither_the_corpus_nor_the_data_nor_the_recipe"),
    Fault("the larger of several given scores", "asdkit/detectors/given.py", "x.min(axis=1)", "x.max(axis=1)",
          "score_folder::given_is_the_smallest_value"),
    Fault("arrays of paths in another order", EXPERIMENT, "found[name][key] for name in names]",
          "found[name][key] for name in sorted(names)]", "experiment::arrays_and_scores_are_those_of_the_stages"),
    Fault("seed of stage 5 ignored", "asdkit/bin/score.py", "Experiment.open(args.exp, args.seed, args.data)",
          "Experiment.open(args.exp, 0, args.data)", "score::from_embeddings_to_tables"),
    # identity
    Fault("what changes no result counts", YAML, 'elif extra.get("changes_result", True):', "else:",
          "identity::a_key_counts_where_it_can_change_the_bits"),
    Fault("an old file is read with today's defaults", "asdkit/config/experiment.py", "where, older=True)", "where)",
          "identity::a_default_that_changed_is_seen_in_new_experiments_alone"),
    Fault("the path of the weights counts", IDENTITY, "checkpoint or sha256_path(path)", "checkpoint or path",
          "identity::the_file_of_the_weights_counts_and_not_its_place"),
    Fault("hop of chunks beside clips does not count", IDENTITY, " and not config.embed.chunks:", ":",
          "identity::a_key_counts_where_it_can_change_the_bits"),
    Fault("how is embedded does not count", IDENTITY, '(config, "-") | embedding_identity(config)', '(config, "-")',
          "[embed.segment] [embed.precision]"),
    Fault("keys that a marker alone has are passed over", "asdkit/utils/done.py",
          "[*new, *(key for key in old if key not in new)]", "new",
          "identity::a_key_of_one_side_alone_counts_unless_it_is_null"),
    Fault("a score of other settings is passed over", FOLDER,
          'compare(marker, made, wanted, another_name(name), "--stage 5 --force true")', "pass",
          "identity::another_detector_on_a_network_that_is_there"),
    Fault("scores that were made are forgotten", FOLDER, "{**made_before, **config.score}", "config.score",
          "identity::another_detector_on_a_network_that_is_there"),
    # experiments of older versions
    Fault("old values keep their names", UPGRADE, '("precision", {"none": "float32"}),\n    ("embed"',
          '("precision", {}),\n    ("embed"', "identity::markers_of_an_older_version_say_the_same_as_todays"),
    Fault("the step that an old marker embedded", IDENTITY, '.setdefault("save_steps", [int(step)])',
          '.setdefault("save_steps", [])', "survival::an_old_marker_of_embeddings_of_a_kept_step"),
    Fault("sizes of old manifests are not read", "asdkit/corpus/manifest.py",
          "read_scp(old) if old.exists() else {}", "{}", "old_data"),
    # detectors and folders of scores
    Fault("threshold from the first 1000 clips", SCORING,
          "np.unique(np.linspace(0, count - 1, min(count, SELF_SCORED)).round().astype(int))",
          "np.arange(min(count, SELF_SCORED))", "threshold::many_training_clips_are_sampled"),
    Fault("the larger score of the domains", SCORING, "return scores.min(axis=0)\n\n    def self_scores",
          "return scores.max(axis=0)\n\n    def self_scores", "knn::smaller_distance_of_the_domains"),
    Fault("training clips are their own neighbours", "asdkit/detectors/knn.py",
          "np.copyto(cosines, -np.inf, where=same)", "pass",
          "threshold::training_clips_are_neither_their_own_neighbours_nor_their_copies"),
    Fault("copies are neighbours", SCORING, "detector.self_scores(recordings_of(own, detector.train))",
          "detector.self_scores()", "warnings::a_digest_tells_a_copy_whose_embedding_was_rounded_in_another_way "
          "warnings::a_training_set_that_holds_each_clip_twice_has_the_same_thresholds"),
    Fault("levels are not brought to one", "asdkit/data/levels.py",
          "return wav * np.float32(LEVEL / rms) if rms > SILENT else wav", "return wav", "[data.level]"),
    Fault("parts are scored by what they were fitted on", SCORING, "self._new().fit(train[part != one])",
          "self._new().fit(train)", "score_folder::a_detector_without_leave_one_out_is_fitted_on_the_other_parts"),
    Fault("every score is taken for a distance", DECISIONS, "made_from.threshold_percentile, made_from.non_negative)",
          "made_from.threshold_percentile, True)",
          "score_folder::scores_of_any_program_get_thresholds_files_and_a_row"),
    Fault("stage 5 does not tell distances", "asdkit/bin/score.py",
          "DETECTORS[settings.detector](settings).non_negative", "False",
          "score_folder::what_stage_5_writes_can_be_read_by_people_and_by_programs"),
    Fault("transductive scores are not marked", "asdkit/bin/score.py", 'settings.normalise != "none",', "False,",
          "score::transductive_scores_are_labelled_from_configuration_to_tables"),
    Fault("thresholds of sections are those of machines", DECISIONS,
          'row["section"] if per_section else "-"]', '"-"]',
          "warnings::sections_with_detectors_of_their_own_have_thresholds_of_their_own"),
    Fault("a changed folder of scores is not read again", EVALUATION,
          "force = force or _made_again(read_json(marker), inputs, own, folder)", "pass",
          "score_folder::what_a_folder_says_of_itself_is_used_and_checked"),
    Fault("scores of old embeddings are evaluated", EVALUATION,
          "for name, ark in arks.items() if ark.exists()}", "for name, ark in arks.items() if False}",
          "score_faults::scores_of_other_embeddings_are_not_evaluated"),
    Fault("results of other trainings look alike", EVALUATION, "[experiment_identity(config), settings, told]",
          "[settings, told]", "identity::results_carry_all_that_they_were_made_with"),
    Fault("threshold_percentile does not reach the folder", "asdkit/bin/score.py",
          '"threshold_percentile": settings.threshold_percentile', '"threshold_percentile": 90.0',
          "[score.knn.threshold_percentile]"),
    Fault("decisions to submit are all normal", "asdkit/report/submission.py", "str(int(score > limit))", '"0"',
          "submission::official_files"),
    # reports
    Fault("seeds of other data are averaged", "asdkit/report/results.py", '"config_sha256", "data_sha256",',
          '"config_sha256",', "report::seeds_that_do_not_belong_together"),
    Fault("other data is not told in comparisons", "asdkit/report/comparison.py", "if len(groups) > 1:",
          "if False:", "report::experiments_on_different_clips_are_told_apart"),
    Fault("rows lack the score's name", "asdkit/report/comparison.py", '            results["score"],\n',
          '            "knn",\n', "identity::another_detector_on_a_network_that_is_there"),
    Fault("published figures are not shown", "asdkit/bin/report.py",
          "load_published(args.published) if args.published else []", "[]",
          "report::published_systems_stand_beside_this_run"),
    Fault("--channel does not reach stage 1", "asdkit/bin/prepare_data.py", "channel=args.channel, ", "",
          "bad_data::options_override_the_description"),
    Fault("--resample does not reach stage 1", "asdkit/bin/prepare_data.py", ", resample=args.resample)", ")",
          "bad_data::options_override_the_description"),
    Fault("--force does not reach the report", "asdkit/bin/report.py",
          'args.score.split(",") if args.score else None, args.force)',
          'args.score.split(",") if args.score else None)', "score_folder::force_evaluates_again"),
    Fault("two reports at once lose a row", "asdkit/utils/files.py", 
          "fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass",
          "report::two_experiments_that_end_together_are_both_in_the_table"),
    # manifests and the driver
    Fault("a recording of another size is passed over", LISTS,
          'if row["bytes"] not in (UNKNOWN, str(found.st_size)):', "if False:",
          "lists::a_recording_of_another_sound_is_another_recording"),
    Fault("features are dumped without a lock", "utils/asd.sh", '    lock_folder "$dump" # features', "    # features",
          "locks::each_stage_has_its_folders driver::runs_with_one_folder_wait_for_each_other"),
    Fault("--score does not reach stage 5", "utils/asd.sh", '--seed JOB "${chosen[@]}"', "--seed JOB",
          "driver::scores_by_name"),
    Fault("--seeds: every job trains seed 0", "utils/asd.sh", '"${work[@]}" --seed JOB "${device[@]}"',
          '"${work[@]}" --seed 0 "${device[@]}"', "driver::seeds_and_shards"),
]  # fmt: skip
