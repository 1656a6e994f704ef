"""Which weights are those of a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from monai.networks.nets import BasicUNet

from ckdmed.bundle import record_sections
from ckdmed.cli import main
from ckdmed.data.phantoms import write_brats_phantoms
from ckdmed.deploy.source import find_source
from ckdmed.files import save_weights, write_json
from ckdmed.pruning import prune
from tests.export.tiny import ROOT, write_checkpoint


@pytest.fixture()
def bundle(tmp_path: Path) -> Path:
    """A bundle that ships weights."""
    folder = tmp_path / "seg_kd"
    shutil.copytree(ROOT / "bundles" / "seg_kd", folder, ignore=shutil.ignore_patterns("output*", "models"))
    (folder / "models").mkdir()
    write_checkpoint(folder / "models" / "model.pt", "seg_kd")
    return folder


def write_run(folder: Path, bundle: Path, ckpt_dir: Path | None) -> str:
    folder.mkdir()
    settings = {"bundle_root": str(bundle), "output_dir": str(folder), "epochs": 1}
    settings |= {} if ckpt_dir is None else {"ckpt_dir": str(ckpt_dir)}
    (folder / "settings.json").write_text(json.dumps({"settings": settings}), encoding="utf-8")
    return str(folder)


def test_a_run_is_deployed_with_the_weights_of_its_own_folder_of_weights(bundle: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    weights = write_checkpoint(elsewhere / "model.pt", "seg_kd")
    assert find_source(write_run(tmp_path / "run", bundle, elsewhere)).checkpoint == weights
    # the bundle itself still has those that it ships
    assert find_source(str(bundle)).checkpoint == bundle / "models" / "model.pt"


@pytest.mark.parametrize("stated", [True, False])
def test_a_run_without_weights_never_gets_those_of_its_bundle(bundle: Path, tmp_path: Path, stated: bool) -> None:
    run = write_run(tmp_path / "run", bundle, tmp_path / "gone" if stated else None)
    with pytest.raises(
        ValueError, match="run: there are no weights .*run.models.model.pt; give some with --checkpoint"
    ):
        find_source(run)


def test_a_run_that_was_moved_has_the_weights_that_moved_with_it(bundle: Path, tmp_path: Path) -> None:
    before = tmp_path / "before"
    write_run(before, bundle, before / "models")
    (before / "models").mkdir()
    write_checkpoint(before / "models" / "model.pt", "seg_kd")
    shutil.copytree(before, tmp_path / "moved")
    assert find_source(str(tmp_path / "moved")).checkpoint == tmp_path / "moved" / "models" / "model.pt"


@pytest.mark.parametrize(("bundle", "wanted"), [("seg_kd", "no .mat file of a slice"), ("brats_seg_kd", "no case")])
@pytest.mark.parametrize(
    "words", [["deploy"], ["prune", "--ratio", "0.5"], ["robustness"]], ids=["deploy", "prune", "robustness"]
)
def test_a_folder_without_data_is_refused_before_the_network_is_loaded(
    words: list[str],
    bundle: str,
    wanted: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = write_checkpoint(tmp_path / "model.pt", bundle)
    monkeypatch.setattr("ckdmed.deploy.source.load_checkpoint", lambda *given: pytest.fail("the network was loaded"))
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    given = ["--checkpoint", str(weights), "--dataset_dir", str(data), "--output_dir", str(out)]
    assert main([words[0], bundle, *given, *words[1:]]) == 2 and not out.exists()
    error = capsys.readouterr().err
    assert str(data) in error and wanted in error
    if bundle == "brats_seg_kd":
        write_brats_phantoms(data, 2, (16, 16, 16))
        for mask in data.rglob("*-seg.nii.gz"):
            mask.unlink()
        assert main([words[0], bundle, *given, *words[1:]]) == 2 and not out.exists()
        assert f"{data}: none of 2 cases is usable" in capsys.readouterr().err


def test_a_network_of_ones_own_is_told_as_such(bundle: Path, tmp_path: Path) -> None:
    run = Path(write_run(tmp_path / "run", bundle, None))
    (run / "models").mkdir()
    network = {"_target_": "BasicUNet", "spatial_dims": 2, "out_channels": 1, "features": [4] * 6}
    save_weights(run / "models/model.pt", BasicUNet(2, out_channels=1, features=(4,) * 6).state_dict())
    record = json.loads((bundle / "models/model.json").read_text(encoding="utf-8"))
    write_json(run / "models/model.json", {**record, "sha256": None, "components": {"network_def": network}})
    with pytest.raises(
        ValueError, match="model.pt' was trained with a network_def of one's own.* export the run as a bu"
    ):
        find_source(str(run))
    # weights that do not fit for another reason keep their own error
    write_json(run / "models/model.json", {**record, "sha256": None, "components": {"student_taps": {}}})
    with pytest.raises(ValueError, match="is a checkpoint of another network"):
        find_source(str(run))


def test_a_network_that_no_setting_tells_of_is_not_pruned(bundle: Path, tmp_path: Path) -> None:
    """What was written no command could load."""
    inference = json.loads((bundle / "inference.json").read_text(encoding="utf-8"))
    inference["network_def"] = {"_target_": "BasicUNet", "spatial_dims": 2, "out_channels": 1, "features": [4] * 6}
    write_json(bundle / "inference.json", inference)
    save_weights(bundle / "models/model.pt", BasicUNet(2, out_channels=1, features=(4,) * 6).state_dict())
    record = json.loads((bundle / "models/model.json").read_text(encoding="utf-8"))
    write_json(bundle / "models/model.json", {**record, "sha256": None})
    with pytest.raises(ValueError, match="its network_def does not read student_options.* only a student_kind can be"):
        prune(str(bundle), tmp_path / "out", ratio=0.5)
    assert not (tmp_path / "out").exists()


def test_a_run_that_was_trained_on_data_is_not_judged_on_phantoms(bundle, tmp_path, monkeypatch, capsys):
    """It was said after the phantoms were made, as an empty section."""
    run = write_run(tmp_path / "run", bundle, None)
    shutil.copytree(bundle / "models", tmp_path / "run" / "models")
    settings = json.loads((tmp_path / "run/models/model.json").read_text())
    settings["settings"] |= {"epochs": 1, "dataset_dir": "path/to/figshare"}
    write_json(tmp_path / "run/models/model.json", settings)
    item = {"id": "A", "patient": "A", "patient_group": "A", "labelled": True}
    sections = {"train": [item], "validation": [], "test": []}
    record_sections(sections, run, f"{run}/models")
    monkeypatch.setattr("ckdmed.deploy.deploying.bundle_data", None)
    words = ["--formats", "torchscript", "--out", str(tmp_path / "out")]
    assert main(["deploy", run, *words]) == 2
    assert "trained with --dataset_dir path/to/figshare: give --dataset_dir." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
