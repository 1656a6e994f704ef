"""The BraTS bundles where a data set has some of the regions only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from ckdmed.bundle.errors import root_cause
from ckdmed.data.brats import build_brats_datalist, write_brats_datalist
from ckdmed.data.phantoms import write_brats_phantoms
from tests.bundle.bundle_runs import completed, history, opened

pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]

SIZES: dict[str, Any] = {
    "device": "$torch.device('cpu')",
    "epochs": 1,
    "image_size": 16,
    "roi_size": [16, 16, 16],
    "slices_per_epoch": 16,
    "batch_size": 8,
    "teacher_base": 2,
}
STUDENT: dict[str, Any] = {"student_base": 2, "teacher_epochs": 1, "teacher_kind": "segresnet"}
OWN: dict[str, dict[str, Any]] = {
    "brats_seg_kd": STUDENT,
    "brats_seg_teacher": {"teacher_kind": "segresnet"},
    "brats_unimodal_kd": {**STUDENT, "teachers": [["t1n", "t1c", "t2f"], ["t2f"]], "modalities": ["t1n", "t1c", "t2f"]},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cases whose masks know the whole tumour alone, as those of other data sets do."""
    folder = tmp_path_factory.mktemp("whole")
    write_brats_phantoms(folder, 6, (24, 24, 16), time_points=(1, 1), progress=False)
    for path in folder.glob("*/*-seg.nii.gz"):
        image = nib.load(path)
        mask = np.where(np.asarray(image.dataobj) > 0, 2, 0).astype(np.uint8)
        nib.save(nib.Nifti1Image(mask, image.affine), path)
    datalist, _ = build_brats_datalist(folder, 0, (0.5, 0.25, 0.25), progress=False, release="2023")
    write_brats_datalist(datalist, folder / "datalist.json")
    return folder


def settings_of(bundle: str, data: Path, out: Path, **given: Any) -> dict[str, Any]:
    return {**SIZES, **OWN[bundle], "dataset_dir": str(data), "output_dir": str(out), "cache": "memory", **given}


def evaluated(bundle: str, data: Path, out: Path) -> dict[str, Any]:
    given = {"device": SIZES["device"], "dataset_dir": str(data), "output_dir": str(out)}
    completed(opened(bundle, "train.json", "evaluate.json", **given, section="validation", batch_size=8))
    (path,) = out.glob("**/summary.json")
    summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return summary


@pytest.mark.parametrize(
    "bundle", [name if name == "brats_seg_kd" else pytest.param(name, marks=pytest.mark.slow) for name in sorted(OWN)]
)
def test_one_region_from_training_to_inference(bundle: str, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    made = completed(opened(bundle, **settings_of(bundle, data, run, regions=["WT"])))
    (row,) = history(run)
    assert [name for name in row["metrics"] if "dice_" in name] == ["val_dice_WT"]
    assert made.trainer.state.batch["label"].shape[1] == 1
    # evaluation and inference find it in the record of the training
    summary = evaluated(bundle, data, run)
    assert summary["regions"] == list(summary["per_region"]) == ["WT"]
    weights = torch.load(run / "models" / "model.pt", weights_only=True)
    network = made.parser.get_parsed_content("network_def")
    network.load_state_dict(weights, strict=True)
    made = opened(
        bundle,
        "inference.json",
        dataset_dir=str(data),
        checkpoint=str(run / "models" / "model.pt"),
        output_dir=str(tmp_path / "masks"),
        device=SIZES["device"],
        # all that is a little likely, so that the masks of a training this short are not empty
        threshold=0.05,
        probabilities=True,
    )
    completed(made)
    report = json.loads((tmp_path / "masks" / "report.json").read_text(encoding="utf-8"))
    assert report["counts"]["done"] == 6
    masks = [np.asarray(nib.load(path).dataobj) for path in (tmp_path / "masks").glob("**/*_seg.nii.gz")]
    assert len(masks) == 6 and set(np.unique(masks)) == {0, 2}
    kinds = {path.name.split("_probability_")[1] for path in (tmp_path / "masks").glob("**/*_probability_*")}
    assert kinds == {"WT.nii.gz"}


@pytest.mark.parametrize("given, wrong", [(["WT", "RC"], "RC"), (["WT", "WT"], "WT"), ({"WT": [2]}, "WT")])
def test_other_regions_are_refused(given: Any, wrong: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception) as raised:
        opened("brats_seg_teacher", **settings_of("brats_seg_teacher", data, tmp_path / "run", regions=given))
    assert "--regions" in str(root_cause(raised.value)) and wrong in str(root_cause(raised.value))
    assert not (tmp_path / "run").exists()


def test_a_mapping_is_what_slices_of_other_data_take(tmp_path: Path) -> None:
    with pytest.raises(Exception) as raised:
        opened("seg_kd", regions=["WT"], output_dir=str(tmp_path / "run"))
    assert "--regions" in str(root_cause(raised.value))


def test_a_run_goes_on_with_its_own_regions_in_their_order(data: Path, tmp_path: Path) -> None:
    bundle = "brats_seg_teacher"
    completed(opened(bundle, **settings_of(bundle, data, tmp_path, regions=["WT", "TC"])))
    with pytest.raises(Exception) as raised:
        opened(bundle, **settings_of(bundle, data, tmp_path, regions=["TC", "WT"], resume=True, epochs=2)).run()
    assert "regions" in str(root_cause(raised.value))


def test_volumes(data: Path, tmp_path: Path) -> None:
    given = settings_of("brats_seg_kd", data, tmp_path, regions=["WT", "TC"], spatial_dims=3, batch_size=2)
    made = completed(opened("brats_seg_kd", **given))
    assert made.trainer.state.batch["label"].shape[1] == 2
    # no case has a core, which counts in no mean
    (row,) = history(tmp_path)
    assert row["metrics"]["val_mean_dice"] == row["metrics"]["val_dice_WT"]
    summary = evaluated("brats_seg_kd", data, tmp_path)
    assert summary["regions"] == ["WT", "TC"]
