"""What `ckdmed prune` refuses before it looks at data."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from ckdmed.bundle import record_sections
from ckdmed.bundle.errors import RefusedStart
from ckdmed.cli import main
from ckdmed.files import save_weights, write_json
from ckdmed.networks import segmentation_student
from ckdmed.pruning import PrunedSize, prune


def weights(folder: Path, **settings: Any) -> str:
    channels = {"spatial_dims": 2, "in_channels": 1, "out_channels": 1}
    network = segmentation_student("unet_plus_plus", **channels, base=4, options={"deep_supervision": True})
    own = {"student_kind": "unet_plus_plus", "student_base": 4, "student_options": {"deep_supervision": True}}
    folder.mkdir()
    save_weights(folder / "model.pt", network.state_dict())
    write_json(folder / "model.json", {"settings": {"epochs": 1, "image_size": 32, **own, **settings}})
    return str(folder / "model.pt")


@pytest.mark.parametrize("name", ["model.pt", "model.json", "model.inputs.json"])
def test_nothing_is_overwritten(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=rf"already holds a network \({name}\)"):
        prune("seg_kd", tmp_path, ratio=0.5)
    assert (tmp_path / name).read_text() == "mine"


def test_nothing_of_another_process_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def figures(*_: Any) -> list[PrunedSize]:
        (tmp_path / "out").mkdir()
        (tmp_path / "out/model.pt").write_text("of another process")
        return [PrunedSize(name, 1, 1.0, 1.0, 0.5) for name in ("as trained", "depth 2")]

    # the package's attribute of this name is the function
    module = sys.modules["ckdmed.pruning.prune"]
    monkeypatch.setattr(module, "bundle_data", lambda *_: nullcontext())
    monkeypatch.setattr(module, "_figures", figures)
    with pytest.raises(FileExistsError, match=r"already holds a network \(model.pt\)"):
        prune("seg_kd", tmp_path / "out", weights(tmp_path / "run"), depth=2)
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["of another process"]


def test_a_depth_of_nothing(tmp_path: Path) -> None:
    """It was taken for the whole depth."""
    with pytest.raises(ValueError, match="to a depth of 1 to 4, got 0"):
        prune("seg_kd", tmp_path / "out", weights(tmp_path / "run"), depth=0)


@pytest.mark.parametrize("how", [{"depth": 2}, {"ratio": 0.5}, {}])
def test_nothing_is_chosen_by_phantoms_for_a_network_of_data(tmp_path: Path, how: dict[str, Any]) -> None:
    checkpoint = weights(tmp_path / "run", dataset_dir="path/to/figshare")
    item = {"id": "a", "patient": "A", "patient_group": "A", "labelled": True}
    record_sections({"train": [item], "validation": [], "test": []}, str(tmp_path / "run"), str(tmp_path / "run"))
    with pytest.raises(RefusedStart, match="trained with --dataset_dir path/to/figshare: give --dataset_dir"):
        prune("seg_kd", tmp_path / "out", checkpoint, **how)


def test_no_depth_is_chosen_by_patients_of_the_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="trained on its validation patients too, so no depth can be chosen on them"):
        prune("seg_kd", tmp_path / "out", weights(tmp_path / "run", train_on_validation=True))


@pytest.mark.parametrize("how", [{"depth": 2}, {"ratio": 0.5, "calibration": 0}])
@pytest.mark.parametrize("name", ["model.ts", "model.onnx", "model.xml"])
def test_a_deployed_file_has_no_weights_to_prune(name: str, how: dict[str, Any], tmp_path: Path) -> None:
    """The weights of the network that ran it were pruned, which are those of no training."""
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=f"{name}' is a deployed file, which cannot be pruned: give the weights"):
        prune("seg_kd", tmp_path / "out", tmp_path / name, **how)
    assert not (tmp_path / "out").exists()


def test_a_tolerance_of_no_effect(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(ValueError, match="tolerance must be at least 0, got -1"):
        prune("seg_kd", tmp_path, tolerance=-1)
    with pytest.raises(ValueError, match="calibration must be at least 0, got -1"):
        prune("seg_kd", tmp_path, ratio=0.5, calibration=-1)
    for option in ([], ["--depth", "2"]):
        assert main(["prune", "seg_kd", *option, "--calibration", "8", "--output_dir", str(tmp_path / "out")]) == 2
        assert "--calibration is for choosing channels" in capsys.readouterr().err
    for option in (["--ratio", "0.5"], ["--depth", "2"]):
        assert main(["prune", "seg_kd", *option, "--tolerance", "0.1", "--output_dir", str(tmp_path / "out")]) == 2
        assert "--tolerance is for choosing a depth" in capsys.readouterr().err


def test_a_folder_of_weights_is_no_run(tmp_path: Path) -> None:
    file = weights(tmp_path / "pruned")
    with pytest.raises(ValueError, match=f"weights without their run; .* with --checkpoint {file}"):
        prune(str(tmp_path / "pruned"), tmp_path / "out", ratio=0.5)


@pytest.mark.parametrize("side, option", [("student", "--student_pretrained"), ("teacher", "--teacher_checkpoint")])
def test_what_is_told_of_a_pruned_network_fits_it(
    side: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """A student cannot start from a teacher's weights."""

    def pruned(_: str, output_dir: Path, **given: Any) -> list[PrunedSize]:
        output_dir.mkdir()
        write_json(output_dir / "model.json", {"settings": {f"{side}_kind": "unet", "epochs": 1}})
        return [PrunedSize("50% of the channels removed", 1, 1.0, 1.0, 0.5)]

    monkeypatch.setattr("ckdmed.pruning.prune", pruned)
    assert main(["prune", "seg_kd", "--ratio", "0.5", "--output_dir", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.rstrip().endswith(f"using {option} {tmp_path / 'out/model.pt'}")
