"""Results of real images: a public series, one slice as Figshare has them, and a clinical series of thick slices."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from ckdmed.cli import main
from ckdmed.data.figshare import read_figshare_slice
from ckdmed.dicom_results import Algorithm, write_results
from ckdmed.metrics.tumour_size import tumour_size
from ckdmed.preparation.registration_files import mask_in_original
from tests.dicom_results.mr_series import write_mr_series
from tests.dicom_results.readers import by_dcmqi, complaints, needs_dciodvfy, placed_masks, report_by_dcmqi

ALGORITHM = Algorithm("seg_kd", "ab" * 32, {"threshold": 0.3})


def _t1w(shared_data, folder):
    files = sorted((shared_data / "dicom" / "t1w").iterdir())[:12]
    mask = np.zeros((274, 384, 12), bool)
    mask[100:130, 150:190, 3:9] = True
    mask[110:120, 160:170, 5] = False
    return files, mask


def _figshare(shared_data, folder):
    found = read_figshare_slice(sorted((shared_data / "figshare_mat").glob("*.mat"))[0])
    image = np.asarray(found.image)
    files = write_mr_series(folder / "mr", image.T[:, :, None].astype(np.int16), spacing=(0.49, 0.49, 6.0))
    return files, np.asarray(found.mask).T[:, :, None] > 0


def _as_dicom(nifti, folder):
    """A NIfTI file as a series; returns its files and its voxels (columns, rows, slices)."""
    image = nib.load(nifti)
    values = np.asarray(image.dataobj, dtype=float)
    lps = np.diag([-1, -1, 1, 1]) @ image.affine
    if np.linalg.det(lps[:3, :3]) < 0:
        # DICOM's normal is that of its rows and columns: the slices run the other way
        values = values[:, :, ::-1]
        lps = lps @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, values.shape[2] - 1], [0, 0, 0, 1.0]])
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    volume = np.round(values / values.max() * 4000).astype(np.int16)
    return write_mr_series(folder, volume, spacing, lps[:3, 3], lps[:3, :3] / spacing), volume


def _native(shared_data, folder):
    files, volume = _as_dicom(shared_data / "native" / "TCGA-FG-6692_t1c.nii.gz", folder / "mr")
    mask = np.zeros(volume.shape, bool)
    mask[tuple(slice(size // 3, size // 2) for size in volume.shape)] = True
    return files, mask & (volume > 200)


@needs_dciodvfy
@pytest.mark.slow
def test_a_mask_of_registered_series_goes_back_to_the_original_one(shared_data, tmp_path):
    originals = {
        name: _as_dicom(shared_data / "native" / f"TCGA-FG-6692_{short}.nii.gz", tmp_path / "patient" / name)[0]
        for name, short in (("t1c", "t1c"), ("t2f", "fla"))
    }
    command = ["prepare", *(f"--image={name}={tmp_path / 'patient' / name}" for name in originals)]
    command += ["--coregister", "t1ce", "--output_dir", str(tmp_path / "prepared"), "--no-picture", "--quiet"]
    assert main([*command, "--case", "case"]) == 0
    prepared = sorted((tmp_path / "prepared" / "case").glob("*t1c*.nii.gz"))[0]
    image = nib.load(prepared)
    drawn = np.zeros(image.shape, np.uint8)
    drawn[tuple(slice(size * 2 // 5, size * 3 // 5) for size in image.shape)] = 1
    nib.save(nib.Nifti1Image(drawn, image.affine), tmp_path / "drawn.nii.gz")
    for name, files in originals.items():
        mask, _, _ = mask_in_original(tmp_path / "prepared" / "case", tmp_path / "drawn.nii.gz", name)
        results = write_results(files, mask, tmp_path / name, algorithm=ALGORITHM)
        assert mask.any() and np.array_equal(placed_masks(results.segmentation, files), mask)
        spacing = np.linalg.norm(image.affine[:3, :3], axis=0)
        assert tumour_size(mask, _spacing(files)).volume_ml == pytest.approx(
            drawn.sum() * spacing.prod() / 1e3, rel=0.05
        )
        assert not any(complaints(path) - complaints(files[0]) for path in results.files)


def _spacing(files):
    first = dcmread(files[0])
    return [*reversed([float(value) for value in first.PixelSpacing]), float(first.SliceThickness)]


@needs_dciodvfy
@pytest.mark.slow
@pytest.mark.parametrize("make", [_t1w, _figshare, _native])
def test_masks_come_back_and_no_error_is_added(shared_data, tmp_path, make):
    files, mask = make(shared_data, tmp_path)
    results = write_results(files, mask, tmp_path / "out", algorithm=ALGORITHM, unintended=["it is another sequence"])
    assert mask.any()
    assert np.array_equal(placed_masks(results.segmentation, files), mask)
    of_source = set().union(*(complaints(file) for file in files))
    for path in results.files:
        assert complaints(path) <= of_source, path.name
    source = dcmread(files[0])
    for path in results.files:
        result = dcmread(path)
        assert (result.PatientID, result.StudyInstanceUID) == (source.PatientID, source.StudyInstanceUID)


@pytest.mark.slow
@pytest.mark.parametrize("make", [_t1w, _figshare, _native])
def test_dcmqi_reads_the_same(shared_data, tmp_path, make):
    files, mask = make(shared_data, tmp_path)
    results = write_results(files, mask, tmp_path / "out", algorithm=ALGORITHM)
    assert np.array_equal(by_dcmqi(results.segmentation, files, tmp_path / "dcmqi"), mask)
    report = report_by_dcmqi(results.report, tmp_path)
    values = {
        item["quantity"]["CodeMeaning"]: float(item["value"])
        for group in report["Measurements"]
        for item in group["measurementItems"]
    }
    size = tumour_size(mask, _spacing(files))
    assert values["Volume"] == pytest.approx(size.volume_ml, rel=1e-3, abs=1e-3)
    assert values["Long axis"] == pytest.approx(size.longest.length_mm, abs=2e-3)
    assert values["Short axis"] == pytest.approx(size.perpendicular.length_mm, abs=2e-3)
    assert report["Measurements"][0]["segmentationSOPInstanceUID"] == dcmread(results.segmentation).SOPInstanceUID
