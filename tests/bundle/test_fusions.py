"""Every fusion trains for an epoch in the bundles that it fits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ckdmed.bundle.errors import root_cause
from ckdmed.networks.classifier_teacher import CLASSIFIER_FUSIONS
from ckdmed.networks.fusion import MAP_FUSIONS
from tests.bundle import cls_runs

pytestmark = [pytest.mark.slow, pytest.mark.bundle]


def losses(folder: Path) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.parametrize("fuse", MAP_FUSIONS)
def test_a_classification_teacher_of_each_fusion(fuse: str, tmp_path: Path) -> None:
    cls_runs.run("cls_teacher", tmp_path, fuse=fuse, epochs=2)
    first, second = losses(tmp_path)
    assert first > 0 and first != second
    settings = json.loads((tmp_path / "settings.json").read_text(encoding="utf-8"))["settings"]
    assert settings["fuse"] == fuse and settings["map_weights"] == "global"
    cls_runs.run("cls_teacher", tmp_path, "evaluate.json", evaluation_dir=str(tmp_path / "scores"))
    assert (tmp_path / "scores" / "summary.json").is_file()


def test_the_msgff_teacher_of_two_resolutions_teaches(tmp_path: Path) -> None:
    settings = {"teacher_kind": "msgff", "fuse": "stn", "resolutions": [32, 48], "map_weights": "gated"}
    cls_runs.run("cls_teacher", tmp_path / "teacher", **settings)
    checkpoint = str(tmp_path / "teacher" / "models" / "model.pt")
    made = cls_runs.run("cls_kd", tmp_path / "student", teacher_checkpoint=checkpoint, epochs=2)
    assert made.parser.get_parsed_content("teacher").taps.paths == {"msgff": "joined"}
    row = json.loads((tmp_path / "student" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert row["terms"]["msgff"] > 0


def test_an_unknown_fusion_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as caught:
        cls_runs.workflow("cls_teacher", tmp_path, fuse="sum")
    assert ", ".join(CLASSIFIER_FUSIONS) in str(root_cause(caught.value))
