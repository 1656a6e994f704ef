"""Every fusion trains for an epoch in the bundles that it fits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ckdmed.bundle.errors import root_cause
from ckdmed.networks.bridge_fusion import BRIDGE_FUSIONS
from ckdmed.networks.classifier_teacher import CLASSIFIER_FUSIONS
from ckdmed.networks.fusion import MAP_FUSIONS
from tests.bundle import cls_runs, seg_kd_runs
from tests.bundle.bundle_runs import completed, opened
from tests.bundle.test_brats_unimodal import TINY as UNIMODAL

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


def test_a_segmentation_teacher_of_two_resolutions_teaches(tmp_path: Path) -> None:
    joined = {"fuse": "graph", "resolutions": [32, 48], "map_weights": "gated"}
    settings = {**seg_kd_runs.TINY, "device": "$torch.device('cpu')", **joined}
    for name in ("teacher_epochs", "student_base"):
        del settings[name]
    completed(opened("seg_teacher", **settings, output_dir=str(tmp_path / "teacher")))
    folder = {"output_dir": str(tmp_path / "teacher"), "device": "$torch.device('cpu')"}
    completed(opened("seg_teacher", "train.json", "evaluate.json", **folder))
    checkpoint = str(tmp_path / "teacher" / "models" / "model.pt")
    # the record of the weights tells what they are
    made = seg_kd_runs.run(tmp_path / "student", teacher_checkpoint=checkpoint)
    assert made.parser.get_parsed_content("teacher_def").resolutions == [32, 48]


@pytest.mark.parametrize("teacher_mode", ["frozen", "online"])
def test_fused_teachers_of_several_views(teacher_mode: str, tmp_path: Path) -> None:
    joined = {"fuse": "stn", "resolutions": [16, 32], "teacher_mode": teacher_mode}
    vit = {"teacher_kind": "unet_vit", "vit_img_size": 16, "vit_hidden": 16, "vit_layers": 1, "vit_heads": 2}
    phantoms = {"phantom_cases": 6, "sections#phantom_shape": [24, 24, 16], "output_dir": str(tmp_path)}
    made = completed(opened("brats_unimodal_kd", **{**UNIMODAL, **vit, **phantoms, **joined}))
    networks = made.parser.get_parsed_content("teacher_ensemble").networks.values()
    assert all(network.fuse.join.penalty == 0.001 and network.resolutions == [16, 32] for network in networks)
    assert losses(tmp_path)[0] > 0
