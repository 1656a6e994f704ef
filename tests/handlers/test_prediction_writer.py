"""Predictions are written on the grid of their inputs, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import EnsureChannelFirst, LoadImage
from PIL import Image
from skimage.io import imread, imsave

from ckdmed.data.case_reader import REFERENCE_KEY
from ckdmed.data.slice_reader import SliceReader
from ckdmed.handlers.case_writer import CaseWriter
from ckdmed.handlers.prediction_writer import PredictionWriter
from ckdmed.handlers.probability_writer import ProbabilityWriter
from ckdmed.research_use import RESEARCH_USE_ONLY
from tests.data.dicom_phantom import write_series

VOLUME = np.arange(6 * 5 * 4, dtype=np.int16).reshape(6, 5, 4)


def predicted(files: Path | list[Path], **item) -> tuple[dict, dict]:
    """An item as the evaluator leaves it; the probability is the image itself, scaled, so that a place can be told."""
    slices = EnsureChannelFirst()(LoadImage(reader=SliceReader(), image_only=True)(files))
    pred = slices.as_tensor() / slices.max()
    return {"slices": slices, **item}, {"probability": pred, "pred": (pred >= 0.5).float()}


def tilted_affine() -> np.ndarray:
    affine = np.diag([-1.0, 1.5, 2, 1])
    affine[:3, 3] = [3.25, -7, 11]
    affine[0, 1] = 0.1
    return affine


@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 5), (6, 5, 4, 1)])
def test_nifti(tmp_path, shape):
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    original = nib.Nifti1Image(array, tilted_affine())
    original.header["descrip"] = b"name of a patient"
    original.header["cal_max"] = 900
    original.header.set_xyzt_units("mm", "sec")
    nib.save(original, tmp_path / "a.nii.gz")
    files = PredictionWriter(str(tmp_path / "out")).write(*predicted(tmp_path / "a.nii.gz"))
    assert files == ["a_mask.nii.gz", "a_probability.nii.gz", "a_overlay.png"]
    mask, probability = (nib.load(tmp_path / "out" / name) for name in files[:2])
    for image in (mask, probability):
        assert image.shape == shape and np.array_equal(image.affine, nib.load(tmp_path / "a.nii.gz").affine)
        assert image.header.get_xyzt_units() == ("mm", "sec") and image.header["descrip"] == RESEARCH_USE_ONLY.encode()
        assert image.header["cal_max"] == 0 and image.header["sform_code"] == original.header["sform_code"]
    assert mask.get_data_dtype() == np.uint8 and probability.get_data_dtype() == np.float32
    assert np.allclose(probability.get_fdata(), array / array.max(), atol=1e-6)
    assert np.array_equal(mask.get_fdata(), probability.get_fdata() >= 0.5)


def test_nifti_of_version_2_and_integers_with_a_slope(tmp_path):
    original = nib.Nifti2Image(VOLUME.astype(np.float64) / 7, tilted_affine())
    original.set_data_dtype(np.int16)
    nib.save(original, tmp_path / "a.nii")
    PredictionWriter(str(tmp_path / "out")).write(*predicted(tmp_path / "a.nii"))
    image = nib.load(tmp_path / "out" / "a_probability.nii.gz")
    assert isinstance(image, nib.Nifti2Image)
    assert np.allclose(image.get_fdata(), VOLUME / VOLUME.max(), atol=1e-3)


def test_dicom(tmp_path):
    files = write_series(tmp_path / "s", VOLUME)
    PredictionWriter(str(tmp_path / "out")).write(*predicted(files, name="study/s"))
    image = nib.load(tmp_path / "out" / "study" / "s_probability.nii.gz")
    assert np.allclose(image.get_fdata(), VOLUME / VOLUME.max(), atol=1e-6)
    expected = np.array([[-0.8, 0, 0, 10], [0, -0.9, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]])
    assert np.allclose(image.affine, expected, atol=1e-5)
    assert image.header["sform_code"] == image.header["qform_code"] == 1
    assert image.header.get_xyzt_units()[0] == "mm"


def test_pictures(tmp_path):
    picture = np.arange(30, dtype=np.uint8).reshape(5, 6) * 8
    imsave(tmp_path / "p.png", picture, check_contrast=False)
    item, output = predicted(tmp_path / "p.png")
    PredictionWriter(str(tmp_path / "out")).write(item, output)
    mask, probability = (imread(tmp_path / "out" / f"p_{name}.png") for name in ("mask", "probability"))
    assert mask.dtype == np.uint8 and np.array_equal(mask, np.where(picture >= picture.max() / 2, 255, 0))
    assert probability.dtype == np.uint16
    assert np.abs(probability / 65535 - picture / picture.max()).max() < 1e-5
    overlay = imread(tmp_path / "out" / "p_overlay.png")
    # the slice as it is, beside and below it black with the mark in white
    assert overlay.shape[0] > 5 and overlay.shape[2] == 3 and not overlay[:5, 6:].any() and overlay[5:].max() > 200
    with Image.open(tmp_path / "out" / "p_mask.png") as written:
        assert written.text == {"Comment": RESEARCH_USE_ONLY}


def test_a_warning_stands_below_the_overlay(tmp_path):
    imsave(
        tmp_path / "p.png",
        np.arange(200 * 300, dtype=np.uint32).reshape(200, 300).astype(np.uint8),
        check_contrast=False,
    )
    plain, warned = tmp_path / "plain", tmp_path / "warned"
    PredictionWriter(str(plain)).write(*predicted(tmp_path / "p.png", name="a"))
    PredictionWriter(str(warned), notice={"a": "Not an input that the network was made for"}.get).write(
        *predicted(tmp_path / "p.png", name="a")
    )
    first, second = (imread(folder / "a_overlay.png") for folder in (plain, warned))
    assert first.shape == (216, 300, 3) and second.shape == (232, 300, 3)
    assert np.array_equal(first[:200], second[:200]) and np.array_equal(first[200:], second[216:])
    # orange, and not white
    assert second[200:216, :, 0].max() > second[200:216, :, 2].max() > 0


def test_equal_results_are_equal_files(tmp_path):
    nib.save(nib.Nifti1Image(VOLUME, np.eye(4)), tmp_path / "a.nii")
    for folder in ("one", "two"):
        PredictionWriter(str(tmp_path / folder)).write(*predicted(tmp_path / "a.nii"))
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_it_tells_when_all_files_are_in_place(tmp_path):
    nib.save(nib.Nifti1Image(VOLUME, np.eye(4)), tmp_path / "a.nii")
    told = []

    def done(name, files, measured):
        told.append((name, measured, [(tmp_path / "out" / file).is_file() for file in files]))

    PredictionWriter(str(tmp_path / "out"), done=done).write(*predicted(tmp_path / "a.nii", name="b"))
    assert told == [("b", {"volume_ml": {"tumour": pytest.approx(told[0][1]["volume_ml"]["tumour"])}}, [True] * 3)]


def test_a_slice_of_no_thickness_has_no_volume(tmp_path):
    nib.save(nib.Nifti1Image(VOLUME[..., 0], np.eye(4)), tmp_path / "a.nii")
    told = []
    PredictionWriter(str(tmp_path / "out"), done=lambda *_, **measured: told.append(measured)).write(
        *predicted(tmp_path / "a.nii", name="b")
    )
    assert told == [{}]


@pytest.mark.parametrize("name", ["../a", "link/a"])
def test_nothing_is_written_outside(tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    nib.save(nib.Nifti1Image(VOLUME, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(ValueError, match="not inside the output folder"):
        PredictionWriter(str(tmp_path / "out")).write(*predicted(tmp_path / "a.nii", name=name))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii", "elsewhere", "out"]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_link_in_the_place_of_a_file_is_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "out" / "a_mask.nii.gz").symlink_to(tmp_path / "precious")
    nib.save(nib.Nifti1Image(VOLUME, np.eye(4)), tmp_path / "a.nii")
    PredictionWriter(str(tmp_path / "out")).write(*predicted(tmp_path / "a.nii"))
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / "out" / "a_mask.nii.gz").is_symlink()


def test_probabilities_stay_in_their_range(tmp_path):
    imsave(tmp_path / "p.png", np.eye(4, dtype=np.uint8) * 200, check_contrast=False)
    item, output = predicted(tmp_path / "p.png")
    output["probability"] = torch.where(output["probability"] > 0, 1 + 1e-4, -1e-4)
    PredictionWriter(str(tmp_path / "out")).write(item, output)
    assert set(imread(tmp_path / "out" / "p_probability.png").ravel()) == {0, 65535}


def test_what_is_not_a_number_is_no_empty_mask(tmp_path):
    nib.save(nib.Nifti1Image(VOLUME, np.eye(4)), tmp_path / "a.nii")
    item, output = predicted(tmp_path / "a.nii")
    output["probability"][0, 1, 1] = float("nan")
    with pytest.raises(ValueError, match="a: the network gave values that are not numbers.*set amp to false"):
        PredictionWriter(str(tmp_path / "out")).write(item, output)
    with pytest.raises(ValueError, match="b: the network gave values that are not numbers"):
        ProbabilityWriter(str(tmp_path / "out"), ["x", "y"]).write("b", torch.tensor([[0.5, float("nan")]]))
    native = MetaTensor(torch.zeros(1, 4, 4, 2), meta={REFERENCE_KEY: str(tmp_path / "a.nii")})
    nothing = {"probability": torch.full((3, 4, 4, 2), float("nan")), "mask": torch.zeros(3, 4, 4, 2)}
    with pytest.raises(ValueError, match="c: the network gave values that are not numbers"):
        CaseWriter(str(tmp_path / "out")).write({"name": "c", "native": native}, nothing)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_each_region_has_files_of_its_own(tmp_path):
    imsave(tmp_path / "p.png", np.arange(30, dtype=np.uint8).reshape(5, 6) * 8, check_contrast=False)
    item, output = predicted(tmp_path / "p.png")
    both = {key: torch.stack([value, 1 - value]) for key, value in output.items()}
    files = PredictionWriter(str(tmp_path / "out"), regions=["core", "rest"]).write(item, both)
    assert files == [
        "p_core_mask.png",
        "p_core_probability.png",
        "p_rest_mask.png",
        "p_rest_probability.png",
        "p_overlay.png",
    ]
    core, rest = (imread(tmp_path / "out" / f"p_{name}_mask.png") for name in ("core", "rest"))
    assert np.array_equal(core > 0, output["pred"][0].numpy() > 0) and np.array_equal(rest > 0, core == 0)
    overlay = imread(tmp_path / "out" / "p_overlay.png")
    # two regions that fill the picture: two colours, and nothing left grey
    assert overlay.shape[0] > 5 and (overlay[:5, :6, 0] != overlay[:5, :6, 2]).all()
    with pytest.raises(ValueError, match="p: the prediction has 2 channels, but the regions are \\['tumour'\\]"):
        PredictionWriter(str(tmp_path / "out")).write(item, both)
