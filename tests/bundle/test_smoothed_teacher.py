from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckdmed.bundle.smoothed_teacher import tell_of_smoothed_teacher
from ckdmed.bundle.workflow import bundle_folder, bundle_parser
from tests.bundle.bundle_runs import opened


@pytest.mark.parametrize(
    ("bundle", "settings", "taught", "said"),
    [
        ("cls_kd", {"teacher_label_smoothing": 0.1}, None, "--teacher_label_smoothing 0.1 smooths the labels"),
        ("cls_kd", {"teacher_label_smoothing": 0.1, "method": "supervised"}, None, ""),
        ("cls_kd", {"label_smoothing": 0.1}, None, ""),
        ("cls_kd", {}, None, ""),
        # that of the student says nothing of a teacher that is given
        ("cls_kd", {"label_smoothing": 0.1, "teacher_checkpoint": "t.pt"}, {"label_smoothing": 0.0}, ""),
        ("cls_kd", {"label_smoothing": 0.1, "teacher_checkpoint": "t.pt"}, {}, ""),
        (
            "cls_kd",
            {"teacher_checkpoint": "t.pt"},
            {"label_smoothing": 0.2},
            "'t.pt' was trained with label_smoothing 0.2",
        ),
        # a teacher that a run trained beside its student
        (
            "cls_kd",
            {"teacher_checkpoint": "t.pt"},
            {"label_smoothing": 0.0, "teacher_label_smoothing": 0.3},
            "'t.pt' was trained with label_smoothing 0.3",
        ),
        (
            "cls_kd",
            {"teacher_checkpoint": "t.pt"},
            {"label_smoothing": 0.1, "teacher_label_smoothing": 0.0},
            "",
        ),
        ("cls_teacher", {"label_smoothing": 0.1}, None, ""),
        ("seg_kd", {}, None, ""),
    ],
)
def test_smoothed_labels_of_a_teacher_are_told(
    bundle: str, settings: dict[str, Any], taught: dict[str, Any] | None, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    parser = bundle_parser(bundle_folder(bundle), {"output_dir": "/nowhere", "bundle_root": "/nowhere", **settings})
    if taught is not None:
        parser["taught"] = taught
    tell_of_smoothed_teacher(parser)
    assert [record.levelname for record in caplog.records] == (["WARNING"] if said else [])
    assert said in caplog.text


@pytest.mark.bundle
def test_every_start_looks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    output = str(tmp_path / "output")
    small = {"teacher_kind": "vit_vit", "vit_hidden": 16, "vit_layers": 1, "vit_heads": 2, "student_kind": "plain_cnn"}
    run = opened("cls_kd", "train.json", output_dir=output, teacher_label_smoothing=0.1, label_smoothing=0.2, **small)
    assert "smooths the labels that the teacher learns from" in caplog.text
    # each network has its own
    assert run.parser.get_parsed_content("prepare_teacher").keywords["loss_function"].label_smoothing == 0.1
    assert run.parser.get_parsed_content("distillation_loss").terms["supervised"].loss.label_smoothing == 0.2
