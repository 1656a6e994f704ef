"""`ckdmed prune` on runs of the distillation bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ckdmed.bundle.as_teacher import is_of_a_student
from ckdmed.cli import main
from ckdmed.deploy.source import find_source
from tests.bundle.seg_kd_runs import run

pytestmark = [pytest.mark.bundle, pytest.mark.slow, pytest.mark.usefixtures("process_as_it_was")]
TINY = {"method": "supervised", "student_base": 4}


def test_a_unet_loses_channels_and_is_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("torch_pruning")
    run(tmp_path / "whole", **TINY)
    options = ["--ratio", "0.5", "--output_dir", str(tmp_path / "small"), "--images", "3"]
    assert main(["prune", str(tmp_path / "whole"), *options]) == 0
    record = json.loads((tmp_path / "small/model.json").read_text(encoding="utf-8"))
    before, after = record["pruned"]["sizes"]
    assert after["parameters"] < 0.35 * before["parameters"] and after["gflops"] < before["gflops"]
    assert {"milliseconds", "dice"} <= set(after) and "50% of the channels removed" in (out := capsys.readouterr().out)
    assert "Dice (phantoms)" in out
    # an evaluation draws no new split, and an inference still knows the patients of the training
    sections = tmp_path / "small/sections.json"
    assert sections.read_bytes() == (tmp_path / "whole/models/sections.json").read_bytes()
    # everything that reads the record takes the small network
    small = find_source("seg_kd", tmp_path / "small/model.pt").network
    state = torch.load(tmp_path / "small/model.pt", weights_only=True)
    assert small.state_dict().keys() == state.keys()
    # its kind and options are those of what it starts from
    run(tmp_path / "tuned", **TINY, student_pretrained=str(tmp_path / "small/model.pt"))
    tuned = torch.load(tmp_path / "tuned/models/model.pt", weights_only=True)
    assert {name: value.shape for name, value in tuned.items()} == {name: v.shape for name, v in state.items()}
    # nothing is overwritten
    assert main(["prune", str(tmp_path / "whole"), *options]) != 0


def test_the_depth_of_a_unet_plus_plus_is_chosen_on_validation(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run(tmp_path / "whole", **TINY, student_kind="unet_plus_plus")
    options = ["--output_dir", str(tmp_path / "small"), "--images", "3", "--tolerance", "1", "--quiet"]
    capsys.readouterr()
    assert main(["prune", str(tmp_path / "whole"), *options]) == 0
    assert "timing" not in capsys.readouterr().err
    record = json.loads((tmp_path / "small/model.json").read_text(encoding="utf-8"))
    assert [size["name"] for size in record["pruned"]["sizes"]] == ["as trained", *(f"depth {j}" for j in (1, 2, 3, 4))]
    assert record["settings"]["student_options"] == {"depth": 1, "deep_supervision": False, "ensemble": False}
    assert find_source("seg_kd", tmp_path / "small/model.pt").network.depth == 1


def test_exclusive_regions_keep_the_names_of_their_network(tmp_path: Path) -> None:
    pytest.importorskip("torch_pruning")
    run(tmp_path / "whole", **TINY, exclusive=True, student_kind="unet_plus_plus")
    options = ["--ratio", "0.5", "--images", "3", "--output_dir"]
    assert main(["prune", str(tmp_path / "whole"), *options, str(tmp_path / "small")]) == 0
    source = find_source("seg_kd", tmp_path / "small/model.pt")
    assert source.network(torch.rand(1, *source.description.input_shape)).shape[1] == 1
    # each result can be pruned again
    checkpoint = ["--checkpoint", str(tmp_path / "small/model.pt")]
    assert main(["prune", "seg_kd", *checkpoint, *options, str(tmp_path / "smaller")]) == 0
    smaller = find_source("seg_kd", tmp_path / "smaller/model.pt").network
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in source.network.parameters())


def test_a_dynunet_of_the_recipe_nnunet(tmp_path: Path) -> None:
    pytest.importorskip("torch_pruning")
    run(tmp_path / "whole", **TINY, student_kind="dynunet", recipe="nnunet")
    options = ["--ratio", "0.5", "--images", "3", "--output_dir", str(tmp_path / "small")]
    assert main(["prune", str(tmp_path / "whole"), *options]) == 0
    record = json.loads((tmp_path / "small/model.json").read_text(encoding="utf-8"))
    assert record["settings"]["student_options"]["deep_supervision"] is False
    assert not find_source("seg_kd", tmp_path / "small/model.pt").network.deep_supervision


def test_the_weights_that_ship_and_the_teacher_of_a_run(tmp_path: Path) -> None:
    pytest.importorskip("torch_pruning")
    run(tmp_path / "whole", teacher_kind="unet")
    for bundle, side, given in (
        ("seg_kd", "student", []),
        ("seg_teacher", "teacher", ["--checkpoint", str(tmp_path / "whole/teacher/teacher.pt")]),
    ):
        small = tmp_path / bundle
        options = ["--ratio", "0.5", "--images", "1", "--output_dir", str(small)]
        assert main(["prune", bundle, *given, *options]) == 0
        settings = json.loads((small / "model.json").read_text(encoding="utf-8"))["settings"]
        assert settings[f"{side}_options"]["pruned_channels"]
        # a teacher is not taken for the student that its run had
        assert is_of_a_student(small / "model.pt", settings) == (side == "student")
        # its record tells the small network
        find_source(bundle, small / "model.pt")
