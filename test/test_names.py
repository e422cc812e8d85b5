import pytest

from asdkit.corpus.names import SETS, STYLES, ClipName, check_name, parse_name, sets_of, split_set

CASES = [
    # style, stem, section, domain, split, condition, attr
    ("dcase2020", "normal_id_01_00000000", "01", "source", "-", "normal", "-"),
    ("dcase2020", "anomaly_id_04_00000264", "04", "source", "-", "anomaly", "-"),
    ("dcase2020", "id_05_00000514", "05", "source", "-", "-", "-"),
    ("dcase2021", "section_00_target_test_anomaly_0039", "00", "target", "test", "anomaly", "-"),
    ("dcase2021", "section_03_source_test_0000", "03", "source", "test", "-", "-"),
    ("dcase2022", "section_02_source_test_anomaly_0000_vel_8", "02", "source", "test", "anomaly", "vel_8"),
    ("dcase2022", "section_05_0199", "05", "-", "-", "-", "-"),
    ("dcase2022", "section_00_0000", "00", "-", "-", "-", "-"),
    ("dcase2022", "section_00_target_train_normal_0009_noAttribute", "00", "target", "train", "normal", "-"),
    ("dcase2022", "section_00_target_train_normal_0990_spd_1", "00", "target", "train", "normal", "spd_1"),
    ("dcase2022", "section_00_target_anomaly_0012_weight05_BckgC", "00", "target", "-", "anomaly", "weight05_BckgC"),
    ("dcase2022", "section_00_source_test_normal_0001", "00", "source", "test", "normal", "-"),
    ("dcase2022", "section_00_source_test_normal_0001_", "00", "source", "test", "normal", "-"),
    ("free", "section_01_target_test_anomaly_0003_rpm_1450", "01", "target", "test", "anomaly", "rpm_1450"),
    ("free", "normal_2024-05-01", "00", "source", "-", "normal", "-"),
    ("free", "anomaly7", "00", "source", "-", "anomaly", "-"),
    ("free", "normality", "00", "source", "-", "-", "-"),
    ("free", "motor.12 run 3", "00", "source", "-", "-", "-"),
]
ATTRIBUTES = [
    "car_B1_spd_31V_mic_1",
    "strenght_1_ambient",
    "0_g_25_mm_2000_mV_None",
    "A1Spd28VMic1",
    "pat_04_panel_bs-c",
    "weight00_BckgA",
    "car_B1_spd_2_mic_2_mic_1",
    "mic_imp34dt05_mic_pos_A_grind_100_bkg_A",
    "pro_y",
    "none",
    "noAttribute_1",
    "target_test_anomaly_0001",
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_names_of_all_years(case):
    style, stem, section, domain, split, condition, attr = case
    assert parse_name(stem, style, "x") == ClipName(section, domain, split, condition, attr)


@pytest.mark.parametrize("attr", ATTRIBUTES)
@pytest.mark.parametrize("style", ["dcase2021", "dcase2022", "free"])
def test_attributes_are_opaque(style, attr):
    name = parse_name(f"section_00_source_train_normal_0001_{attr}", style, "x")
    assert name == ClipName("00", "source", "train", "normal", attr)


@pytest.mark.parametrize(
    ("style", "stem"),
    [
        ("dcase2020", "normal_id_01_0000000"),  # seven digits
        ("dcase2020", "section_00_source_train_normal_0000"),
        ("dcase2020", "abnormal_id_01_00000000"),
        ("dcase2021", "section_00_0000"),
        ("dcase2022", "section_00_test_0000"),
        ("dcase2022", "section_00_source_test_0000"),
        ("dcase2022", "section_0_source_test_normal_0000"),
        ("dcase2022", "section_00_middle_train_normal_0000"),
        ("dcase2022", "section_00_source_train_normal_A"),
        ("dcase2022", "normal_id_01_00000000"),
        ("dcase2022", "section_00_source_train_normal_0000\n"),
    ],
)
def test_other_names_are_refused_with_file_style_and_example(style, stem):
    with pytest.raises(ValueError) as error:
        parse_name(stem, style, f"/corpus/{stem}.wav")
    assert f"/corpus/{stem}.wav" in str(error.value)
    assert repr(style) in str(error.value)
    assert "Allowed: " in str(error.value) and ".wav, or " in str(error.value)


def test_the_example_of_each_style_is_allowed():
    for style, rules in STYLES.items():
        stems = [word.strip(",.").removesuffix(".wav") for word in rules.example.split() if ".wav" in word]
        assert len(stems) == (0 if style == "free" else 2)  # any name is a free one
        for stem in stems:
            assert parse_name(stem.rpartition("/")[2], style, "x").section.isdigit()


def test_a_name_must_agree_with_its_folder():
    def check(stem, folder, style="dcase2021"):
        check_name(parse_name(stem, style, "x"), folder, style, "/c/x.wav")

    check("section_00_source_test_normal_0000", "source_test")
    check("section_00_source_test_normal_0000", "test")
    for stem, folder, style, word in [
        ("section_00_target_test_normal_0000", "source_test", "dcase2021", "source_test"),
        ("section_00_source_test_normal_0000", "train", "dcase2022", "train"),
        ("section_00_source_train_anomaly_0000", "train", "dcase2022", "anomaly"),
        ("section_00_0000", "train", "dcase2022", "unlabelled"),
        ("id_00_00000000", "train", "dcase2020", "unlabelled"),
        ("anomaly_1", "train", "free", "anomaly"),
    ]:
        with pytest.raises(ValueError, match=rf"/c/x\.wav: .*{word}"):
            check(stem, folder, style)
    check("clip_1", "train", "free")


def test_only_2021_has_test_folders_per_domain():
    assert STYLES["dcase2021"].folders == {
        "train": "train",
        "test": "test",
        "source_test": "test",
        "target_test": "test",
    }
    assert STYLES["dcase2022"].folders == STYLES["free"].folders == {"train": "train", "test": "test"}


def test_names_of_sets_are_taken_apart():
    assert [split_set(name) for name in SETS] == [
        ("dev", "train"),
        ("dev", "test"),
        ("eval", "train"),
        ("eval", "test"),
    ]
    assert sets_of("test", ["eval_test", "dev_train", "dev_test"]) == ["eval_test", "dev_test"]


def test_every_style_with_official_files_and_every_protocol_is_known():
    from typing import get_args

    from asdkit.corpus.description import Description
    from asdkit.protocols import PROTOCOLS
    from asdkit.report import submission

    assert set(submission.STYLES) == set(STYLES) - {"free", "mimii"}
    assert set(get_args(Description.model_fields["protocol"].annotation)) == set(PROTOCOLS)
