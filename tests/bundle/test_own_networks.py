"""The configuration of docs/own_networks.md, run as it stands there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.networks.nets import BasicUNet, BasicUNetPlusPlus

from ckdmed.bundle import check_networks, ready_networks
from ckdmed.bundle.effective_settings import IneffectiveSettingError
from ckdmed.bundle.errors import RefusedStart
from ckdmed.bundle.own_networks import check_own_networks
from ckdmed.networks import segmentation_student

ROOT = Path(__file__).resolve().parents[2]
TINY = {"epochs": 1, "teacher_epochs": 1, "phantom_patients": 9, "image_size": 32, "batch_size": 8, "device": "cpu"}


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    return written(0, tmp_path / "own.json")


def written(number: int, path: Path) -> Path:
    """One of the page's configurations, in a file."""
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "docs/own_networks.md").read_text(encoding="utf-8"), re.S)
    path.write_text(blocks[number], encoding="utf-8")
    return path


@pytest.mark.slow
def test_the_documented_pair_is_distilled(overlay: Path, tmp_path: Path) -> None:
    files = [str(ROOT / "bundles/seg_kd/train.json"), str(overlay)]
    workflow = ConfigWorkflow(files, workflow_type="train", output_dir=str(tmp_path / "out"), **TINY)
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    row = json.loads((tmp_path / "out/metrics.jsonl").read_text(encoding="utf-8"))
    assert {"soft_targets", "features", "attention"} <= set(row["terms"])
    arguments = json.loads(overlay.read_text(encoding="utf-8"))["network_def"]
    arguments.pop("_target_")
    BasicUNet(**arguments).load_state_dict(torch.load(tmp_path / "out/models/model.pt", weights_only=True))


@pytest.mark.slow
def test_a_wrong_path_is_an_error_that_lists_near_ones(overlay: Path, tmp_path: Path) -> None:
    files = [str(ROOT / "bundles/seg_kd/train.json"), str(overlay)]
    taps = {"d2": "upcat2", "d1": "upcat_1"}
    workflow = ConfigWorkflow(files, workflow_type="train", output_dir=str(tmp_path / "out"), student_taps=taps, **TINY)
    workflow.initialize()
    with pytest.raises(RuntimeError) as caught:
        workflow.parser.get_parsed_content("student")
    causes, error = [], caught.value
    while error is not None:
        causes.append(str(error))
        error = error.__cause__
    assert any("no submodule 'upcat2'" in cause and "upcat_2" in cause for cause in causes)


@pytest.mark.parametrize("name", ["student_encoder_pretrained", "vit_pretrained", "teacher_bundle"])
def test_a_file_that_neither_network_is_made_of_is_refused(overlay: Path, name: str) -> None:
    parser = ConfigParser()
    parser.read_config(str(ROOT / "bundles/seg_kd/train.json"))
    parser[name] = "some/file.pt"
    check_own_networks(parser)
    parser.update(json.loads(overlay.read_text(encoding="utf-8")))
    with pytest.raises(IneffectiveSettingError, match=f"--{name} some/file.pt: no network of this run uses it"):
        check_own_networks(parser)
    # one of one's own may read it
    parser["teacher_def#weights"] = f"@{name}"
    check_own_networks(parser)


def test_networks_of_other_outputs_than_one_tensor_of_logits_are_refused() -> None:
    size = {"spatial_dims": 2, "in_channels": 1, "features": [4, 4, 4, 4, 4, 4]}
    one, two = (BasicUNet(out_channels=channels, **size) for channels in (1, 2))
    listing, shape = BasicUNetPlusPlus(deep_supervision=True, **size), [2, 1, 32, 32]
    assert check_networks(shape, one=one, two=two) == {"one": 1, "two": 2}
    told = r"\(BasicUNetPlusPlus\) gives a list of 4 outputs for an image where one tensor of logits is needed: wrap it"
    for student, teacher, name in ((listing, one, "student"), (one, listing, "teacher")):
        with pytest.raises(RefusedStart, match=f"^the {name} {told}"):
            ready_networks(student, teacher, shape)
    with pytest.raises(
        RefusedStart, match=r"^the student \(BasicUNet\) gives logits of 1 channel and the teacher of 2"
    ):
        ready_networks(one, two, shape)
    # a teacher that nothing asks may be of anything
    ready_networks(one, two, shape, needs_teacher=False)
    ready_networks(one, listing, shape, needs_teacher=False)


def test_a_size_that_a_network_cannot_take_is_told_by_the_setting_that_gives_it() -> None:
    for edges, setting in (((20, 20), "image_size"), ((20, 20, 20), "roi_size")):
        student = segmentation_student("unet", base=2, spatial_dims=len(edges))
        told = (
            rf"cannot take images of {'x'.join(map(str, edges))} .* Give another {setting} .* another kind of network"
        )
        with pytest.raises(RefusedStart, match=told):
            check_networks([1, 1, *edges], student=student)


def test_the_documented_schedule_and_transform_reach_the_training(tmp_path: Path) -> None:
    files = [str(ROOT / "bundles/seg_kd/train.json"), str(written(1, tmp_path / "own_training.json"))]
    settings = {**TINY, "method": "supervised", "epochs": 3, "learning_rate": 0.003}
    workflow = ConfigWorkflow(files, workflow_type="train", output_dir=str(tmp_path / "out"), **settings)
    workflow.initialize()
    schedule = workflow.parser.get_parsed_content("lr_scheduler")
    loader = workflow.parser.get_parsed_content("train#dataloader")
    assert (schedule.T_max, schedule.base_lrs) == (3 * len(loader), [0.003])
    names = [type(part).__name__ for part in workflow.parser.get_parsed_content("train#preprocessing").transforms]
    assert names[-1] == "RandGaussianNoised" and "LoadSliced" in names
