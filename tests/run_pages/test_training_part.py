"""The parts of a page about a training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ckdmed.engines.teachers.folds import TeacherFolds
from ckdmed.files import save_weights
from ckdmed.run_pages.blocks import Table
from ckdmed.run_pages.training_part import training_sections
from ckdmed.run_pages.training_run import read_training_run
from tests.run_pages.runs import write_training
from tests.runtime.tiny_forms import write_tiny


@pytest.mark.parametrize("given", ["one", "folds", "deployed", "sequences", "gone"])
def test_given_teachers_of_all_kinds_stand_beside_the_student(tmp_path: Path, given: str) -> None:
    for name in ("a.pt", "b.pt"):
        save_weights(tmp_path / name, {"weight": torch.zeros(77)})
    files: dict[str, object] = {
        "one": {"teacher_checkpoint": str(tmp_path / "a.pt")},
        "folds": {"teacher_checkpoint": str(tmp_path / "folds.json")},
        "sequences": {"teacher_checkpoints": {"t1n": str(tmp_path / "a.pt"), "t2f": str(tmp_path / "b.pt")}},
        "gone": {"teacher_checkpoint": str(tmp_path / "gone.pt")},
    }
    if given == "folds":
        TeacherFolds(2, {"A": 0, "B": 1}).write(tmp_path / "folds.json", ["a.pt", "b.pt"], ["1", "2"])
    if given == "deployed":
        pytest.importorskip("onnx")
        files[given] = {"teacher_checkpoint": str(write_tiny(tmp_path / "model.onnx"))}
    run = read_training_run(write_training(tmp_path / "run", **files[given]))  # type: ignore[arg-type]
    sections = {section.title: section for section in training_sections(run, "stem")}
    tables = [block for block in sections["Teacher against student"].blocks if isinstance(block, Table)]
    rows = {row[0]: row[1] for row in tables[0].rows if row[0] not in ("student", "teacher")}
    assert (
        rows
        == {
            "one": {"teacher (a.pt)": "77"},
            "folds": {"teacher of fold 0 (a.pt)": "77", "teacher of fold 1 (b.pt)": "77"},
            "deployed": {"teacher (model.onnx)": "-"},
            "sequences": {"teacher t1n (a.pt)": "77", "teacher t2f (b.pt)": "77"},
            "gone": {"teacher (gone.pt)": "-"},
        }[given]
    )
