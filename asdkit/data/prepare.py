"""From the clips of a corpus to the files of stage 1."""

import logging
from dataclasses import dataclass
from pathlib import Path

from asdkit.data import manifest
from asdkit.data.audio import AudioReader, frame_counts
from asdkit.data.corpus import Corpus
from asdkit.data.dcase import UNKNOWN
from asdkit.data.description import SETS, Dataset, Description, SetDescription, SetsDescription, dump_dataset
from asdkit.data.truth import references
from asdkit.utils.files import write_text


@dataclass(frozen=True)
class Tables:
    """Rows of one set: its manifest and, for a test set whose truth is known, its reference."""

    manifest: list[manifest.Row]
    ref: list[manifest.Row]


def resolve(description: Description, corpus: Corpus) -> Dataset:
    """The description with the machines that were found and the corpus's root."""
    sets = {}
    for part in ("dev", "eval"):
        machines = sorted({clip.machine for clip in corpus.clips if clip.part == part})
        if machines:
            given = getattr(description.sets, part)
            sets[part] = SetDescription(path=given.path if given else ".", machines=machines)
    values = {name: getattr(description, name) for name in Description.model_fields}
    return Dataset(**values | {"sets": SetsDescription(**sets)}, root=str(corpus.root))


def tables(corpus: Corpus, truth: Path | None, style: str) -> dict[str, Tables]:
    """Manifest and reference rows of each set, checked and sorted.

    Domain and attribute of test clips are `-`: what scores them must not know. Raises ValueError for two clips with
    one id (both paths) and for truth that does not fit the clips.
    """
    made = {}
    for name in sorted({clip.set for clip in corpus.clips}, key=SETS.index):
        clips = sorted((clip for clip in corpus.clips if clip.set == name), key=lambda clip: clip.utt)
        hidden = {"domain": UNKNOWN, "attr": UNKNOWN} if name.endswith("test") else {}
        rows = [
            {
                "utt": clip.utt,
                "wav": clip.path,
                "machine": clip.machine,
                "section": clip.name.section,
                "domain": clip.name.domain,
                "attr": clip.name.attr,
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


def check_recordings(corpus: Corpus, dataset: Dataset) -> None:
    """Check every recording's header and length; raises ValueError naming the first bad file."""
    frame_counts(AudioReader.of(dataset), [str(corpus.root / clip.path) for clip in corpus.clips], content=True)


def write(data_dir: str | Path, dataset: Dataset, made: dict[str, Tables]) -> None:
    """Write manifests and references, remove those of sets that are gone; dataset.yaml goes first and comes last.

    Later stages refuse a folder without dataset.yaml, so an interrupted run is never taken for a whole one.
    """
    data = Path(data_dir)
    (data / "dataset.yaml").unlink(missing_ok=True)
    for name in SETS:
        if name in made:
            manifest.write_manifest(data / name / "manifest.tsv", made[name].manifest)
        else:
            (data / name / "manifest.tsv").unlink(missing_ok=True)
        if name in made and made[name].ref:
            manifest.write_ref(data / name / "ref.tsv", made[name].ref)
        else:
            (data / name / "ref.tsv").unlink(missing_ok=True)
    write_text(data / "dataset.yaml", dump_dataset(dataset))


def counted(corpus: Corpus, made: dict[str, Tables]) -> list[tuple[str, str, str, str]]:
    """(set, machine, section, domain) of each clip for manifest.summary, domains of test clips from the references."""
    domains = {row["utt"]: row["domain"] for table in made.values() for row in table.ref}
    return [(c.set, c.machine, c.name.section, domains.get(c.utt, c.name.domain)) for c in corpus.clips]
