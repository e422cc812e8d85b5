"""Names: of a corpus's sets, and what the file names of the DCASE Task 2 corpora say about a clip."""

import re
import sys
from dataclasses import dataclass
from typing import NamedTuple

UNKNOWN = "-"
PARTS = ("dev", "eval")
SETS = tuple(f"{part}_{split}" for part in PARTS for split in ("train", "test"))


@dataclass(frozen=True, slots=True)
class ClipName:
    """What a name says; `-` where it says nothing. split: train|test, condition: normal|anomaly."""

    section: str
    domain: str
    split: str
    condition: str
    attr: str


class Style(NamedTuple):
    """A naming scheme. patterns: tried in order; a group is a field of ClipName; defaults: of fields without a group.

    example: for messages. folders: of one machine, and the split of each. labelled: names of training clips say that
    they are normal. domain_in_test: names of test clips tell their domain, and the truth is a file per domain. deep:
    folders inside those are read, and may name the condition. tree: paths of a layout that has no folders for training
    and test clips, with groups machine, section, condition and id.
    """

    patterns: tuple[re.Pattern[str], ...]
    example: str
    defaults: dict[str, str] = {}
    folders: dict[str, str] = {"train": "train", "test": "test"}
    labelled: bool = True
    domain_in_test: bool = False
    deep: bool = False
    tree: re.Pattern[str] | None = None


# Two digits name the section (machine id in dcase2020). Numbers of clips start at 0 or 1 and are never interpreted;
# the attribute is one opaque string, for keys and values hold `_` and `-` and keys occur twice.
_2020 = re.compile(r"(?:(?P<condition>normal|anomaly)_)?id_(?P<section>\d\d)_\d{8}")
_LABELLED = re.compile(
    r"section_(?P<section>\d\d)_(?P<domain>source|target)_(?:(?P<split>train|test)_)?"
    r"(?P<condition>normal|anomaly)_\d+(?:_(?P<attr>.*))?"
)
_ANONYMOUS_2021 = re.compile(r"section_(?P<section>\d\d)_(?P<domain>source|target)_(?P<split>test)_\d+")
_ANONYMOUS_2022 = re.compile(r"section_(?P<section>\d\d)_\d+")
_TREE = re.compile(
    r"(?:.*/)?(?P<machine>[^/]+)/(?P<id>id_(?P<section>\d\d)/(?P<condition>normal|abnormal)/\d{8})\.(?i:wav|flac)"
)
_WORD = re.compile(r"(?P<condition>normal|anomaly)(?![A-Za-z]).*")

STYLES = {
    "dcase2020": Style(
        (_2020,),
        "normal_id_01_00000000.wav, or id_01_00000000.wav in an evaluation test set",
        {"domain": "source"},
    ),
    "dcase2021": Style(
        (_LABELLED, _ANONYMOUS_2021),
        "section_00_source_train_normal_0000_strength_1_ambient.wav, "
        "or section_03_source_test_0000.wav in an evaluation test set",
        folders={"train": "train", "test": "test", "source_test": "test", "target_test": "test"},
        domain_in_test=True,
    ),
    "dcase2022": Style(
        (_LABELLED, _ANONYMOUS_2022),
        "section_00_source_train_normal_0001_car_B1_spd_31V_mic_1.wav, "
        "or section_03_0000.wav in an evaluation test set",
    ),
    "free": Style(
        (_LABELLED, _WORD, re.compile(".*")),
        "any name without a line break",
        {"section": "00", "domain": "source"},
        labelled=False,
        deep=True,
    ),
    "mimii": Style(
        (re.compile(r"\d{8}"),),
        "-6_dB_fan/fan/id_00/normal/00000000.wav and -6_dB_fan/fan/id_00/abnormal/00000000.wav",
        {"section": "00", "domain": "source"},
        tree=_TREE,
    ),
}


def split_set(name: str) -> tuple[str, str]:
    """Part (dev, eval) and split (train, test) of a set: dev_train -> ("dev", "train")."""
    assert name in SETS, name
    part, _, split = name.partition("_")
    return part, split


def sets_of(split: str, among: list[str]) -> list[str]:
    """Those sets `among` some that hold the training (or test) clips, in their order."""
    return [name for name in among if split_set(name)[1] == split]


def parse_name(stem: str, style: str, where: str) -> ClipName:
    """Read a file name without its ending; `style` is one of STYLES.

    `noAttribute` and a missing attribute are both `-`. Raises ValueError with `where` (the file), the style and an
    example when the style has no such name.
    """
    rules = STYLES[style]
    for pattern in rules.patterns:
        if match := pattern.fullmatch(stem):
            return _clip_name(match.groupdict(), rules.defaults)
    raise ValueError(
        f"{where}: not a name of the style {style!r}. Allowed: {rules.example}. "
        "Set name_style in the dataset description, or rename the file"
    )


def check_name(name: ClipName, folder: str, style: str, where: str) -> None:
    """Raise ValueError where a name contradicts the folder that the clip lies in, or a training clip is no normal one.

    `folder`: one of the style's.
    """
    split = STYLES[style].folders[folder]
    if name.split not in (UNKNOWN, split):
        raise ValueError(f"{where}: the name says {name.split!r}, the folder says {split!r}")
    if folder != split and name.domain != folder.removesuffix(f"_{split}"):
        raise ValueError(f"{where}: the name says {name.domain!r}, the folder says {folder!r}")
    if split == "train" and name.condition == "anomaly":
        raise ValueError(f"{where}: an anomaly among the training clips; move it to the test folder")
    if split == "train" and STYLES[style].labelled and name.condition == UNKNOWN:
        raise ValueError(f"{where}: the name of an unlabelled test clip among the training clips")


def _clip_name(found: dict[str, str | None], defaults: dict[str, str]) -> ClipName:
    # Names of many clips say the same: it is held once.
    found = {key: value and sys.intern(value) for key, value in found.items()}
    attr = found.get("attr")
    return ClipName(
        section=found.get("section") or defaults["section"],
        domain=found.get("domain") or defaults.get("domain", UNKNOWN),
        split=found.get("split") or UNKNOWN,
        condition=found.get("condition") or UNKNOWN,
        attr=attr if attr and attr != "noAttribute" else UNKNOWN,
    )
