"""From the clips of a corpus to the files of stage 1."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asdkit.corpus import manifest
from asdkit.corpus.clips import SUPPLEMENTAL_COLUMNS, Corpus
from asdkit.corpus.description import (
    Counts,
    Dataset,
    Description,
    PartDescription,
    PartsDescription,
    dump_dataset,
)
from asdkit.corpus.names import PARTS, SETS, UNKNOWN, split_set
from asdkit.corpus.truth import references
from asdkit.utils.files import write_table, write_text


@dataclass(frozen=True)
class Tables:
    """Rows of one set: its manifest and, for a test set whose truth is known, its reference."""

    manifest: list[manifest.Row]
    ref: list[manifest.Row]


def resolve(description: Description, corpus: Corpus, revealed_attributes: str | None = None) -> Dataset:
    """The description with the machines that were found, the corpus's root and the folder of revealed attributes."""
    sets = {}
    for part in PARTS:
        machines = sorted({clip.machine for clip in corpus.clips if clip.part == part})
        if machines:
            given = getattr(description.sets, part)
            sets[part] = PartDescription(path=given.path if given else ".", machines=machines)
    values = {name: getattr(description, name) for name in Description.model_fields}
    revealed = str(Path(revealed_attributes).absolute()) if revealed_attributes else None
    return Dataset(**values | {"sets": PartsDescription(**sets)}, root=str(corpus.root), revealed_attributes=revealed)


def tables(corpus: Corpus, truth: Path | None, style: str) -> dict[str, Tables]:
    """Manifest and reference rows of each set, checked and sorted; lengths and content are still to be added.

    Domain and attribute of test clips are `-`: what scores them must not know. Raises ValueError for two clips with
    one id (both paths) and for truth that does not fit the clips.
    """
    made = {}
    for name in sorted({clip.set for clip in corpus.clips}, key=SETS.index):
        clips = sorted((clip for clip in corpus.clips if clip.set == name), key=lambda clip: clip.utt)
        hidden = {"domain": UNKNOWN, "attr": UNKNOWN} if split_set(name)[1] == "test" else {}
        rows = [
            {
                "utt": clip.utt,
                "wav": clip.path,
                "machine": clip.machine,
                "section": clip.name.section,
                "domain": clip.name.domain,
                "attr": clip.name.attr,
                "samples": UNKNOWN,
                "bytes": str(clip.bytes),
                **dict.fromkeys(manifest.CONTENT_COLUMNS, UNKNOWN),
                **hidden,
            }
            for clip in clips
        ]
        manifest.check(rows, name, manifest.COLUMNS)
        ref = references(clips, truth, style) if hidden else []
        if hidden and not ref:
            logging.info("%s: conditions unknown (no ground truth): no ref.tsv, so no evaluation of this set", name)
        made[name] = Tables(rows, ref)
    return made


def check_counts(corpus: Corpus, description: Description, all_sections: bool = True) -> None:
    """Compare numbers of clips with the description's `counts`, machine by machine.

    all_sections: False where the user chose sections. Test clips are counted in sets that have some. Raises ValueError
    for the first number that is wrong.
    """
    if description.counts and (wrong := list(_wrong_counts(corpus, description.counts, all_sections))):
        raise ValueError(
            f"{corpus.root}: {wrong[0]}{f' (and {len(wrong) - 1} more such faults)' if len(wrong) > 1 else ''}. Unpack "
            "the machine's archives again, or, for recordings that are meant to differ, set 'counts: null' in the "
            "dataset description"
        )


def _wrong_counts(corpus: Corpus, counts: Counts, all_sections: bool) -> Iterator[str]:
    tested = {clip.part for clip in corpus.clips if clip.split == "test"}
    found: dict[tuple[str, str], dict[str, Counter]] = {}
    for clip in corpus.clips:
        sections = found.setdefault((clip.part, clip.machine), {})
        sections.setdefault(clip.name.section, Counter()).update([clip.split, f"{clip.split}, {clip.name.domain}"])
    expected = {f"train, {domain}": number for domain, number in counts.train or ()}
    for (part, machine), sections in sorted(found.items()):
        if all_sections and counts.sections not in (None, len(sections)):
            yield f"{machine}, {part} set: found {len(sections)} sections, expected {counts.sections}"
        tests = {"test": counts.test} if counts.test is not None and part in tested else {}
        for section, numbers in sorted(sections.items()):
            for what, number in (expected | tests).items():
                if numbers[what] != number:
                    yield f"{machine}, section {section}, {part} {what}: found {numbers[what]} clips, expected {number}"


def write(
    data_dir: str | Path,
    dataset: Dataset,
    made: dict[str, Tables],
    supplemental: list[manifest.Row],
    last: dict[str, Tables],
) -> None:
    """Write manifests, references and supplemental.tsv, remove what is gone; dataset.yaml is written last.

    last: what was there before.

    Later stages refuse a folder without dataset.yaml, so an interrupted run is never taken for a whole one.
    """
    data = Path(data_dir)
    (data / "dataset.yaml").unlink(missing_ok=True)
    for name in SETS:
        if name in made:
            manifest.note_earlier(data / name, last[name].manifest if name in last else None, made[name].manifest)
            manifest.write_manifest(data / name / "manifest.tsv", made[name].manifest)
        else:
            for file in ("manifest.tsv", manifest.EARLIER):
                (data / name / file).unlink(missing_ok=True)
        (data / name / manifest.OLD_SIZES).unlink(missing_ok=True)
        if name in made and made[name].ref:
            manifest.write_ref(data / name / "ref.tsv", made[name].ref)
        else:
            (data / name / "ref.tsv").unlink(missing_ok=True)
    if supplemental:
        write_table(data / "supplemental.tsv", SUPPLEMENTAL_COLUMNS, supplemental)
    else:
        (data / "supplemental.tsv").unlink(missing_ok=True)
    write_text(data / "dataset.yaml", dump_dataset(dataset))


def counted(corpus: Corpus, made: dict[str, Tables]) -> list[tuple[str, str, str, str]]:
    """(set, machine, section, domain) of each clip for manifest.summary, domains of test clips from the references."""
    domains = {row["utt"]: row["domain"] for table in made.values() for row in table.ref}
    return [(c.set, c.machine, c.name.section, domains.get(c.utt, c.name.domain)) for c in corpus.clips]
