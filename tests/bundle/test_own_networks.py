"""The configuration of docs/own_networks.md, run as it stands there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigWorkflow
from monai.networks.nets import BasicUNet

ROOT = Path(__file__).resolve().parents[2]
TINY = {"epochs": 1, "teacher_epochs": 1, "phantom_patients": 9, "image_size": 32, "batch_size": 8, "device": "cpu"}


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    (block,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs/own_networks.md").read_text(encoding="utf-8"), re.S)
    path = tmp_path / "own.json"
    path.write_text(block, encoding="utf-8")
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
