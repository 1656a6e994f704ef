"""Every fusion trains for an epoch in the bundles that it fits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ckdmed.bundle.errors import root_cause
from ckdmed.networks.classifier_teacher import CLASSIFIER_FUSIONS
from ckdmed.networks.fusion import MAP_FUSIONS
from ckdmed.networks.unet_vit import BRIDGE_FUSIONS
from tests.bundle import cls_runs, seg_kd_runs
from tests.bundle.bundle_runs import completed, opened

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


@pytest.mark.parametrize("fuse", BRIDGE_FUSIONS)
def test_a_segmentation_teacher_of_each_fusion(fuse: str, tmp_path: Path) -> None:
    settings = {**seg_kd_runs.TINY, "device": "$torch.device('cpu')", "epochs": 2}
    for name in ("teacher_epochs", "student_base"):
        del settings[name]
    completed(opened("seg_teacher", **settings, output_dir=str(tmp_path), fuse=fuse))
    first, second = losses(tmp_path)
    assert first > 0 and first != second


def test_a_student_of_a_fused_teacher(tmp_path: Path) -> None:
    made = seg_kd_runs.run(tmp_path, fuse="stn", edge_weights="feature_lines")
    assert made.parser.get_parsed_content("teacher_def").fuse.join.penalty == 0.001
    assert (tmp_path / "teacher" / "teacher.pt").is_file()
    row = json.loads((tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert row["terms"]["edges"] > 0


def test_another_kind_refuses_a_fusion(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as caught:
        seg_kd_runs.workflow(tmp_path, teacher_kind="segresnet", fuse="stn")
    assert "a segresnet teacher is one network" in str(root_cause(caught.value))
