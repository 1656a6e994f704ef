"""Cross-fitted teachers in the bundles: by the records no patient is answered by a teacher that had its label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

from ckdmed.bundle.errors import root_cause
from ckdmed.engines import CrossFittedTeacher, FrozenTeacher, weights_hash
from ckdmed.sections.record import SectionRecord
from tests.bundle import cls_runs, seg_kd_runs, test_brats_bundles
from tests.bundle.broken_off import break_off
from tests.bundle.bundle_runs import completed

pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]

FOLDS: dict[str, Any] = {"teacher_folds": 2, "method": "kd", "phantom_patients": 12, "label_fraction": 0.7}


def check(made: ConfigWorkflow, folder: Path) -> dict[str, Any]:
    """Compare the record of the teachers' training with that of the sections and with who answered for whom."""
    record = json.loads((folder / "teacher" / "folds.json").read_text(encoding="utf-8"))
    sections = SectionRecord.read(folder / "sections.json")
    teacher = made.parser.get_parsed_content("teacher")
    assert isinstance(teacher, CrossFittedTeacher)
    trained_on = [set(part["trained_on"]) for part in record["teachers"]]
    for group, answers in teacher.answered.items():
        for fold in answers - {-1}:
            assert group not in trained_on[fold] and group in record["teachers"][fold]["held_out"]
        if -1 in answers:
            # the mean of all: a patient whose label no teacher had
            assert not any(group in known for known in trained_on)
    items = made.parser.get_parsed_content("sections")["train"]
    labelled = {item["patient_group"] for item in items if item["labelled"]}
    assert labelled == set().union(*trained_on) and set(teacher.answered) <= {i["patient_group"] for i in items}
    assert any(teacher.answered[group] != {-1} for group in labelled & set(teacher.answered))
    held_out = {group for part in ("validation", "test") for group in sections.patients[part]}
    assert not held_out & labelled
    return record


def test_no_patient_is_answered_by_a_teacher_that_had_its_label(tmp_path: Path):
    made = seg_kd_runs.run(tmp_path / "a", **FOLDS, calibrate_teacher=True, cache_teacher=True)
    record = check(made, tmp_path / "a")
    teacher = made.parser.get_parsed_content("teacher")
    assert teacher.folds.temperature == record["temperature"] != 1
    # these teachers for another student: nothing is trained, and the folds are those of the record
    checkpoint = str(tmp_path / "a" / "teacher" / "folds.json")
    given = {name: value for name, value in FOLDS.items() if name != "teacher_folds"}
    again = seg_kd_runs.run(tmp_path / "b", **given, teacher_checkpoint=checkpoint)
    found = again.parser.get_parsed_content("teacher")
    assert weights_hash(found.network) == weights_hash(teacher.network) and not (tmp_path / "b" / "teacher").exists()
    assert found.folds.held_out == teacher.folds.held_out and found.folds.temperature == 1
    settings = json.loads((tmp_path / "b" / "settings.json").read_text(encoding="utf-8"))["settings"]
    assert settings["teacher_folds"] == 2


@pytest.mark.slow
def test_classes_and_regions_too(tmp_path: Path):
    made = cls_runs.run("cls_kd", tmp_path / "c", **{**FOLDS, "phantom_patients": 20}, calibrate_teacher=True)
    assert set(check(made, tmp_path / "c")["scores"]) >= {"in_fold", "out_of_fold"}
    shared = {"sections#phantom_dir": str(tmp_path / "phantoms"), "cache_dir": str(tmp_path / "cache")}
    for dims in (2, 3):
        settings = {"teacher_folds": 2, "method": "kd", "spatial_dims": dims, "phantom_cases": 8, **shared}
        folder = tmp_path / f"r{dims}"
        check(completed(test_brats_bundles.workflow("brats_seg_kd", folder, **settings)), folder)


@pytest.mark.slow
def test_a_broken_off_training_resumes_to_the_same_end(tmp_path: Path):
    unbroken = seg_kd_runs.run(tmp_path / "a", **FOLDS, epochs=2)
    broken = seg_kd_runs.workflow(tmp_path / "b", **FOLDS, epochs=2)
    break_off(broken, Events.EPOCH_STARTED(once=2))
    resumed = seg_kd_runs.run(tmp_path / "b", **FOLDS, epochs=2, resume=True)
    assert weights_hash(resumed.network_def) == weights_hash(unbroken.network_def)
    check(resumed, tmp_path / "b")


def test_one_teacher_is_todays(tmp_path: Path):
    made = seg_kd_runs.workflow(tmp_path, method="kd")
    assert type(made.parser.get_parsed_content("teacher")) is FrozenTeacher
    assert made.parser.get_parsed_content("teacher_network") is made.parser.get_parsed_content("teacher_def")
    assert made.parser.get_parsed_content("cross_fit") is None


def test_contradictions_are_refused_before_anything_is_written(tmp_path: Path):
    for settings, message in (
        ({"calibrate_teacher": True}, "set teacher_folds to 2 or more"),
        ({"teacher_folds": 3, "teacher_checkpoint": str(tmp_path / "teacher.pt")}, "is of 1 teacher"),
    ):
        with pytest.raises(Exception) as caught:
            seg_kd_runs.workflow(tmp_path / "out", **settings)
        with pytest.raises(ValueError, match=message):
            raise root_cause(caught.value)
        assert not (tmp_path / "out" / "settings.json").exists()
