"""Studies without published figures: what each row gains over the first."""

import pytest
from test_report import write_seed
from test_size import SIZE
from test_study import STUDY, cells, recipe

from asdkit.bin import report
from asdkit.report.study import load_study, study_table
from asdkit.utils.files import write_text

__all__ = ["recipe"]
OWN = STUDY.replace("published: conf/published.yaml\nsource: Somebody\n", "").replace("published: Theirs, ", "")


def test_a_study_of_our_own_tells_what_each_row_gains_over_the_first(recipe):
    write_text(recipe / "conf/study/own.yaml", OWN.replace("columns: dev", "columns: sets"))
    for tag, scores in {"logmel": {0: 0.5, 1: 0.6, 2: 0.9}, "small": {1: 0.65, 2: 0.91, 7: 0.1}}.items():
        for seed, dev in scores.items():
            write_seed(recipe / "exp" / tag, seed, dev, size=SIZE)
        report.main(["--exp", f"exp/{tag}"])
    text = study_table(load_study("conf/study/own.yaml"), recipe / "exp")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert rows[0] == ["model", "seeds", "dev", "over the first", "eval", "over the first", "all", "over the first"]
    assert all(len(rule) > 1 for rule in rows[1]), "a colon alone is no rule"
    assert rows[2][:4] == ["Log-mels", "3", "66.67 ± 20.82", "-"]
    assert rows[3][1:4] == ["3", "55.33 ± 41.36", "+3.00 ± 2.83"] and rows[3][5] == "+0.00 ± 0.00"  # of seeds 1 and 2
    assert rows[4] == ["Absent", *"-" * 7]
    write_text(recipe / "conf/study/own.yaml", STUDY.replace("published: conf/published.yaml\nsource: Some", "#"))
    with pytest.raises(ValueError, match="'Log-mels' names a published system, but published names no file of them"):
        load_study("conf/study/own.yaml")


def test_a_study_of_our_own_by_machine(recipe):
    write_text(recipe / "conf/study/own.yaml", OWN)
    write_seed(recipe / "exp/logmel", 0, 0.5)
    report.main(["--exp", "exp/logmel"])
    text = study_table(load_study("conf/study/own.yaml"), recipe / "exp")
    head, own = (cells(text, first, second) for first, second in (("model", "seeds"), ("Log-mels", "1")))
    assert head[-2:] == ["official", "over the first"] and own[-2:] == ["50.00", "-"] and len(head) >= 4
