"""Evaluation of the slice bundles: averaging over mirror images, and the threshold of the mask."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ckdmed.networks import UNet
from tests.bundle.bundle_runs import completed, opened
from tests.bundle.seg_kd_runs import TINY


@pytest.mark.parametrize("tta", [False, True])
def test_answers_are_averaged_over_mirror_images_on_demand(tmp_path: Path, tta: bool) -> None:
    torch.manual_seed(0)
    network = UNet(spatial_dims=2, in_channels=1, out_channels=1, features=[2 * 2**i for i in range(5)]).eval()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    settings = {**TINY, "device": "$torch.device('cpu')", "method": "supervised", "student_kind": "unet", "tta": tta}
    run = opened(
        "seg_kd",
        "train.json",
        "evaluate.json",
        output_dir=str(tmp_path / "out"),
        checkpoint=str(tmp_path / "model.pt"),
        **settings,
    )
    x = torch.rand(1, 1, 32, 32)
    mirrored = [torch.flip(network(torch.flip(x, d)), d) for d in ([], [2], [3], [2, 3])]
    expected = torch.stack(mirrored).mean(dim=0) if tta else mirrored[0]
    inferer = run.parser.get_parsed_content("validate#inferer")
    torch.testing.assert_close(inferer(x, network), expected)
    assert run.parser.get_parsed_content("validate#evaluator").inferer is inferer
    completed(run)
    summary = json.loads((tmp_path / "out/evaluation/summary.json").read_text(encoding="utf-8"))
    assert summary["n_slices"] > 0
    calibration = summary["calibration"]["of"]["tumour"]
    assert calibration["pixels"] > 0 and 0 <= calibration["ece"] <= 1


@pytest.mark.parametrize(("threshold", "sensitivity", "specificity"), [(0.0, 1.0, 0.0), (1.0, 0.0, 1.0)])
def test_the_mask_begins_at_the_threshold(
    tmp_path: Path, threshold: float, sensitivity: float, specificity: float
) -> None:
    torch.manual_seed(0)
    network = UNet(spatial_dims=2, in_channels=1, out_channels=1, features=[2 * 2**i for i in range(5)])
    torch.save(network.state_dict(), tmp_path / "model.pt")
    places = {"output_dir": str(tmp_path / "out"), "checkpoint": str(tmp_path / "model.pt")}
    settings = {
        **TINY,
        "device": "$torch.device('cpu')",
        "method": "supervised",
        "student_kind": "unet",
        "threshold": threshold,
    }
    completed(opened("seg_kd", "train.json", "evaluate.json", **places, **settings))
    summary = json.loads((tmp_path / "out/evaluation/summary.json").read_text(encoding="utf-8"))
    assert summary["overall"]["sensitivity"]["slice_mean"] == sensitivity
    assert summary["overall"]["specificity"]["slice_mean"] == specificity
    assert summary["settings"]["settings"]["threshold"] == threshold
