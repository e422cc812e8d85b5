"""What the file names of the DCASE Task 2 corpora say about a clip, one style per naming scheme."""

import re
from dataclasses import dataclass

UNKNOWN = "-"


@dataclass(frozen=True)
class ClipName:
    """What a name says; `-` where it says nothing. split: train|test, condition: normal|anomaly."""

    section: str
    domain: str
    split: str
    condition: str
    attr: str


# Two digits name the section (machine id in dcase2020). Numbers of clips start at 0 or 1 and are never interpreted;
# the attribute is one opaque string, for keys and values hold `_` and `-` and keys occur twice.
_2020 = re.compile(r"(?:(?P<condition>normal|anomaly)_)?id_(?P<section>\d\d)_\d{8}")
_LABELLED = re.compile(
    r"section_(?P<section>\d\d)_(?P<domain>source|target)_(?:(?P<split>train|test)_)?"
    r"(?P<condition>normal|anomaly)_\d+(?:_(?P<attr>.*))?"
)
_ANONYMOUS_2021 = re.compile(r"section_(?P<section>\d\d)_(?P<domain>source|target)_(?P<split>test)_\d+")
_ANONYMOUS_2022 = re.compile(r"section_(?P<section>\d\d)_\d+")
_WORD = re.compile(r"(?P<condition>normal|anomaly)(?![A-Za-z]).*")

_PATTERNS = {
    "dcase2020": [_2020],
    "dcase2021": [_LABELLED, _ANONYMOUS_2021],
    "dcase2022": [_LABELLED, _ANONYMOUS_2022],
    "free": [_LABELLED, _WORD, re.compile(".*")],
}
_DEFAULTS = {"dcase2020": {"domain": "source"}, "free": {"section": "00", "domain": "source"}}
_EXAMPLES = {
    "dcase2020": "normal_id_01_00000000.wav, or id_01_00000000.wav in an evaluation test set",
    "dcase2021": "section_00_source_train_normal_0000_strength_1_ambient.wav, "
    "or section_03_source_test_0000.wav in an evaluation test set",
    "dcase2022": "section_00_source_train_normal_0001_car_B1_spd_31V_mic_1.wav, "
    "or section_03_0000.wav in an evaluation test set",
}

_FOLDERS = {"train": "train", "test": "test"}
_FOLDERS_2021 = _FOLDERS | {"source_test": "test", "target_test": "test"}


def parse_name(stem: str, style: str, where: str) -> ClipName:
    """Read a file name without its ending; `style` is dcase2020 | dcase2021 | dcase2022 | free.

    `noAttribute` and a missing attribute are both `-`. Raises ValueError with `where` (the file), the style and an
    example when the style has no such name.
    """
    for pattern in _PATTERNS[style]:
        if match := pattern.fullmatch(stem):
            return _clip_name(match.groupdict(), _DEFAULTS.get(style, {}))
    raise ValueError(
        f"{where}: not a name of the style {style!r}. Allowed: {_EXAMPLES[style]}. "
        "Set name_style in the dataset description, or rename the file"
    )


def check_name(name: ClipName, folder: str, style: str, where: str) -> None:
    """Raise ValueError where a name contradicts the folder that the clip lies in, or a training clip is no normal one.

    `folder`: train, test, source_test or target_test.
    """
    split = _FOLDERS_2021[folder]
    if name.split not in (UNKNOWN, split):
        raise ValueError(f"{where}: the name says {name.split!r}, the folder says {split!r}")
    if folder in ("source_test", "target_test") and name.domain != folder.partition("_")[0]:
        raise ValueError(f"{where}: the name says {name.domain!r}, the folder says {folder!r}")
    if split == "train" and name.condition == "anomaly":
        raise ValueError(f"{where}: an anomaly among the training clips; move it to the test folder")
    if split == "train" and style != "free" and name.condition == UNKNOWN:
        raise ValueError(f"{where}: the name of an unlabelled test clip among the training clips")


def split_folders(style: str) -> dict[str, str]:
    """Folders of one machine and the split that each belongs to."""
    return _FOLDERS_2021 if style == "dcase2021" else _FOLDERS


def _clip_name(found: dict[str, str | None], defaults: dict[str, str]) -> ClipName:
    attr = found.get("attr")
    return ClipName(
        section=found.get("section") or defaults["section"],
        domain=found.get("domain") or defaults.get("domain", UNKNOWN),
        split=found.get("split") or UNKNOWN,
        condition=found.get("condition") or UNKNOWN,
        attr=attr if attr and attr != "noAttribute" else UNKNOWN,
    )
