"""Evaluation of the BraTS bundles: the network sees what it was trained on, and the scores are of the native grid."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from monai.utils import set_determinism

from ckdmed.bundle import brats_sections
from ckdmed.data.brats import BratsSliceDataset, build_slice_cache
from ckdmed.data.phantoms import write_brats_phantoms
from ckdmed.inferers import BrainSliceInferer
from ckdmed.labels import brats_labels
from ckdmed.metrics import lesionwise_scores, segmentation_scores
from tests.bundle.brats_runs import BUNDLES, ROOT, SIZES, TINY, workflow, write_checkpoint

pytestmark = pytest.mark.bundle


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    yield
    set_determinism(None)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> Path:
    """Six cases of two types, three of them turned as other software writes them, one of these upside down."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_brats_phantoms(folder, 6, (40, 36, 20), tumour_types=("GLI", "MET"), time_points=(1, 1), progress=False)
    for number, case in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        for path in case.glob("*.nii.gz") if number % 2 else ():
            image = nib.load(path)
            turned = image.as_reoriented([[1, -1], [0, 1], [2, -1 if number == 3 else 1]])
            nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), turned.affine), path)
    return folder


def evaluation(out: Path, **settings: Any) -> Any:
    bundle = settings.pop("bundle", "brats_seg_kd")
    network = {
        key: settings[key] for key in ("spatial_dims", "neighbours", "modalities", "image_size") if key in settings
    }
    checkpoint = write_checkpoint(out / "model.pt", bundle, **network)
    return workflow("evaluate", bundle, out, checkpoint=checkpoint, **settings)


@pytest.mark.parametrize(("image_size", "neighbours"), [(40, 0), (24, 1)])
def test_the_network_sees_the_slices_of_its_training(phantoms, tmp_path, image_size, neighbours):
    """What reaches the network, slice by slice, is what the training's transform makes of the cached slices."""
    settings = {"dataset_dir": str(phantoms), "image_size": image_size, "neighbours": neighbours}
    run = evaluation(tmp_path / "out", **settings)
    parser = run.parser
    items = [item for part in brats_sections(str(phantoms), "unused").values() for item in part]
    build_slice_cache(items, tmp_path / "cache", progress=False)
    trained = parser.get_parsed_content("preprocessing")
    whole = parser.get_parsed_content("validate#preprocessing")
    assert sum(nib.aff2axcodes(nib.load(item["image"][0]).affine)[2] == "I" for item in items) == 1
    compared = 0
    for item in items:
        dataset = BratsSliceDataset(tmp_path / "cache", [item["case"]], transform=trained, neighbours=neighbours)
        seen: list[torch.Tensor] = []

        def network(batch: torch.Tensor, seen: list[torch.Tensor] = seen) -> torch.Tensor:
            seen.extend(torch.as_tensor(batch))
            return batch[:, :3]

        BrainSliceInferer(neighbours)(whole(dict(item))["image"][None], network)
        assert len(seen) == len(dataset)
        # the cache numbers slices as the file does, the evaluation from below
        slices = list(dataset)[:: -1 if nib.aff2axcodes(nib.load(item["image"][0]).affine)[2] == "I" else 1]
        for own, cached in zip(seen, slices):
            assert own.shape == cached["image"].shape == (4 * (2 * neighbours + 1), image_size, image_size)
            # half precision of the cache
            assert (own - cached["image"]).abs().max() <= 2e-3 * cached["image"].abs().max()
            compared += 1
    assert compared > 60


class Oracle(torch.nn.Module):
    """Says where the brightest of the third channel is; equivariant to where it is shown.

    Some of what it calls enhancing tumour is no core by its answer.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, 2:3] - torch.tensor([1.5, 0.8, 1.2]).reshape(1, 3, *[1] * (x.ndim - 2))) * 50


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_scores_are_those_of_the_masks_on_the_native_grid(phantoms, tmp_path, spatial_dims):
    """A network that works voxel by voxel: its result can be had from the files without any of the pipeline."""
    out = tmp_path / "out"
    run = evaluation(out, dataset_dir=str(phantoms), image_size=40, spatial_dims=spatial_dims, section="validation")
    evaluator = run.parser.get_parsed_content("validate#evaluator")
    evaluator.network = Oracle()
    run.run()
    items = run.parser.get_parsed_content("sections")["validation"]
    with open(out / "evaluation" / "scores.csv", newline="") as stream:
        rows = {(row["id"], row["region"]): row for row in csv.DictReader(stream)}
    assert len(rows) == 3 * len(items) > 0
    for item in items:
        image = nib.load(item["image"][2])
        values = image.get_fdata()
        brain = values != 0
        score = np.where(brain, (values - values[brain].mean()) / values[brain].std(), 0)
        truth = brats_labels(2023).to_regions(nib.load(item["label"]).get_fdata())
        spacing = image.header.get_zooms()[:3]
        # the core is that of the mask of labels, in which all enhancing tumour is core
        for number, (region, level) in enumerate((("TC", 1.2), ("WT", 0.8), ("ET", 1.2))):
            row, own = rows[item["id"], region], score >= level
            expected = segmentation_scores(own, truth[number], spacing)
            lesions = lesionwise_scores(own, truth[number], spacing, item["tumour_type"])
            assert int(row["true_size"]) == truth[number].sum() and row["unit"] == "mm"
            # 40 x 36 becomes 40 x 40 and comes back: along one axis the edges move by a fraction of a voxel
            assert float(row["dice"]) == pytest.approx(expected["dice"], abs=1e-6 if spatial_dims == 3 else 0.1)
            if spatial_dims == 3:
                assert float(row["hd95"]) == pytest.approx(expected["hd95"], abs=1e-4)
                assert float(row["lesionwise_dice"]) == pytest.approx(lesions["lesionwise_dice"], abs=1e-6)
                assert int(row["n_false"]) == lesions["n_false"]


@pytest.mark.parametrize("bundle", BUNDLES)
def test_phantoms_and_everything_that_is_written(tmp_path, bundle):
    run = evaluation(tmp_path / "out", bundle=bundle)
    run.run()
    run.finalize()
    out = tmp_path / "out" / "evaluation"
    assert {path.name for path in out.iterdir()} >= {"scores.csv", "patients.csv", "summary.json", "best_and_worst.png"}
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["settings"]["section"] == "test" and len(summary["settings"]["checkpoint_sha256"]) == 64
    assert summary["units"]["distance"] == "mm" and list(summary["per_region"]) == ["TC", "WT", "ET"]
    assert {"dice", "hd95", "lesionwise_dice", "lesionwise_hd95_mm"} <= set(summary["overall"])


def test_cases_without_a_mask_are_not_scored(tmp_path):
    run = evaluation(tmp_path / "out", section="train", label_fraction=0.5)
    items = run.parser.get_parsed_content("sections")["train"]
    data = run.parser.get_parsed_content("validate#dataset").data
    assert 0 < len(data) < len(items) and all(item["labelled"] for item in data)


@pytest.mark.slow
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_evaluation_confirms_the_validation_of_the_training(tmp_path, spatial_dims):
    """Slices of the cache, or cropped volumes, on one side; files of cases, and back to their grid, on the other."""
    settings = {
        **TINY,
        **SIZES["brats_seg_kd"],
        "spatial_dims": spatial_dims,
        "phantom_cases": 6,
        "sections#phantom_shape": [32, 32, 20],
    }
    training = {"method": "supervised", "epochs": 2, "slices_per_epoch": 160, "learning_rate": 0.02}
    train = ConfigWorkflow(
        str(ROOT / "bundles" / "brats_seg_kd" / "train.json"),
        meta_file=None,
        logging_file=False,
        workflow_type="train",
        **{
            **settings,
            **training,
            "output_dir": str(tmp_path),
            "teacher_base": 2,
            "vit_img_size": 32,
            "vit_hidden": 16,
            "vit_heads": 2,
        },
    )
    train.initialize()
    train.run()
    train.finalize()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    told = max((row["metrics"] for row in rows), key=lambda metrics: metrics["val_mean_dice"])
    run = workflow("evaluate", "brats_seg_kd", tmp_path, section="validation", **settings)
    run.run()
    summary = json.loads((tmp_path / "evaluation" / "summary.json").read_text(encoding="utf-8"))
    compared = 0
    for region, part in summary["per_region"].items():
        # a region that no case has does not count in the one, and is 0 or 1 in the other
        if part["lesions"]["n_lesions"] + part["lesions"]["n_ignored"] > 0:
            dice = part["overall"]["dice"]["slice_mean"]
            assert dice == pytest.approx(told[f"val_dice_{region}"], abs=1e-4)
            compared += dice > 0
    assert compared
    assert list(summary["calibration"]["of"]) == ["TC", "WT", "ET"]
    assert "10 mm" in summary["calibration"]["counted"] and summary["calibration"]["of"]["WT"]["pixels"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("release", ["2023", "2018"])
def test_a_real_case(shared_data, tmp_path, release):
    """Labels of both conventions, on the grid of their files."""
    from ckdmed.data.brats import build_brats_datalist, select_brats_items

    folder = shared_data / f"brats{release}"
    if not folder.is_dir():
        pytest.skip(f"real data absent: {folder}")
    run = evaluation(tmp_path / "out", image_size=240)
    datalist, skipped = build_brats_datalist(folder, progress=False, fractions=(1.0, 0.0, 0.0))
    assert not skipped
    items = [item for name in ("training", "validation", "test") for item in select_brats_items(datalist, folder, name)]
    run.parser["sections"] = {"test": items}
    run.parser.parse(reset=True)
    evaluator = run.parser.get_parsed_content("validate#evaluator")
    evaluator.network = Oracle()
    evaluator.run()
    with open(tmp_path / "out" / "evaluation" / "scores.csv", newline="") as stream:
        rows = {row["region"]: row for row in csv.DictReader(stream)}
    mask = nib.load(items[0]["label"]).get_fdata()
    assert int(rows["ET"]["true_size"]) == (mask == (3 if release == "2023" else 4)).sum() > 0
    assert int(rows["WT"]["true_size"]) == (mask > 0).sum()
    # T2 above the mean of the brain finds the tumour, among other things
    assert float(rows["WT"]["dice"]) > 0.05
