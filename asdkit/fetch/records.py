"""What a recipe's conf/download.yaml names, and what the archive's REST answer says about it."""

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, model_validator

from asdkit.corpus.description import Description
from asdkit.fetch.https import read_url
from asdkit.utils.typed_yaml import Section, read_yaml, validate

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Hex40 = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class MachineArchives(Section):
    """One archive per machine, all in one record."""

    record: int = Field(gt=0)
    name: str = Field(
        pattern=r"^[A-Za-z0-9_]*\{machine\}[A-Za-z0-9_.]*$", description="file name, {machine} stands in it"
    )
    replaced: dict[str, FileName] = Field({}, description="machine: file name where it is another one")


class GroundTruth(Section):
    """The organisers' labels of the evaluation set: a file of a record, or parts of a repository at one commit."""

    licence: str
    record: int | None = Field(None, gt=0)
    file: FileName | None = Field(None, description="file of the record")
    repository: str | None = Field(None, pattern=r"^[A-Za-z0-9-]+/[A-Za-z0-9_.-]+$", description="GitHub owner/name")
    commit: Hex40 | None = None
    paths: dict[str, Hex40 | None] = Field(
        {}, description="folders (or one .csv file) of the repository: git's id of their content, where known"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> "GroundTruth":
        if bool(self.record and self.file) == bool(self.repository and self.commit and self.paths):
            raise ValueError("give either 'record' and 'file', or 'repository', 'commit' and 'paths'")
        if any(re.search(r"(^|/)\.{0,2}(/|$)|\\", path) for path in self.paths):
            raise ValueError(f"'paths' are below the repository's top folder, got {', '.join(self.paths)}")
        return self


class DownloadPlan(Section):
    """A corpus's archives; machines come from the dataset description."""

    licence: str = Field(description="of the recordings; printed")
    dev: MachineArchives | None = None
    eval_train: MachineArchives | None = None
    eval_test: MachineArchives | None = None
    md5: dict[FileName, Hex32] = Field({}, description="for when the record's REST answer cannot be had")
    ground_truth: GroundTruth | None = Field(None, description="none: not published")


@dataclass(frozen=True)
class Archive:
    """A file of a record; machine and folder (relative): what it is unpacked to, empty for the list of labels."""

    record: int
    name: str
    machine: str = ""
    folder: str = ""


@dataclass(frozen=True)
class RecordAnswer:
    """A record's REST answer. files: name -> (bytes, MD5)."""

    files: dict[str, tuple[int, str]]
    licence: str


def load_plan(path: str) -> DownloadPlan:
    """Read conf/download.yaml; raises ValueError naming file, key, what was got and what is allowed."""
    return validate(DownloadPlan, read_yaml(path), path)


def archives(plan: DownloadPlan, description: Description, machines: list[str] | None, where: str) -> list[Archive]:
    """All archives of a plan, for the machines of the description, or for `machines` alone.

    Raises ValueError for a machine that the description lacks, and where the two files do not fit together.
    """
    found = []
    for key in ("dev", "eval_train", "eval_test"):
        if (group := getattr(plan, key)) is None:
            continue
        chosen = getattr(description.sets, key.partition("_")[0])
        if chosen is None or not chosen.machines:
            raise ValueError(f"{where}: {key}: the dataset description lists no machines of that set")
        if strange := sorted(set(group.replaced) - set(chosen.machines)):
            raise ValueError(f"{where}: {key}.replaced: no machine {strange[0]!r} in the dataset description")
        for machine in chosen.machines:
            name = group.replaced.get(machine, group.name.replace("{machine}", machine))
            found.append(Archive(group.record, name, machine, chosen.path))
    names = [archive.name for archive in found]
    if len(set(names)) < len(names):
        raise ValueError(f"{where}: two archives have one name, {max(names, key=names.count)}")
    if strange := sorted(set(plan.md5) - set(names)):
        raise ValueError(f"{where}: md5: {strange[0]!r} is no archive of this plan")
    there = {archive.machine for archive in found}
    if missing := sorted(set(machines or ()) - there):
        raise ValueError(f"no machine {missing[0]!r} in the dataset description: {', '.join(sorted(there))}")
    return [archive for archive in found if machines is None or archive.machine in machines]


def truth_path(plan: DownloadPlan, description: Description, where: str) -> str | None:
    """Where the ground truth goes, relative to the corpus; raises ValueError where the two files disagree."""
    if bool(plan.ground_truth) != bool(description.ground_truth):
        raise ValueError(f"{where}: 'ground_truth' must be given here and in the dataset description, or in neither")
    return description.ground_truth


def file_url(api: str, archive: Archive) -> str:
    """Where the archive's REST interface `api` (https://.../api) gives the content of a file."""
    return f"{api}/records/{archive.record}/files/{archive.name}/content"


def ask_record(api: str, record: int) -> RecordAnswer:
    """Sizes and MD5s of a record's files; raises TransferError when there is no answer, ValueError for a wrong one."""
    url = f"{api}/records/{record}"
    content = read_url(url, limit=10 << 20, attempts=3)
    try:
        answer = json.loads(content)
        number, files = answer["id"], [(file["key"], file["size"], file["checksum"]) for file in answer["files"]]
        licence = (answer.get("metadata") or {}).get("license") or {}
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(f"{url}: not the answer of a record: {content[:80]!r}") from None
    if str(number) != str(record):
        raise ValueError(f"{url}: the answer is about record {number}")
    found: dict[str, tuple[int, str]] = {}
    for key, size, checksum in files:
        _check_file(key, size, checksum, url)
        if key in found:
            raise ValueError(f"{url}: the file {key!r} occurs twice")
        found[key] = (size, checksum.removeprefix("md5:"))
    return RecordAnswer(found, str(licence.get("id", "-")) if isinstance(licence, dict) else "-")


def _check_file(key: Any, size: Any, checksum: Any, url: str) -> None:
    if not isinstance(key, str) or not key.isprintable() or key in ("", ".", "..") or re.search(r"[/\\]", key):
        raise ValueError(f"{url}: {key!r} is no plain file name; nothing is fetched")
    if type(size) is not int or size < 0 or not isinstance(checksum, str):
        raise ValueError(f"{url}: {key}: size {size!r} and checksum {checksum!r} are not a number and a text")
    if not re.fullmatch(r"md5:[0-9a-f]{32}", checksum):
        raise ValueError(f"{url}: {key}: the checksum is {checksum!r}, expected md5:...")
