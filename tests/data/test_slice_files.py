"""Every kind of file as slices, and every kind of damage as an error that names the file."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged
from skimage.io import imsave

from ckdmed.data.figshare import read_figshare_slice
from ckdmed.data.slice_files import InputFileError, file_kind, read_slices
from ckdmed.data.slice_geometry import SliceGeometry
from ckdmed.data.slice_reader import GEOMETRY_KEY, SliceReader
from tests.data.dicom_phantom import write_series

VOLUME = np.arange(6 * 5 * 4, dtype=np.int16).reshape(6, 5, 4)
GREY = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10


def save_nifti(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def test_mat_needs_no_mask_label_or_patient(make_mat):
    path = make_mat("7.mat", PID=None, label=None, tumorBorder=None, tumorMask=None)
    slices, geometry = read_slices(path)
    assert slices.shape == (1, 16, 32) and slices[0, 1, 0] == 32
    assert geometry.kind == "mat" and geometry.shape == (16, 32)


def test_mat_as_the_training_reads_it(figshare_mat_dir):
    path = sorted(figshare_mat_dir.glob("*.mat"))[0]
    assert np.array_equal(read_slices(path)[0][0], read_figshare_slice(path).image)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti(tmp_path, suffix):
    affine = np.diag([-1.0, -1, 2, 1])
    slices, geometry = read_slices(save_nifti(tmp_path / f"a{suffix}", VOLUME, affine))
    # x to the left and y to the back is the radiological view already
    assert np.array_equal(slices, VOLUME.transpose(2, 1, 0))
    assert np.array_equal(geometry.affine, affine) and geometry.shape == VOLUME.shape


def test_nifti_with_an_axis_of_size_one_behind(tmp_path):
    slices, geometry = read_slices(save_nifti(tmp_path / "a.nii", VOLUME[..., None]))
    assert slices.shape == (4, 5, 6) and geometry.to_array(slices).shape == (6, 5, 4, 1)


def test_a_series_and_its_nifti_give_the_same_slices(tmp_path):
    files = write_series(tmp_path / "s", VOLUME)
    slices, geometry = read_slices(files)
    copy, _ = read_slices(save_nifti(tmp_path / "a.nii", geometry.to_array(slices), np.array(geometry.affine)))
    assert np.array_equal(slices, copy)
    # DICOM's rows and columns are those of the picture
    assert np.array_equal(slices[2], VOLUME[:, :, 2].T)
    assert np.array_equal(read_slices(tmp_path / "s")[0], slices)
    assert np.array_equal(read_slices(files[2])[0][0], slices[2])


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg"])
def test_grey_pictures(tmp_path, suffix):
    imsave(tmp_path / f"a{suffix}", GREY, check_contrast=False)
    slices, _ = read_slices(tmp_path / f"a{suffix}")
    assert slices.shape == (1, 4, 6)
    assert np.abs(slices[0] * 255 - GREY).max() <= (1e-4 if suffix == ".png" else 8)


def test_colour_alpha_and_sixteen_bits(tmp_path):
    colour = np.stack([GREY, GREY // 2, GREY // 4], axis=-1)
    luma = GREY * 0.299 + (GREY // 2) * 0.587 + (GREY // 4) * 0.114
    alpha = np.concatenate([colour, np.full_like(GREY, 9)[..., None]], axis=-1)
    wide = GREY.astype(np.uint16) * 250
    for name, picture, expected in (
        ("rgb", colour, luma / 255),
        ("rgba", alpha, luma / 255),
        ("wide", wide, wide / 65535),
    ):
        imsave(tmp_path / f"{name}.png", picture, check_contrast=False)
        assert np.allclose(read_slices(tmp_path / f"{name}.png")[0][0], expected, atol=1e-6), name


def damaged(folder: Path, make_mat) -> dict[str, tuple[Path, str]]:
    good = make_mat("good.mat").read_bytes()
    png = folder / "good.png"
    imsave(png, np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8), check_contrast=False)
    jpg = folder / "good.jpg"
    imsave(jpg, np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8), check_contrast=False)
    volume = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
    packed = gzip.compress(nib.Nifti1Image(volume, np.eye(4)).to_bytes())
    cases: dict[str, tuple[bytes, str]] = {
        "cut.mat": (good[: len(good) // 2], "truncated"),
        "empty.mat": (b"", "empty"),
        "text.mat": (b"a text file", "not a MATLAB v7.3 file"),
        "v5.mat": (b"MATLAB 5.0 MAT-file".ljust(200), "MATLAB v5"),
        "cut.nii.gz": (packed[: len(packed) // 2], "end-of-stream"),
        "text.nii.gz": (b"a text file", "gzip|work out file type"),
        "text.nii": (b"a text file", "work out file type|header"),
        "empty.nii": (b"", "empty"),
        "cut.png": (png.read_bytes()[:-900], "truncated"),
        "cut.jpg": (jpg.read_bytes()[:-900], "truncated"),
        "text.png": (b"a text file", "not a PNG or JPEG file"),
        "header.png": (png.read_bytes()[:20], "header.png: "),
        "empty.jpg": (b"", "empty"),
        "text.dcm": (b"a text file", "not a DICOM image"),
        "thing.xyz": (b"a text file", "its type cannot be read"),
    }
    for name, (content, _) in cases.items():
        (folder / name).write_bytes(content)
    return {name: (folder / name, cause) for name, (_, cause) in cases.items()}


def test_damage_is_named(tmp_path, make_mat):
    for name, (path, cause) in damaged(tmp_path, make_mat).items():
        with pytest.raises(InputFileError, match=cause) as caught:
            read_slices(path)
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("array", "cause"),
    [
        (np.full((4, 4, 4), np.nan, np.float32), "64 NaN or infinite"),
        (np.full((4, 4, 4), 3, np.int16), "constant"),
        (VOLUME[:1], "4 slices of 5 x 1 pixels.*slice_axis"),
        (np.stack([VOLUME] * 2, axis=-1), "neither a slice nor a volume"),
        (VOLUME.astype(np.complex64), "complex64"),
    ],
)
def test_nifti_that_cannot_be_used(tmp_path, array, cause):
    with pytest.raises(InputFileError, match=f"a.nii: .*{cause}"):
        read_slices(save_nifti(tmp_path / "a.nii", array))


def test_missing_files_and_empty_folders(tmp_path):
    with pytest.raises(InputFileError, match="no such file"):
        read_slices(tmp_path / "x.mat")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputFileError, match="without DICOM files"):
        read_slices(tmp_path / "folder")


def test_kinds(tmp_path):
    names = ["a.mat", "A.MAT", "a.nii.gz", "a.nii", "a.dcm", "a.ima", "a.jpg", "a.jpeg", "a.png", "a.txt", "a"]
    kinds = ["mat", "mat", "nifti", "nifti", "dicom", "dicom", "picture", "picture", "picture", None, None]
    assert [file_kind(tmp_path / name) for name in names] == kinds
    (tmp_path / "1.2.840.113").write_bytes(bytes(128) + b"DICM")
    assert file_kind(tmp_path / "1.2.840.113") == "dicom"


def test_reader_inside_monai(tmp_path):
    path = save_nifti(tmp_path / "a.nii", VOLUME)
    reader = SliceReader("coronal")
    chain = Compose([LoadImaged(keys="image", reader=reader), EnsureChannelFirstd(keys="image")])
    image = chain({"image": str(path)})["image"]
    geometry = SliceGeometry.from_text(image.meta[GEOMETRY_KEY])
    assert tuple(image.shape) == (5, 4, 6)
    assert np.array_equal(geometry.to_array(np.asarray(image)), VOLUME)
    files = write_series(tmp_path / "s", VOLUME)
    assert tuple(chain({"image": [str(file) for file in files]})["image"].shape) == (5, 4, 6)
    assert reader.verify_suffix([str(path)]) and not reader.verify_suffix("a.txt")


def test_reader_hands_the_cause_on_through_load_image(tmp_path):
    (tmp_path / "a.mat").write_bytes(b"")
    with pytest.raises(RuntimeError) as caught:
        Compose([LoadImaged(keys="image", reader=SliceReader())])({"image": str(tmp_path / "a.mat")})
    assert "empty" in str(caught.value.__cause__)


def test_reader_refuses_an_unknown_axis():
    with pytest.raises(ValueError, match="slice_axis must be one of"):
        SliceReader("transversal")
