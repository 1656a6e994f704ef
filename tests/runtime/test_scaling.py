"""The NumPy preprocessing of the runtime against MONAI's and PyTorch's, which the bundles use."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import Resize

from ckdmed.runtime.scaling import area_resized, eight_bit, imagenet_images, scaled, smoothly_resized, unit_range
from ckdmed.transforms import EightBit, SliceIntensity, imagenet_slices


def images(height: int = 61, width: int = 53) -> np.ndarray:
    return np.random.default_rng(0).normal(100, 40, size=(3, height, width)).round().astype(np.float32)


@pytest.mark.parametrize("scaling", ["percentiles", "unit", "report"])
@pytest.mark.parametrize("size", [(61, 53), (512, 512), (1100, 1000)])
def test_intensities_are_those_of_the_bundles_to_the_last_bit(scaling, size):
    values = images(*size)[: 1 if size[0] > 1000 else 3]
    np.testing.assert_array_equal(scaled(values, scaling), SliceIntensity(scaling)(torch.from_numpy(values)).numpy())


def test_zscores_are_those_of_the_bundles():
    values = images()
    expected = SliceIntensity("zscore")(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(scaled(values, "zscore"), expected, atol=1e-6)


@pytest.mark.parametrize("scaling", ["percentiles", "unit", "zscore", "report"])
def test_a_constant_image_is_no_division_by_zero(scaling):
    values = np.full((1, 8, 8), 7, np.float32)
    expected = SliceIntensity(scaling)(torch.from_numpy(values)).numpy()
    np.testing.assert_array_equal(scaled(values, scaling), expected)


@pytest.mark.parametrize("scaling", ["percentiles", "unit", "report"])
def test_an_image_that_shows_next_to_nothing_is_scaled_as_in_the_bundles(scaling):
    values = np.zeros((1, 100, 100), np.float32)
    values[0, 40:46, 40:46] = 1500
    expected = SliceIntensity(scaling)(torch.from_numpy(values)).numpy()
    np.testing.assert_array_equal(scaled(values, scaling), expected)


def test_an_unknown_scaling_is_refused():
    with pytest.raises(ValueError, match="percentiles, unit, zscore, report, got 'volume'"):
        scaled(images(), "volume")


@pytest.mark.parametrize("size", [(61, 53), (32, 32), (20, 53), (122, 106), (70, 40)])
def test_area_resizing_is_pytorchs_to_the_last_bit(size):
    values = images()
    np.testing.assert_array_equal(
        area_resized(values, size), Resize(size, mode="area")(torch.from_numpy(values)).numpy()
    )


@pytest.mark.parametrize("size", [(61, 53), (32, 32), (122, 106), (70, 40), (200, 7)])
def test_smooth_resizing_is_pytorchs(size):
    values = np.random.default_rng(1).random((2, 3, 61, 53)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values), size=size, mode="bilinear", align_corners=False, antialias=True
    )
    np.testing.assert_allclose(smoothly_resized(values, size), expected.numpy(), atol=3e-6)


def test_eight_bits_and_imagenets_input_are_those_of_the_classifiers():
    values = images()
    bits = EightBit(channel_wise=True)(torch.from_numpy(values)).numpy()
    np.testing.assert_array_equal(eight_bit(values), bits)
    unit = unit_range(bits.astype(np.float32))
    assert unit.min() == 0 and unit.max() == 1
    for scaling in ("report", "zscore"):
        expected = imagenet_slices(torch.from_numpy(unit), 1, scaling).expand(-1, 3, -1, -1).numpy()
        np.testing.assert_array_equal(imagenet_images(unit, scaling), expected)
