"""Inference of the BraTS bundles from every kind of case, each in its own geometry, with bad cases named."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from skimage.io import imread

from ckdmed.bundle.errors import root_cause
from ckdmed.bundle.trained import reads_record
from ckdmed.data.phantoms import write_brats_phantoms
from ckdmed.labels import brats_labels
from tests.bundle.brats_runs import BUNDLES, ROOT, infer, workflow, write_checkpoint
from tests.data.dicom_phantom import write_series

pytestmark = pytest.mark.bundle
MODALITIES = ("t1n", "t1c", "t2w", "t2f")
SHAPE = (40, 40, 20)


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {bundle: write_checkpoint(folder / f"{bundle}.pt", bundle) for bundle in BUNDLES}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> dict[str, nib.Nifti1Image]:
    """One patient's four images."""
    folder = tmp_path_factory.mktemp("phantom")
    write_brats_phantoms(folder, 1, SHAPE, progress=False)
    (case,) = (path for path in folder.iterdir() if path.is_dir())
    return {m: nib.load(case / f"{case.name}-{m}.nii.gz") for m in MODALITIES}


def write_case(folder: Path, images: dict[str, nib.Nifti1Image], names: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for modality, name in names.items():
        nib.save(images[modality], folder / name)
    return folder


def brats2023(folder: Path, images: dict[str, nib.Nifti1Image], case: str = "BraTS-GLI-00001-000") -> Path:
    return write_case(folder / case, images, {m: f"{case}-{m}.nii.gz" for m in MODALITIES})


def brats2018(folder: Path, images: dict[str, nib.Nifti1Image], case: str = "Brats18_ABC_1_1") -> Path:
    names = dict(zip(MODALITIES, ("t1", "t1ce", "t2", "flair")))
    return write_case(folder / case, images, {m: f"{case}_{name}.nii.gz" for m, name in names.items()})


class Layers(torch.nn.Module):
    """TC, WT and ET by thresholds of the T2-FLAIR's z-score, so that what is right can be had from the files."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        levels = torch.tensor([0.8, 0.3, 1.5]).reshape(1, 3, *[1] * (x.ndim - 2))
        return (x[:, 3:4] - levels) * 50


def layered(out: Path, source: Path | None, checkpoint: str, **settings: Any) -> int:
    """Run the inference with `Layers` in the place of the network."""
    run = workflow(
        "inference", "brats_seg_kd", out, dataset_dir=source and str(source), checkpoint=checkpoint, **settings
    )
    run.parser.get_parsed_content("evaluator").network = Layers()
    run.run()
    try:
        run.finalize()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def expected_mask(image: nib.Nifti1Image, release: int | str) -> np.ndarray:
    values = image.get_fdata()
    brain = values != 0
    score = np.where(brain, (values - values[brain].mean()) / values[brain].std(), 0)
    return brats_labels(release).from_regions(np.stack([score >= level for level in (0.8, 0.3, 1.5)]))


def read_mask(out: Path, case: str) -> tuple[np.ndarray, nib.Nifti1Image]:
    image = nib.load(out / f"{case}_seg.nii.gz")
    return np.asarray(image.dataobj), image


@pytest.mark.parametrize("bundle", BUNDLES)
def test_phantoms_where_nothing_is_given(tmp_path, checkpoints, bundle):
    report, status = infer(tmp_path / "out", bundle, checkpoint=checkpoints[bundle], probabilities=True)
    # the phantoms' masks and their list
    assert status == 0 and report["counts"] == {"done": 2, "kept": 0, "skipped": 0, "ignored": 3}
    case = report["results"][0]["name"]
    assert report["results"][0]["outputs"] == [
        f"{case}_seg.nii.gz",
        *(f"{case}_probability_{region}.nii.gz" for region in ("TC", "WT", "ET")),
        f"{case}_overlay.png",
    ]
    mask, image = read_mask(tmp_path / "out", case)
    source = nib.load(report["results"][0]["input"][0])
    assert mask.shape == source.shape and np.array_equal(image.affine, source.affine)
    assert image.get_data_dtype() == np.uint8 and set(np.unique(mask)) <= {0, 1, 2, 3}
    voxel_ml = abs(np.linalg.det(image.affine[:3, :3])) / 1000
    volumes = report["results"][0]["volume_ml"]
    assert set(volumes) == {"TC", "WT", "ET"} and abs(volumes["ET"] - (mask == 3).sum() * voxel_ml) < 1e-3
    wt = np.asarray(nib.load(tmp_path / "out" / f"{case}_probability_WT.nii.gz").dataobj)
    assert wt.dtype == np.float32 and wt.shape == mask.shape and 0 <= wt.min() < wt.max() <= 1
    assert imread(tmp_path / "out" / f"{case}_overlay.png").shape[2] == 3


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_masks_have_the_geometry_and_the_labels_of_their_input(tmp_path, phantom, spatial_dims):
    """2023 (enhancing 3) and 2018 (4), stored in several orientations: voxel by voxel what the files say."""
    source, out = tmp_path / "in", tmp_path / "out"
    turned = {m: image.as_reoriented([[2, 1], [0, -1], [1, 1]]) for m, image in phantom.items()}
    assert turned["t1n"].shape != phantom["t1n"].shape
    brats2023(source, phantom)
    brats2023(source, turned, "BraTS-MET-00002-000")
    settings = {"spatial_dims": spatial_dims, "image_size": 40}
    checkpoint = write_checkpoint(tmp_path / "m.pt", **settings)
    assert layered(out, source, checkpoint, **settings) == 0
    for case, images in (("BraTS-GLI-00001-000", phantom), ("BraTS-MET-00002-000", turned)):
        mask, image = read_mask(out, case)
        assert mask.shape == images["t1n"].shape and np.array_equal(image.affine, images["t1n"].affine)
        right = expected_mask(images["t2f"], 2023)
        if spatial_dims == 3:
            assert np.array_equal(mask, right)
        assert np.mean(mask != right) < 0.02 and set(np.unique(mask)) == {0, 1, 2, 3}
    old, first = tmp_path / "old", read_mask(out, "BraTS-GLI-00001-000")[0]
    for release, labels, values in (
        (None, None, {1: 1, 2: 2, 3: 4}),
        (2023, None, {}),
        (None, [7, 8, 9], {1: 7, 2: 8, 3: 9}),
    ):
        shutil.rmtree(old, ignore_errors=True)
        brats2018(old, phantom)
        other = tmp_path / f"labels {'-'.join(map(str, values.values()))}"
        assert layered(other, old, checkpoint, release=release, labels=labels, **settings) == 0
        mask, _ = read_mask(other, "Brats18_ABC_1_1")
        assert np.array_equal(mask, np.vectorize(lambda v, values=values: values.get(v, v))(first))


def test_a_single_case_folder_files_named_by_modality_and_task01(tmp_path, checkpoints, phantom):
    plain = write_case(tmp_path / "P7", phantom, {m: f"{m}.nii.gz" for m in MODALITIES})
    assert layered(tmp_path / "a", plain, checkpoints["brats_seg_kd"]) == 0
    case = brats2023(tmp_path / "cases", phantom)
    assert layered(tmp_path / "b", case, checkpoints["brats_seg_kd"]) == 0
    order = ("t2f", "t1n", "t1c", "t2w")
    stack = np.stack([np.asarray(phantom[m].dataobj) for m in order], axis=-1).astype(np.int16)
    (tmp_path / "task" / "imagesTr").mkdir(parents=True)
    nib.save(nib.Nifti1Image(stack, phantom["t1n"].affine), tmp_path / "task" / "imagesTr" / "BRATS_003.nii.gz")
    assert layered(tmp_path / "c", tmp_path / "task", checkpoints["brats_seg_kd"]) == 0
    masks = [read_mask(tmp_path / folder, name)[0] for folder, name in zip("abc", ("P7", case.name, "BRATS_003"))]
    assert masks[0].shape == masks[2].shape == SHAPE and np.array_equal(masks[0], masks[1])
    # Task01 numbers core 2 and oedema 1
    swapped = np.select([masks[1] == 1, masks[1] == 2], [2, 1], masks[1].astype(int))
    assert np.array_equal(masks[2], swapped)


def test_series_on_grids_of_their_own(tmp_path, phantom):
    """The mask lies on the reference's grid, wherever the others lie, and shows what the T2-FLAIR shows there."""
    images = dict(phantom)
    coarse = phantom["t1c"].affine @ np.diag([1.0, 1, 2, 1])
    images["t1c"] = nib.Nifti1Image(np.asarray(phantom["t1c"].dataobj)[:, :, ::2], coarse)
    names = {"t1n": "x_t1.nii.gz", "t1c": "x_t1ce.nii.gz", "t2w": "x_t2.nii.gz", "t2f": "x_flair.nii.gz"}
    write_case(tmp_path / "in", images, names)
    checkpoint = write_checkpoint(tmp_path / "m.pt", image_size=40)
    for reference in (None, "t1c"):
        out = tmp_path / f"out-{reference}"
        assert layered(out, tmp_path / "in", checkpoint, reference=reference, image_size=40) == 0
        mask, image = read_mask(out, "x")
        grid = images[reference or "t1n"]
        assert mask.shape == grid.shape and np.array_equal(image.affine, grid.affine)
        right = expected_mask(images["t2f"], 2023)
        assert np.mean(mask != (right if reference is None else right[:, :, ::2])) < 0.05


def test_dicom_series_in_folders_named_by_modality(tmp_path, checkpoints):
    rng = np.random.default_rng(0)
    head = np.zeros((30, 28, 8), np.int16)
    head[4:26, 5:24] = 300
    for name in ("t1w", "t1c", "t2", "flair"):
        write_series(tmp_path / "in" / "P1" / name, head + rng.integers(0, 60, head.shape).astype(np.int16))
    report, status = infer(tmp_path / "out", dataset_dir=str(tmp_path / "in"), checkpoint=checkpoints["brats_seg_kd"])
    assert status == 0 and [entry["name"] for entry in report["results"]] == ["P1"]
    mask, image = read_mask(tmp_path / "out", "P1")
    expected = np.array([[-0.8, 0, 0, 10], [0, -0.9, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]])
    assert mask.shape == (30, 28, 8) and np.allclose(image.affine, expected, atol=1e-5)
    # one modality is enough for a network of one
    only = write_checkpoint(tmp_path / "one.pt", modalities=["t1n"])
    shutil.rmtree(tmp_path / "in" / "P1" / "flair")
    report, status = infer(tmp_path / "o", dataset_dir=str(tmp_path / "in"), checkpoint=only, modalities=["t1n"])
    assert status == 0 and read_mask(tmp_path / "o", "P1")[0].shape == (30, 28, 8)


def test_bad_cases_are_named_and_the_others_done(tmp_path, checkpoints, phantom):
    source, out = tmp_path / "in", tmp_path / "out"
    good = brats2023(source, phantom)
    lacking = brats2023(source, phantom, "BraTS-GLI-00002-000")
    (lacking / f"{lacking.name}-t2w.nii.gz").unlink()
    shifted = brats2023(source, phantom, "BraTS-GLI-00003-000")
    moved = phantom["t1c"].affine + np.array([[0, 0, 0, 9.0], *[[0] * 4] * 3])
    nib.save(nib.Nifti1Image(np.asarray(phantom["t1c"].dataobj), moved), shifted / f"{shifted.name}-t1c.nii.gz")
    cut = brats2023(source, phantom, "BraTS-GLI-00004-000")
    whole = (cut / f"{cut.name}-t2f.nii.gz").read_bytes()
    (cut / f"{cut.name}-t2f.nii.gz").write_bytes(whole[: len(whole) // 2])
    report, status = infer(out, dataset_dir=str(source), checkpoint=checkpoints["brats_seg_kd"])
    assert status == 3 and report["counts"] == {"done": 1, "kept": 0, "skipped": 3, "ignored": 0}
    assert [entry["name"] for entry in report["results"]] == [good.name]
    with open(out / "skipped.csv", newline="") as stream:
        causes = {Path(row["file"]).name: row["cause"] for row in csv.DictReader(stream)}
    told = " | ".join(causes.values())
    assert "BraTS-GLI-00002-000" in told and "missing: t2w" in told
    assert "the affine of BraTS-GLI-00003-000-t1c.nii.gz is [" in told and "corners lie up to 9.0 mm apart" in told
    assert "BraTS-GLI-00004-000-t2f.nii.gz: truncated or damaged" in told


def test_resume(tmp_path, checkpoints, phantom):
    source, out = tmp_path / "in", tmp_path / "in" / "out"  # results inside the inputs' folder are no inputs
    for number in range(3):
        brats2018(source, phantom, f"Brats18_ABC_{number}_1")
    settings = {"dataset_dir": str(source), "checkpoint": checkpoints["brats_seg_kd"]}
    infer(out, **settings)
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}
    (out / "Brats18_ABC_1_1_seg.nii.gz").unlink()
    report, status = infer(out, resume=True, **settings)
    assert status == 0 and report["counts"] == {"done": 1, "kept": 2, "skipped": 0, "ignored": 0}
    changed = {path.name for path in out.glob("*.nii.gz") if times[path.name] != path.stat().st_mtime_ns}
    assert changed == {"Brats18_ABC_1_1_seg.nii.gz"}
    assert infer(out, resume=True, **settings)[0]["counts"]["kept"] == 3
    assert infer(out, resume=True, **settings, labels=[1, 2, 3])[0]["counts"]["done"] == 3
    nib.save(phantom["t1c"], source / "Brats18_ABC_2_1" / "Brats18_ABC_2_1_flair.nii.gz")
    assert infer(out, resume=True, **settings, labels=[1, 2, 3])[0]["counts"]["done"] == 1


def test_a_datalist(tmp_path, checkpoints, phantom):
    from ckdmed.data.brats import build_brats_datalist, write_brats_datalist

    for number in range(5):
        # copies of one patient's images would be taken as one patient
        own = {name: nib.Nifti1Image(image.get_fdata() + number, image.affine) for name, image in phantom.items()}
        brats2023(tmp_path / "in", own, f"BraTS-GLI-{number:05d}-000")
    datalist, _ = build_brats_datalist(tmp_path / "in", require_label=False, fractions=(0.6, 0.2, 0.2), progress=False)
    path = write_brats_datalist(datalist, tmp_path / "in" / "datalist.json")
    settings = {"dataset_dir": str(path), "checkpoint": checkpoints["brats_seg_kd"]}
    for section in ("test", "training"):
        report, _ = infer(tmp_path / section, section=section, **settings)
        assert {e["name"] for e in report["results"]} == {item["case"] for item in datalist[section]} != set()


def test_one_file_for_a_network_of_one_modality(tmp_path, phantom):
    only = write_checkpoint(tmp_path / "one.pt", modalities=["t1c"])
    settings = {"checkpoint": only, "modalities": ["t1c"]}
    case = brats2018(tmp_path / "in", phantom)
    nib.save(phantom["t1c"], tmp_path / "scan.nii.gz")
    for file, name in ((case / f"{case.name}_t1ce.nii.gz", case.name), (tmp_path / "scan.nii.gz", "scan")):
        report, status = infer(tmp_path / "out", dataset_dir=str(file), **settings)
        assert status == 0 and [entry["name"] for entry in report["results"]] == [name]
        assert read_mask(tmp_path / "out", name)[0].shape == SHAPE


def test_what_is_wrong_is_said_at_once(tmp_path, checkpoints, phantom):
    brats2023(tmp_path / "in", phantom)
    given = {"dataset_dir": str(tmp_path / "in"), "checkpoint": checkpoints["brats_seg_kd"]}
    for settings, message in (
        ({"student_base": 4}, "was trained with 2. Leave them out"),
        (
            {"labels": [1, 2, 2]},
            "labels must be a list of 3 different numbers, each a whole number of at least 1 and of at most 255",
        ),
        ({"reference": "adc"}, "reference must be one of t1n, t1c, t2w, t2f or null, got 'adc'"),
        ({"release": 1999}, "release must be null or one of decathlon or a whole number of at least 2017"),
        ({"dataset_dir": __file__}, "a network of t1n, t1c, t2w, t2f needs a folder"),
        ({"dataset_dir": str(tmp_path)}, "output_dir is the folder of the inputs"),
        ({"modalities": ["t1n", "adc"]}, "each one of t1n, t1c, t2w, t2f, got ['t1n', 'adc']"),
    ):
        out = tmp_path if settings.get("dataset_dir") == str(tmp_path) else tmp_path / "out"
        with pytest.raises(Exception) as caught:
            infer(out, **{**given, **settings})
        seen, error = [], caught.value
        while error is not None:
            seen.append(str(error))
            error = error.__cause__
        assert any(message in text for text in seen), (settings, seen)


@pytest.mark.parametrize("bundle", BUNDLES)
def test_the_network_is_that_of_the_training(bundle):
    train, inference = (
        json.loads((ROOT / "bundles" / bundle / name).read_text(encoding="utf-8"))
        for name in ("train.json", "inference.json")
    )
    own = (
        "dataset_dir",
        "output_dir",
        "bundle_root",
        "batch_size",
        "resume",
        "imports",
        "save_execute_config",
        "initialize",
        "run",
        "finalize",
    )
    shared = {name for name in train.keys() & inference.keys() if name not in own and not isinstance(train[name], dict)}
    assert shared >= {"spatial_dims", "modalities", "neighbours", "image_size", "roi_size", "sw_overlap", "in_channels"}
    shared -= {"network", "preprocessing", "inferer"}
    # what the network and its images depend on comes from the record of the training
    recorded = {name for name in shared if reads_record(inference[name])}
    assert recorded >= {"spatial_dims", "modalities", "neighbours", "image_size", "roi_size"}
    assert {name: train[name] for name in shared - recorded} == {name: inference[name] for name in shared - recorded}
    assert inference["network_def"] == {
        k: v for k, v in train["network_def"].items() if k not in ("vit_weights", "weights")
    }


@pytest.mark.parametrize("bundle", BUNDLES)
def test_monais_checks(tmp_path, checkpoints, bundle):
    run = workflow("inference", bundle, tmp_path / "out", checkpoint=checkpoints[bundle])
    assert isinstance(run, ConfigWorkflow) and run.check_properties() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "case", "reference", "labels"),
    [
        ("brats2023", "BraTS-GLI-00001-000", None, {0, 1, 2, 3}),
        ("brats2018", "Brats18_TCIA05_396_1", None, {0, 1, 2, 4}),
        ("native", "TCGA-FG-6692", None, {0, 1, 2, 3}),
        ("native", "TCGA-FG-6692", "t1c", {0, 1, 2, 3}),
    ],
)
def test_real_cases(shared_data, tmp_path, checkpoints, folder, case, reference, labels):
    if not (shared_data / folder).is_dir():
        pytest.skip(f"real data absent: {shared_data / folder}")
    checkpoint, settings = write_checkpoint(tmp_path / "m.pt", image_size=64), {
        "reference": reference,
        "image_size": 64,
    }
    status = layered(tmp_path / "out", shared_data / folder, checkpoint, **settings)
    assert status == 0
    mask, image = read_mask(tmp_path / "out", case)
    (source,) = (
        path
        for path in (shared_data / folder).rglob(f"{case}*.nii.gz")
        if path.name.lower().endswith(tuple(f"{mark}{end}.nii.gz" for mark in "-_" for end in _ends(reference)))
    )
    original = nib.load(source)
    assert mask.shape == original.shape and np.array_equal(image.affine, original.affine)
    assert set(np.unique(mask)) == labels


def _ends(reference: str | None) -> tuple[str, ...]:
    return ("t1n", "t1") if reference is None else (reference,)


@pytest.mark.slow
def test_a_real_dicom_series(shared_data, tmp_path):
    source = shared_data / "dicom"
    if not source.is_dir():
        pytest.skip(f"real data absent: {source}")
    one = write_checkpoint(tmp_path / "one.pt", modalities=["t1n"])
    report, status = infer(tmp_path / "out", dataset_dir=str(source), checkpoint=one, modalities=["t1n"])
    (entry,) = report["results"]
    mask, image = read_mask(tmp_path / "out", entry["name"])
    assert status == 0 and sorted(mask.shape) == [48, 274, 384]
    assert np.allclose(sorted(np.linalg.norm(image.affine[:3, :3], axis=0)), [0.667, 0.667, 0.7], atol=0.001)
    # a network of four modalities cannot use it
    with pytest.raises(RuntimeError) as raised:
        infer(tmp_path / "o", dataset_dir=str(source), checkpoint=write_checkpoint(tmp_path / "four.pt"))
    assert "missing: t1c, t2w, t2f (found: t1n)). Set modalities to what it was" in str(root_cause(raised.value))
