"""The bundle of a student of one sequence with several teachers, at a size that trains in seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

from ckdmed.bundle.setting_check import hand_over
from ckdmed.bundle.workflow import bundle_folder, bundle_parser
from ckdmed.data.phantoms import write_brats_phantoms
from ckdmed.engines import CooperativeTeachers, FrozenTeacher, MultiTeacherTrainer, weights_hash
from ckdmed.networks import UNet
from tests.bundle.broken_off import break_off
from tests.bundle.bundle_runs import completed, history, opened

pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]

BUNDLE = "brats_unimodal_kd"
TINY: dict[str, Any] = {
    "device": "$torch.device('cpu')",
    "epochs": 2,
    "teacher_epochs": 1,
    "slices_per_epoch": 16,
    "batch_size": 8,
    "image_size": 16,
    "student_base": 2,
    "teacher_kind": "segresnet",
    "teacher_base": 2,
    "teachers": [["t1n", "t1c", "t2w", "t2f"], ["t2f"]],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("brats")
    write_brats_phantoms(folder, 6, (24, 24, 16), time_points=(1, 1), progress=False)
    return folder


def workflow(output_dir: Path, data: Path, *configs: str, **overrides: Any) -> ConfigWorkflow:
    settings = {**TINY, "dataset_dir": str(data), "output_dir": str(output_dir), **overrides}
    return opened(BUNDLE, *configs, **settings)


def run(output_dir: Path, data: Path, *configs: str, **overrides: Any) -> ConfigWorkflow:
    return completed(workflow(output_dir, data, *configs, **overrides))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A run with frozen teachers."""
    folder = tmp_path_factory.mktemp("run")
    made = run(folder, data)
    trainer = made.parser.get_parsed_content("train#trainer")
    assert isinstance(trainer, MultiTeacherTrainer) and isinstance(trainer.teacher, FrozenTeacher)
    return folder


def test_the_checkpoint_is_the_student_alone_of_one_channel(finished: Path) -> None:
    state = torch.load(finished / "models" / "model.pt", weights_only=True)
    network = UNet(in_channels=1, out_channels=3, features=[2, 4, 8, 16, 32])
    network.load_state_dict(state, strict=True)
    assert network.eval()(torch.rand(1, 1, 16, 16)).shape == (1, 3, 16, 16)


def test_terms_regions_and_teachers_are_on_record(finished: Path) -> None:
    last = history(finished)[-1]
    assert set(last["terms"]) == {"supervised", "response", "response_dice", "deep_label"}
    assert {"val_mean_dice", "val_dice_TC", "val_dice_WT", "val_dice_ET"} <= set(last["metrics"])
    found = sorted(path.parent.name for path in (finished / "teachers").glob("*/teacher.pt"))
    assert found == ["t1n+t1c+t2w+t2f", "t2f"]
    settings = json.loads((finished / "settings.json").read_text(encoding="utf-8"))["settings"]
    assert settings["student_modalities"] == ["t1c"] and settings["teacher_mode"] == "frozen"
    assert "object at" not in json.dumps(settings)


@pytest.mark.parametrize(("weight", "learnt"), [(0.08, True), (0.0, False)])
def test_the_student_learns_from_cooperative_logits_that_learn_themselves(weight: float, learnt: bool) -> None:
    settings = {"output_dir": "/nowhere", "bundle_root": "/nowhere", "teacher_mode": "online", "w_cooperative": weight}
    loss = bundle_parser(bundle_folder(BUNDLE), settings).get_parsed_content("distillation_loss")
    assert ("deep_cooperative" in loss.active_terms) == learnt
    assert {"supervised", "response", "deep_label"} <= set(loss.active_terms)


@pytest.mark.parametrize(
    ("settings", "temperature"),
    [({}, 1.0), ({"temperature": 3.0}, 3.0), ({"method": "kd", "w_mutual": 1.0, "temperature": 3.0}, 1.0)],
)
def test_peers_learn_at_the_temperature_of_the_student(settings: dict[str, Any], temperature: float) -> None:
    usual = {"output_dir": "/nowhere", "bundle_root": "/nowhere", "method": "mutual", "teacher_mode": "online"}
    parser = bundle_parser(bundle_folder(BUNDLE), {**usual, **settings})
    hand_over(parser)
    # there are no images to tell it by
    parser["needs_teacher"] = True
    divergence = parser.get_parsed_content("teacher_loss").divergence
    assert divergence.temperature == temperature


def test_a_fusion_that_nothing_would_teach_is_refused_before_any_teacher_is_trained(tmp_path: Path, data: Path) -> None:
    with pytest.raises(RuntimeError) as refused:
        workflow(tmp_path / "run", data, teacher_mode="fusion", w_cooperative=0.0)
    assert "only the fusion learns, and w_cooperative 0" in str(refused.value.__cause__)
    assert not (tmp_path / "run" / "teachers").exists()


@pytest.mark.slow
def test_teachers_that_learn_along_resume_to_the_same_end(tmp_path: Path, data: Path) -> None:
    settings: dict[str, Any] = {"teacher_mode": "online", "student_modalities": ["t1n"], "label_fraction": 0.5}
    unbroken = run(tmp_path / "a", data, **settings)
    last = history(tmp_path / "a")[-1]
    assert {"deep_cooperative", "teacher_t2f", "cooperative"} <= set(last["terms"])
    assert "response" not in history(tmp_path / "a")[0]["terms"]
    assert sorted(p.name for p in (tmp_path / "a" / "models" / "teachers").iterdir()) == [
        "t1n+t1c+t2w+t2f.pt",
        "t2f.pt",
    ]
    broken = workflow(tmp_path / "b", data, **settings)
    # in the second of two epochs of two steps
    break_off(broken, Events.ITERATION_COMPLETED(once=3))
    resumed = run(tmp_path / "b", data, **settings, resume=True)
    for name in ("student", "teacher_group", "optimizer"):
        one, other = (made.parser.get_parsed_content(name) for made in (resumed, unbroken))
        if isinstance(one, torch.nn.Module):
            assert weights_hash(one) == weights_hash(other)
    assert isinstance(resumed.parser.get_parsed_content("teacher_group"), CooperativeTeachers)


@pytest.mark.slow
def test_a_fusion_of_frozen_teachers_learns(tmp_path: Path, data: Path, finished: Path) -> None:
    checkpoints = {path.parent.name: str(path) for path in (finished / "teachers").glob("*/teacher.pt")}
    made = run(tmp_path, data, teacher_mode="fusion", teacher_checkpoints=checkpoints)
    last = history(tmp_path)[-1]["terms"]
    assert "cooperative" in last and "deep_cooperative" in last and "teacher_t2f" not in last
    teachers = made.parser.get_parsed_content("teacher_ensemble").networks
    for name, path in checkpoints.items():
        state = torch.load(path, weights_only=True)
        assert all(torch.equal(value, state[key]) for key, value in teachers[name].state_dict().items())


@pytest.mark.slow
def test_volumes(tmp_path: Path, data: Path) -> None:
    run(tmp_path, data, spatial_dims=3, roi_size=[16, 16, 16], epochs=1, teachers=[["t1c", "t2f"]])
    state = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    assert state["encoder.e1.conv1.conv.weight"].shape[1:] == (1, 3, 3, 3)


@pytest.mark.slow
def test_evaluation_and_inference_need_the_students_sequence_alone(tmp_path: Path, data: Path, finished: Path) -> None:
    checkpoint = str(finished / "models" / "model.pt")
    run(tmp_path / "out", data, "train.json", "evaluate.json", checkpoint=checkpoint)
    summary = json.loads((tmp_path / "out" / "evaluation" / "summary.json").read_text(encoding="utf-8"))
    assert summary["regions"] == ["TC", "WT", "ET"] and 0 <= summary["overall"]["dice"]["patient_mean"] <= 1
    case = sorted(path for path in data.iterdir() if path.is_dir())[0]
    scans = tmp_path / "scans" / case.name
    scans.mkdir(parents=True)
    (scans / f"{case.name}-t1c.nii.gz").write_bytes((case / f"{case.name}-t1c.nii.gz").read_bytes())
    settings = {"dataset_dir": str(tmp_path / "scans"), "output_dir": str(tmp_path / "masks"), "checkpoint": checkpoint}
    completed(opened(BUNDLE, "inference.json", **settings, student_base=2, image_size=16, device=TINY["device"]))
    assert len(list((tmp_path / "masks").rglob("*.nii.gz"))) == 1
