"""One series is brought onto another, the fit is judged, and masks find their way back."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from ckdmed.cli import main
from ckdmed.data.volume_reader import read_volume
from ckdmed.preparation.registration import register, resampled
from ckdmed.preparation.registration_files import _grey

AFFINE = np.diag([-2.5, 2.5, 2.5, 1.0])
AFFINE[:3, 3] = [80, -80, -70]


def known(angles: tuple[float, float, float], shift: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


def head(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two contrasts of one made-up head, (64, 64, 56)."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.mgrid[-1:1:64j, -1:1:64j, -1:1:56j])
    radius = np.sqrt((grid[0] / 0.75) ** 2 + (grid[1] / 0.9) ** 2 + (grid[2] / 0.8) ** 2)
    tissue = gaussian_filter(rng.normal(size=radius.shape), 3)
    tissue = np.digitize(tissue / tissue.std(), [-0.7, 0.7])
    first = np.where(radius < 0.9, np.array([60.0, 100, 140])[tissue], 0) + np.where(abs(radius - 0.95) < 0.05, 180, 0)
    second = np.where(radius < 0.9, np.array([150.0, 90, 70])[tissue], 0) + np.where(abs(radius - 0.95) < 0.05, 40, 0)
    return tuple((one + rng.normal(0, 2, one.shape)).astype(np.float32) for one in (first, second))  # type: ignore


def apart(found: np.ndarray, wanted: np.ndarray, volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """How far places of the head lie from where they belong, millimetres."""
    places = np.argwhere(volume > volume.mean())[::200]
    moved = np.c_[places, np.ones(len(places))] @ affine.T @ (found @ np.linalg.inv(wanted)).T
    return np.asarray(np.linalg.norm((moved - np.c_[places, np.ones(len(places))] @ affine.T)[:, :3], axis=1))


@pytest.mark.slow
def test_a_known_transform_is_recovered_and_another_head_refused() -> None:
    first, second = head(0)
    away = known((5, -4, 7), (6, -5, 4))
    fit = register((first, AFFINE), (second, away @ AFFINE))
    assert apart(fit.matrix, np.linalg.inv(away), first, AFFINE).max() < 0.5 * 2.5 and fit.inner > 0.3
    assert fit.after > 2 * fit.before and fit.misfit == "" and fit.overlap > 0.95
    again = register((first, AFFINE), (second, away @ AFFINE))
    assert np.array_equal(again.matrix, fit.matrix)
    stranger = register((first, AFFINE), (head(1)[1], away @ AFFINE))
    assert "of their information" in stranger.misfit


def test_prepare_registers_and_a_mask_goes_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = head(0)
    away = known((4, 3, -6), (5, 4, -3))
    (tmp_path / "in").mkdir()
    for name, volume, affine in (("t1ce", first, AFFINE), ("flair", second, away @ AFFINE)):
        nib.save(nib.Nifti1Image(volume, affine), tmp_path / f"in/p_{name}.nii.gz")
    given = [str(tmp_path / "in"), "--coregister", "t1ce", "--output_dir", str(tmp_path / "out")]
    assert main(["prepare", *given, "--keep-spacing", "--quiet"]) == 0
    assert "t2f was turned by" in capsys.readouterr().out
    case = tmp_path / "out/p"
    names = {path.name for path in case.iterdir()}
    assert {"checkerboard.png", "t2f-to-t1c.tfm", "t1c-to-t2f.tfm"} <= names
    # a ball that was drawn on the prepared t1c is where it belongs in the original flair
    image = nib.load(case / "p-t1c.nii.gz")
    centre = np.array(image.shape) // 2
    grid = np.stack(np.mgrid[tuple(slice(n) for n in image.shape)], -1)
    ball = (np.linalg.norm(grid - centre, axis=-1) < 8).astype(np.uint8)
    nib.save(nib.Nifti1Image(ball, image.affine), tmp_path / "ball.nii.gz")
    back = tmp_path / "back.nii.gz"
    arguments = ["restore-mask", str(case), str(tmp_path / "ball.nii.gz"), "--modality", "t2f", "--output", str(back)]
    assert main(arguments) == 0
    restored = nib.load(back)
    assert restored.shape == second.shape and np.allclose(restored.affine, away @ AFFINE, atol=1e-4)
    place = (restored.affine @ [*np.argwhere(restored.get_fdata() > 0).mean(0), 1])[:3]
    assert np.linalg.norm(place - (away @ image.affine @ [*centre, 1])[:3]) < 1.5
    assert abs(restored.get_fdata().sum() / ball.sum() - 1) < 0.1


@pytest.mark.slow
def test_images_of_one_grid_that_does_not_say_where_it_lies_are_registered(tmp_path: Path) -> None:
    first, second = head(0)
    (tmp_path / "in").mkdir()
    for name, volume in (("t1ce", first), ("flair", np.roll(second, 2, axis=0))):
        image = nib.Nifti1Image(volume, None)
        image.header.set_zooms((2.5, 2.5, 2.5))
        nib.save(image, tmp_path / f"in/p_{name}.nii.gz")
    given = [str(tmp_path / "in"), "--coregister", "t1ce", "--output_dir", str(tmp_path / "out")]
    assert main(["prepare", *given, "--keep-spacing", "--quiet"]) == 0


@pytest.mark.slow
def test_prepare_refuses_series_of_two_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    # BraTS's names say that images lie on one grid; these do not, and are to be brought there
    for name, volume, affine in (
        ("t1c", head(0)[0], AFFINE),
        ("t2f", head(1)[1], known((4, 3, -6), (5, 4, -3)) @ AFFINE),
    ):
        nib.save(nib.Nifti1Image(volume, affine), tmp_path / f"in/BraTS-GLI-00001-000-{name}.nii.gz")
    given = [str(tmp_path / "in"), "--coregister", "t1ce", "--output_dir", str(tmp_path / "out"), "--quiet"]
    assert main(["prepare", *given, "--modalities", "t1c", "t2f"]) == 1
    said = capsys.readouterr().out
    assert "BraTS-GLI-00001-000-t2f.nii.gz: does not fit BraTS-GLI-00001-000-t1c.nii.gz after registration" in said
    assert not (tmp_path / "out/BraTS-GLI-00001-000").exists()


@pytest.mark.slow
def test_prepare_refuses_series_of_two_real_people(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = {"t1c": shared_data / "native/TCGA-FG-6692_t1c.nii.gz", "t1n": shared_data / "dicom/t1w"}
    given = [part for name, path in images.items() for part in ("--image", f"{name}={path}")]
    arguments = ["prepare", *given, "--coregister", "t1c", "--case", "mixed", "--output_dir", str(tmp_path / "out")]
    assert main([*arguments, "--quiet"]) == 1
    said = capsys.readouterr().out
    assert "t1w: does not fit" in said and "after registration" in said
    assert not (tmp_path / "out/mixed").exists()


def test_fields_show_tissues_beside_bright_fat_and_black_around() -> None:
    head_mask = np.zeros((32, 32), bool)
    head_mask[4:-4, 4:-4] = True
    values = np.where(head_mask, 10.0 + np.arange(32) % 2, -3.0)
    # fat, a hundred times as bright as what the brain's tissues differ by
    values[4:8] = 1000.0
    grey = _grey(values, head_mask)
    assert not grey[~head_mask].any() and grey.max() <= 1
    assert grey[16, 17] - grey[16, 16] > 0.1
    assert not _grey(values, np.zeros((32, 32), bool)).any()


@pytest.mark.slow
def test_known_transforms_of_real_volumes(shared_data: Path) -> None:
    away = known((6, -4, 8), (7, -5, 9))
    for case in ("BraTS2021_00000", "BraTS2021_00002", "BraTS2021_00005"):
        file = next((shared_data / "brats_expert" / case).glob("*t1c.nii.gz"))
        array, affine = read_volume(file)
        # another series of the patient: thick slices, turned and shifted
        thick = np.diag([1.0, 1.0, 3.0, 1.0])
        thick[2, 3] = 1.0
        other = resampled((array, affine), (np.zeros((array.shape[0], array.shape[1], 50)), affine @ thick), np.eye(4))
        fit = register((array, affine), (other, away @ affine @ thick))
        assert fit.misfit == ""
        assert apart(fit.matrix, np.linalg.inv(away), array, affine).max() < 0.5, case


@pytest.mark.slow
def test_series_of_two_real_people_are_refused(shared_data: Path) -> None:
    one = read_volume(shared_data / "native/TCGA-FG-6692_t1c.nii.gz")
    assert register(one, read_volume(shared_data / "native/TCGA-FG-6692_t2.nii.gz")).misfit == ""
    assert register(one, read_volume(shared_data / "dicom/t1w")).misfit
    stripped = next((shared_data / "brats_expert/BraTS2021_00000").glob("*t2f.nii.gz"))
    assert "overlap" in register(one, read_volume(stripped)).misfit


@pytest.mark.slow
def test_shading_is_taken_out() -> None:
    from ckdmed.preparation.shading import without_shading

    first, _ = head(0)
    ramp = np.linspace(0.6, 1.4, 64)[:, None, None]
    even = without_shading(np.clip(first, 0, None) * ramp, AFFINE)
    sides = [np.median(part[(part > 30)]) for part in (even[14:24], even[40:50])]
    assert abs(sides[1] / sides[0] - 1) < 0.15
