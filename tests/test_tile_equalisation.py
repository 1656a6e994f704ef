"""CLAHE's values beside scikit-image's."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.exposure import equalize_adapthist

from ckdmed.tile_equalisation import equalise_tiles
from ckdmed.transforms import CLAHE

# without its treatment of colour, for which it takes a last axis of 3 or 4
_grey = equalize_adapthist.__wrapped__


def _stretched(image: np.ndarray) -> np.ndarray:
    return (image - image.min()) / (image.max() - image.min())


@pytest.mark.parametrize("seed", range(60))
def test_equal_to_scikit_image_in_every_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # tiles larger than the image, thin images and volumes, few grey values, mostly background
    axes = 3 if seed % 4 == 0 else 2
    shape = tuple(int(n) for n in rng.integers(2, 14 if axes == 3 else 40, axes))
    tile = tuple(int(n) for n in rng.integers(1, 16 if axes == 3 else 45, axes))
    image = rng.normal(100, 20, shape)
    if seed % 3 == 0:
        image = np.round(image / 20)
    if seed % 5 == 0:
        image *= rng.random(shape) > 0.8
    limit, nbins = float(rng.choice([0, 0.001, 0.01, 0.1, 1])), int(rng.choice([2, 3, 64, 256, 1000, 16384]))
    expected = _grey(_stretched(image), tile, limit, nbins)
    np.testing.assert_array_equal(equalise_tiles(image, tile, limit, nbins), expected.astype(np.float32))


def test_an_image_of_many_slabs() -> None:
    image = np.random.default_rng(0).normal(100, 20, (300, 260)).astype(np.float32)
    expected = equalize_adapthist(_stretched(image.astype(np.float64)), (38, 33), 0.01, 256)
    np.testing.assert_array_equal(np.asarray(CLAHE()(image[None]))[0], expected.astype(np.float32))
