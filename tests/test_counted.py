from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ckdmed.counted import counted
from ckdmed.data.input_walk import SkippedFile, UnusedFiles
from ckdmed.data.patient_table import check_patients
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
