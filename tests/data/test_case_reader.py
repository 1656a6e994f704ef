"""Images on different grids come together by their affines."""

from __future__ import annotations

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import LoadImage
from pydicom import dcmread

from ckdmed.data.brats import VolumeFileError
from ckdmed.data.case_reader import REFERENCE_KEY, CaseReader
from tests.data.dicom_phantom import write_series
from tests.dicom_results.mr_series import write_mr_series


def save(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def world(shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """x + 2 y + 3 z in millimetres: linear, so that linear interpolation is exact."""
    index = np.stack([*np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), np.ones(shape)])
    x, y, z, _ = np.einsum("ij,jklm->iklm", affine, index)
    return np.asarray(100 + x + 2 * y + 3 * z, np.float32)


FIRST = np.array([[-2.0, 0, 0, 30], [0, -2, 0, 28], [0, 0, 3, -9], [0, 0, 0, 1]])
# of another orientation, spacing and field of view, which holds that of the first
SECOND = np.array([[0, 0, 1.5, -30], [1.5, 0, 0, -30], [0, 1.5, 0, -30], [0, 0, 0, 1]])


def test_images_come_to_the_grid_of_the_reference(tmp_path):
    a = save(tmp_path / "a.nii.gz", world((20, 18, 6), FIRST), FIRST)
    b = save(tmp_path / "b.nii.gz", world((50, 50, 50), SECOND), SECOND)
    image = LoadImage(CaseReader(), image_only=True, ensure_channel_first=True)([a, b])
    assert image.shape == (2, 20, 18, 6) and np.allclose(image.affine, FIRST)
    assert np.allclose(image[0], image[1], atol=1e-3) and image.meta[REFERENCE_KEY] == str(a)
    other = LoadImage(CaseReader("t1c", ["t1n", "t1c"]), image_only=True, ensure_channel_first=True)([a, b])
    assert other.shape == (2, 50, 50, 50) and np.allclose(other.affine, SECOND)
    assert other.meta[REFERENCE_KEY] == str(b)
    reached = other[0] != 0  # the first does not fill the second's grid
    assert 0.05 < reached.float().mean() < 0.9
    inner = other[0] > 60
    assert np.median(np.abs((other[0] - other[1])[inner])) < 1e-3


def test_one_grid_is_not_interpolated(tmp_path):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(6, 5, 4)).astype(np.float32) for _ in range(2)]
    shifted = FIRST.copy()
    shifted[0, 3] += 0.05
    paths = [save(tmp_path / "a.nii", arrays[0], FIRST), save(tmp_path / "b.nii", arrays[1], shifted)]
    values, meta = CaseReader().get_data(paths)
    assert np.array_equal(values, np.stack(arrays)) and np.array_equal(meta["affine"], nib.load(paths[0]).affine)


@pytest.mark.parametrize("nameless", [0, 1])
def test_an_image_that_does_not_say_where_it_lies_is_not_laid_anywhere(tmp_path, nameless):
    volumes = [world((20, 18, 6), FIRST), world((20, 18, 6), FIRST)]
    paths = [save(tmp_path / f"{k}.nii.gz", volume, FIRST) for k, volume in enumerate(volumes)]
    image = nib.Nifti1Image(volumes[nameless], None)
    nib.save(image, paths[nameless])
    with pytest.raises(
        VolumeFileError, match=rf"{nameless}.nii.gz: has no orientation .*, so left and right are unknown"
    ):
        CaseReader().get_data(paths)
    # with none that says it they lie on one grid
    nib.save(image, paths[1 - nameless])
    assert CaseReader().get_data(paths)[0].shape == (2, 20, 18, 6)


def test_dicom_and_nifti_together(tmp_path):
    affine = np.array([[-0.8, 0, 0, 10], [0, -0.9, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]])
    volume = np.rint(world((12, 10, 5), affine)).astype(np.int16)
    write_series(tmp_path / "t1w", volume)
    b = save(tmp_path / "b.nii.gz", world((60, 60, 60), SECOND), SECOND)
    values, _ = CaseReader(reference=0).get_data([tmp_path / "t1w", b])
    assert np.array_equal(values[0], volume)
    inside = values[1] > 0
    assert inside.any() and np.abs(values[0] - values[1])[inside].max() < 6


def of_frame(folder: Path, frame: str, date: str) -> None:
    for file in folder.iterdir():
        image = dcmread(file)
        image.FrameOfReferenceUID, image.StudyDate = frame, date
        image.save_as(file)


def test_series_of_two_patients_are_no_case(tmp_path):
    volume = world((20, 18, 6), FIRST).astype(np.int16)
    for name, patient in (("a", "P1"), ("b", "p1 "), ("c", ""), ("d", "P2")):
        write_mr_series(tmp_path / name, volume, patient=patient)
        of_frame(tmp_path / name, "1.2.3", "20260102")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CaseReader().check([tmp_path / name for name in "abc"])
    for read in (CaseReader().check, CaseReader().get_data):
        with pytest.raises(VolumeFileError, match="d: is of the patient 'P2' by its Patient ID .* but .*a of 'P1'"):
            read([tmp_path / name for name in "acd"])


def test_series_of_two_frames_of_reference_are_told(tmp_path):
    volume = world((20, 18, 6), FIRST).astype(np.int16)
    for name, frame, date in (("a", "1.2.3", "20260102"), ("b", "1.2.4", "20260305")):
        write_mr_series(tmp_path / name, volume)
        of_frame(tmp_path / name, frame, date)
    told = "b has another frame of reference than .*a .studies of 20260305 and 20260102.*--coregister"
    with pytest.warns(UserWarning, match=told):
        CaseReader().check([tmp_path / "a", tmp_path / "b"])


def test_one_file_of_four_channels(tmp_path):
    array = np.random.default_rng(0).normal(size=(6, 5, 4, 4)).astype(np.float32)
    path = save(tmp_path / "BRATS_001.nii.gz", array, FIRST)
    image = LoadImage(CaseReader(reference=2), image_only=True, ensure_channel_first=True)([path])
    assert image.shape == (4, 6, 5, 4) and np.allclose(image[2], array[..., 2])


def test_what_cannot_be_brought_together(tmp_path):
    far = FIRST.copy()
    far[2, 3] = 500
    a = save(tmp_path / "a.nii", world((6, 5, 4), FIRST), FIRST)
    b = save(tmp_path / "b.nii", world((6, 5, 4), far), far)
    for call in (CaseReader().get_data, CaseReader().check):
        with pytest.raises(VolumeFileError, match="b.nii: lies wholly outside a.nii according to their affines"):
            call([a, b])
    with pytest.raises(VolumeFileError, match=r"c.nii: is constant \(3 everywhere\)"):
        CaseReader().check([a, save(tmp_path / "c.nii", np.full((6, 5, 4), 3, np.int16), FIRST)])
    with pytest.raises(VolumeFileError, match=r"d.nii: has shape \(6, 5, 1\)"):
        CaseReader().check([a, save(tmp_path / "d.nii", world((6, 5, 1), FIRST), FIRST)])
    (tmp_path / "e.nii").write_bytes(a.read_bytes()[:400])
    with pytest.raises(VolumeFileError, match="e.nii: truncated or damaged"):
        CaseReader().check([a, tmp_path / "e.nii"])
