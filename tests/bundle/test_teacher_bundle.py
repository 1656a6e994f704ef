"""A bundle's network teaches a small student."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ckdmed.bundle.errors import root_cause
from tests.bundle.brats_runs import TINY
from tests.bundle.bundle_runs import completed, opened
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
