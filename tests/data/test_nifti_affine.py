"""Headers with two affines, or with one that is none."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ckdmed.cli import main
from ckdmed.data.nifti_files import VolumeFileError
from ckdmed.data.slice_files import read_slices
from ckdmed.data.volume_reader import read_volume

AFFINE = np.array([[-2.0, 0, 0, 90], [0, -2, 0, 80], [0, 0, 6, -20], [0, 0, 0, 1]])


def turned(degrees: float) -> np.ndarray:
    """AFFINE as a registration may have turned the head, about the patient's left-right axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]]) @ AFFINE


def written(path: Path, sform: np.ndarray | None, qform: np.ndarray | None, shape: tuple[int, ...] = (8, 9, 4)) -> Path:
    values = np.random.default_rng(0).integers(1, 200, shape).astype(np.int16)
    image = nib.Nifti1Image(values, AFFINE)
    for form, put in ((sform, image.set_sform), (qform, image.set_qform)):
        put(AFFINE if form is None else form, 0 if form is None else 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


@pytest.mark.parametrize(
    ("qform", "told"),
    [
        (
            AFFINE * [[-1], [1], [1], [1]],
            "the directions of an axis differ by 180 degrees, so left and right are in doubt",
        ),
        (AFFINE * [[-1], [-1], [1], [1]], "an axis differ by 180 degrees"),
        (turned(90), "an axis differ by 90 degrees"),
        (AFFINE @ np.diag([1, 1, 0.5, 1]), "voxels measure 2 x 2 x 6 in one and 2 x 2 x 3 in the other"),
    ],
    ids=["mirrored", "counted from the other sides", "a quarter turn", "half the distance of slices"],
)
def test_two_affines_that_contradict_each_other_are_refused(tmp_path: Path, qform: np.ndarray, told: str) -> None:
    path = written(tmp_path / "a.nii.gz", AFFINE, qform)
    for read in (read_slices, read_volume):
        with pytest.raises(ValueError, match=f"a.nii.gz: its sform and its qform contradict each other: .*{told}"):
            read(path)


@pytest.mark.parametrize("qform", [AFFINE, turned(25), AFFINE + np.diag([0, 0, 0.01, 0]), None])
def test_the_sform_counts_beside_a_qform_that_a_registration_left(tmp_path: Path, qform: np.ndarray | None) -> None:
    assert np.allclose(read_volume(written(tmp_path / "a.nii.gz", AFFINE, qform))[1], AFFINE)


def test_a_single_slice_has_no_distance_that_could_differ(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nii.gz", AFFINE, AFFINE, (8, 9))
    assert np.allclose(read_slices(path)[1].affine, AFFINE)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0])
def test_an_affine_that_is_none_costs_its_own_case_alone(
    tmp_path: Path, value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    for case in ("A", "B"):
        for modality in ("t1", "flair"):
            written(tmp_path / f"in/{case}/{case}_{modality}.nii", AFFINE, None, (24, 24, 24))
    path = tmp_path / "in/A/A_t1.nii"
    content = bytearray(path.read_bytes())
    # srow_x
    content[280:284] = np.float32(value).tobytes()
    path.write_bytes(content)
    with pytest.raises(VolumeFileError, match="A_t1.nii: its affine .* is not finite or cannot be inverted"):
        read_volume(path)
    status = main(["prepare", str(tmp_path / "in"), "--output_dir", str(tmp_path / "out"), "--no-picture", "--quiet"])
    assert status and (tmp_path / "out/B").is_dir() and not (tmp_path / "out/A").exists()
    assert "A_t1.nii: its affine" in capsys.readouterr().out
