"""What is set of a teacher says nothing of a student that is trained alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from monai.bundle.reference_resolver import ReferenceResolver

from ckdmed.bundle.effective_settings import strings
from ckdmed.bundle.settings_table import settings_for
from ckdmed.bundle_files import bundle_folder
from ckdmed.experiments import experiment
from ckdmed.experiments.records import check_alike
from ckdmed.experiments.teacher_settings import OF_TEACHERS, settings_that_reach
from ckdmed.reports import RunRecord
from tests.experiments.trainers import FakeTrainer, install, made

BUNDLES = ("seg_kd", "cls_kd", "brats_seg_kd", "brats_unimodal_kd")
WORDS = ("--label_fractions", "1", "--arms")
#: the parts of a configuration that are of teachers
PARTS = ("cross_fit", "shares", "views", "peer_views", "keep_teachers", "freeze", "trust_bundle")


def _readers(config: dict[str, Any]) -> dict[str, set[str]]:
    """Entry at the top -> those that read it."""
    found: dict[str, set[str]] = {}
    for name, content in config.items():
        for text in strings(content):
            for read in ReferenceResolver.match_refs_pattern(text):
                found.setdefault(read.split("::")[0], set()).add(name)
    return found


@pytest.mark.parametrize("bundle", BUNDLES)
def test_settings_that_only_a_teachers_parts_read_are_known(bundle: str) -> None:
    config = json.loads((bundle_folder(bundle) / "train.json").read_text(encoding="utf-8"))
    table, readers = settings_for(config), _readers(config)

    def is_of_teachers(name: str) -> bool:
        return "teacher" in name or name in PARTS

    read_by_teachers = {name for name in readers if all(map(is_of_teachers, readers[name])) and name in table}
    # what a teacher's images are made of is the student's as well
    assert read_by_teachers - OF_TEACHERS == set()
    # and none of them is read by what a student is built, scheduled and validated by
    student = {name for name, by in readers.items() if by & {"network_def", "lr_scheduler", "optimizer", "validate"}}
    assert not student & OF_TEACHERS


def test_the_names_are_those_of_settings() -> None:
    known = set()
    for bundle in BUNDLES:
        config = json.loads((bundle_folder(bundle) / "train.json").read_text(encoding="utf-8"))
        known |= set(settings_for(config))
    assert OF_TEACHERS <= known


def test_a_student_alone_is_the_same_whatever_would_have_taught_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = install(monkeypatch, FakeTrainer())
    words = (*WORDS, "teacher", "alone", "ckd", "--seeds", "0")
    before, runs = made("compare", tmp_path, data, *words)
    before.do(runs)
    other = ("--set", "teacher_learning_rate=0.5", "vit_layers=2", "cache_teacher=true")
    changed, _ = made("compare", tmp_path, data, *words, *other)
    done = {run.arm.name: run for run in runs}
    assert changed.done(done["alone"])
    assert "teacher_epochs" not in changed._recorded_settings(done["alone"])
    with pytest.raises(ValueError, match="made with other settings .*vit_layers 1 then and 2 now"):
        changed.done(done["ckd"])
    # a part of the experiment, with the options of the whole
    alone, more = made("compare", tmp_path, data, *WORDS, "alone", "--one_teacher", "--seeds", "0", "1", *other)
    asked = len(trainer.asked)
    alone.do(more)
    assert trainer.asked[asked:] == [(more[1].name, "train"), (more[1].name, "validation")]
    # what does reach it is compared as before
    slower, _ = made("compare", tmp_path, data, *words, "--set", "learning_rate=0.5")
    with pytest.raises(ValueError, match="made with other settings .learning_rate"):
        slower.done(done["alone"])


def test_records_of_earlier_versions_hold_them(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeTrainer())
    compared, runs = made("compare", tmp_path, data, *WORDS, "alone", "--seeds", "0", "1")
    compared.do(runs)
    path = compared.record_path(runs[0], "validation")
    kept = RunRecord.read(path)
    assert settings_that_reach(kept.settings) == kept.settings
    old = replace(kept, settings={**kept.settings, "teacher_epochs": 99, "vit_hidden": 16})
    old.write(path)
    assert compared.done(runs[0])
    compared.check_records([old, RunRecord.read(compared.record_path(runs[1], "validation"))])


def test_students_of_other_teachers_have_no_common_mean() -> None:
    def record(seed: int, method: str, **settings: Any) -> RunRecord:
        made_with = {"method": method, "profile": "tiny", **settings}
        return RunRecord(f"a-{seed}", "a", ["ckdmed"], seed, {}, {}, settings=made_with)

    own = experiment("compare").of_a_run
    check_alike([record(0, "supervised", teacher_epochs=3), record(1, "supervised", teacher_epochs=4)], own)
    with pytest.raises(ValueError, match="different settings .teacher_epochs 3 and 4"):
        check_alike([record(0, "ckd", teacher_epochs=3), record(1, "ckd", teacher_epochs=4)], own)


def test_the_student_alone_is_a_part_of_its_own(data: Path, tmp_path: Path) -> None:
    _, runs = made("methods", tmp_path, data, "--arms", "supervised", "--seeds", "0", "1")
    assert [run.name for run in runs] == ["supervised-seed=0", "supervised-seed=1"]
