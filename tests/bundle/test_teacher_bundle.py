"""A bundle's network teaches a small student."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ckdmed.bundle.errors import root_cause
from tests.bundle import cls_runs, seg_kd_runs
from tests.bundle.brats_runs import TINY
from tests.bundle.bundle_runs import completed, history, opened
from tests.bundle.test_brats_unimodal import TINY as UNIMODAL
from tests.zoo_teacher.test_slice_teachers import class_bundle, segmentation_bundle
from tests.zoo_teacher.test_zoo_teacher import zoo_bundle

pytestmark = [pytest.mark.slow, pytest.mark.bundle]

SETTINGS: dict[str, Any] = {
    **TINY,
    "student_base": 2,
    "epochs": 2,
    "phantom_cases": 6,
    "sections#phantom_shape": [40, 36, 20],
    "slices_per_epoch": 8,
    "batch_size": 4,
}


def test_a_bundle_of_the_zoo_teaches(tmp_path: Path) -> None:
    zoo_bundle(tmp_path / "zoo")
    given = {"teacher_bundle": str(tmp_path / "zoo"), "trust_bundle": True, "output_dir": str(tmp_path / "out")}
    completed(opened("brats_seg_kd", **SETTINGS, **given))
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert {"soft_targets", "features", "attention"} <= set(rows[-1]["terms"])
    assert not (tmp_path / "out" / "teacher" / "teacher.pt").exists()
    assert (tmp_path / "out" / "models" / "model.pt").is_file()


def test_an_untrusted_bundle_stops_before_anything(tmp_path: Path) -> None:
    zoo_bundle(tmp_path / "zoo")
    with pytest.raises(RuntimeError) as caught:
        opened("brats_seg_kd", **SETTINGS, teacher_bundle=str(tmp_path / "zoo"), output_dir=str(tmp_path / "out"))
    assert "--trust_bundle true" in str(root_cause(caught.value))


def test_a_bundle_of_slices_teaches(tmp_path: Path) -> None:
    segmentation_bundle(tmp_path / "zoo")
    given = {"teacher_bundle": str(tmp_path / "zoo"), "trust_bundle": True, "teacher_bundle_images": ["t1c"]}
    seg_kd_runs.run(tmp_path / "out", scaling="unit", **given)
    assert {"soft_targets", "features"} <= set(history(tmp_path / "out")[-1]["terms"])
    assert not (tmp_path / "out" / "teacher" / "teacher.pt").exists()


def test_a_classifier_of_the_zoo_teaches(tmp_path: Path) -> None:
    class_bundle(tmp_path / "zoo")
    given = {"teacher_bundle": str(tmp_path / "zoo"), "trust_bundle": True, "scaling": "unit"}
    cls_runs.run("cls_kd", tmp_path / "out", epochs=2, **given)
    assert history(tmp_path / "out")[0]["terms"]["msgff"] > 0
    assert not (tmp_path / "out" / "teacher" / "teacher.pt").exists()


@pytest.mark.parametrize("teacher_mode", ["frozen", "fusion"])
def test_a_bundle_is_one_of_several_teachers(tmp_path: Path, teacher_mode: str) -> None:
    zoo_bundle(tmp_path / "zoo")
    phantoms = {"phantom_cases": 6, "sections#phantom_shape": [24, 24, 16], "output_dir": str(tmp_path / "out")}
    given = {"teacher_bundle": str(tmp_path / "zoo"), "trust_bundle": True, "teacher_mode": teacher_mode}
    completed(opened("brats_unimodal_kd", **{**UNIMODAL, **phantoms, **given}))
    trained = sorted(path.parent.name for path in (tmp_path / "out" / "teachers").glob("*/teacher.pt"))
    assert trained == ["t2f"] and (tmp_path / "out" / "models" / "model.pt").is_file()
