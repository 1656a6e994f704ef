"""Border to mask."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Resized

from ckdmed.geometry import polygon_mask
from ckdmed.transforms import BorderToMask, BorderToMaskd

SQUARE = np.array([3.0, 2.0, 6.0, 2.0, 6.0, 4.0, 3.0, 4.0])  # x 3..6, y 2..4, counted from 1


def _expected() -> np.ndarray:
    expected = np.zeros((1, 7, 9), dtype=np.uint8)
    expected[0, 1:4, 2:6] = 1
    return expected


@pytest.mark.parametrize("border", [SQUARE, SQUARE[None], SQUARE[:, None], SQUARE.reshape(4, 2)])
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, MetaTensor])
def test_forms_of_a_border(border: np.ndarray, kind: type) -> None:
    mask = BorderToMask()(kind(border), kind(np.zeros((1, 7, 9), dtype=np.float32)))
    assert mask.dtype == torch.uint8
    np.testing.assert_array_equal(np.asarray(mask), _expected())


def test_zero_based_and_transposed() -> None:
    image = np.zeros((3, 7, 9))
    np.testing.assert_array_equal(np.asarray(BorderToMask(one_based=False)(SQUARE - 1, image)), _expected())
    transposed = BorderToMask(transposed=True)(SQUARE, image.transpose(0, 2, 1))
    np.testing.assert_array_equal(np.asarray(transposed), _expected().transpose(0, 2, 1))


def test_mask_takes_the_geometry_of_the_image() -> None:
    affine = torch.diag(torch.tensor([0.5, 0.5, 6.0, 1.0], dtype=torch.float64))
    image = MetaTensor(torch.zeros(1, 7, 9), affine=affine, meta={"patient": "100360"})
    image = Resized("x", spatial_size=(7, 9))({"x": image})["x"]
    assert image.applied_operations
    mask = BorderToMask()(SQUARE, image)
    torch.testing.assert_close(mask.affine, affine)
    assert mask.meta["patient"] == "100360" and mask.applied_operations == []
    mask.meta["patient"] = "other"
    assert image.meta["patient"] == "100360"


def test_dictionary_twin() -> None:
    data = {"image": np.zeros((1, 7, 9), dtype=np.float32), "border": SQUARE[None]}
    out = Compose([BorderToMaskd("border", mask_keys="label")])(data)
    np.testing.assert_array_equal(np.asarray(out["label"]), _expected())
    np.testing.assert_array_equal(out["border"], SQUARE[None])
    replaced = BorderToMaskd("border")(data)
    np.testing.assert_array_equal(np.asarray(replaced["border"]), _expected())
    assert set(BorderToMaskd("border", allow_missing_keys=True)({"image": data["image"]})) == {"image"}
    with pytest.raises(KeyError, match="image"):
        BorderToMaskd("border")({"border": SQUARE})
    with pytest.raises(ValueError, match="one for each of keys"):
        BorderToMaskd("border", mask_keys=("a", "b"))


@pytest.mark.parametrize(
    ("border", "match"),
    [
        (SQUARE[:-1], "odd number of values: 7"),
        (SQUARE[:4], "at least three points, got 2"),
        (np.array([[3.0, 2.0]]), "at least three points, got 1"),
        (np.where(SQUARE == 2, np.nan, SQUARE), "2 NaN or infinite"),
        (SQUARE.reshape(2, 4), r"got an array of shape \(2, 4\)"),
    ],
)
def test_errors(border: np.ndarray, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        BorderToMask()(border, np.zeros((1, 7, 9)))


def test_needs_a_2d_image() -> None:
    with pytest.raises(ValueError, match=r"2D image \[C, H, W\]"):
        BorderToMask()(SQUARE, np.zeros((1, 7, 9, 3)))


def test_real_borders(shared_data: Path) -> None:
    ious = []
    for path in sorted((shared_data / "figshare_mat").glob("*.mat"))[:10]:
        with h5py.File(path) as file:
            mask, border = file["cjdata/tumorMask"][()].T > 0, file["cjdata/tumorBorder"][()]
        drawn = np.asarray(BorderToMask()(border, mask[None]))[0] > 0
        ious.append((drawn & mask).sum() / (drawn | mask).sum())
        np.testing.assert_array_equal(drawn, polygon_mask(border.reshape(-1, 2), mask.shape, one_based=True))
    assert np.mean(ious) > 0.98
