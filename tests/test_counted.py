from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ckdmed.clinic import PatientResult
from ckdmed.counted import counted
from ckdmed.data.brats.cases import SkippedCase, none_usable
from ckdmed.data.input_walk import SkippedFile, UnusedFiles
from ckdmed.data.patient_table import check_patients
from ckdmed.export.documents import figures_table
from ckdmed.inference.final_notes import tell_skipped


def test_one_is_the_only_singular():
    assert [counted(number, "file") for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]


@pytest.mark.parametrize(("number", "told"), [(1, "1 input was skipped"), (2, "2 inputs were skipped")])
def test_messages_agree_with_their_number(number: int, told: str, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.ERROR)
    tell_skipped([SkippedFile(Path("a.png"), "damaged")] * number, "skipped.csv")
    assert told in caplog.text
    unused = UnusedFiles()
    for _ in range(number):
        unused.add("no image", Path("a.txt"))
    assert unused.lines()[0].startswith("1 file not used" if number == 1 else "2 files not used")


def test_a_message_of_one_is_in_the_singular(tmp_path: Path):
    with pytest.raises(ValueError, match="names 1 absent case .b.;"):
        check_patients({"b": "p"}, ["a"], tmp_path)
    with pytest.raises(ValueError, match="names 2 absent cases .b, c.;"):
        check_patients({"b": "p", "c": "p"}, ["a"], tmp_path)


def test_what_is_said_of_one_case_slice_or_pixel(tmp_path: Path):
    skipped = [SkippedCase("a", "no mask")]
    assert "none of 1 case is usable" in str(none_usable(tmp_path, skipped))
    assert "none of 2 cases is usable" in str(none_usable(tmp_path, skipped * 2))
    row = PatientResult("P", "P", "s.png", "only one", "", "", 1, "intended", "", "")
    assert row.line.startswith("P: 1 pixel marked in s.png")
    summary = {"n_slices": 1, "n_patients": 1, "unit": "mm", "overall": {}}
    assert figures_table(summary).startswith("Measured on 1 slice of 1 patient of the test set")
    assert figures_table({**summary, "counted": "cases", "n_slices": 2}).startswith(
        "Measured on 2 cases of 1 patient of"
    )
