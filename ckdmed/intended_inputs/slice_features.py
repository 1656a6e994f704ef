"""Numbers that describe how a slice looks, whatever is in it: histogram, contrast, texture and frequencies."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from monai.transforms import Resize
from scipy import ndimage as ndi
from skimage.filters import threshold_otsu

__all__ = ["FEATURE_NAMES", "SIDE", "network_view", "slice_features"]

#: Edge in pixels of the view that features are computed of.
SIDE = 128
# The view of the shipped segmentation network, which is halved: noise and a camera's compression say little there.
_FULL = 256
_EMPTY = 1e-4
_HEAD_QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
_INNER_QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 0.995)
_RADII = (1, 2, 4, 6, 9, 13, 18, 25, 34, 46, 64)
_SCALES = (1, 2, 4)
# in pixels of the view, of which a head is about 100 wide: skin and skull, and what lies well within them
_RIM, _DEPTH = 8, 18
_FEWEST = 50

FEATURE_NAMES: tuple[str, ...] = (
    "head_area",
    *(f"head_quantile_{q:g}" for q in _HEAD_QUANTILES),
    "head_std",
    "head_skewness",
    "head_log_kurtosis",
    "head_entropy",
    *(f"inner_quantile_{q:g}" for q in _INNER_QUANTILES),
    "inner_spread",
    "inner_brightest",
    "rim_mean",
    "rim_to_inner",
    "inner_std",
    "inner_skewness",
    "inner_log_kurtosis",
    *(f"spectrum_{low}_{high}" for low, high in zip(_RADII, _RADII[1:])),
    "gradient_mean",
    "gradient_quantile_0.95",
    "gradient_quantile_0.99",
    *(f"blob_{scale}_{what}" for scale in _SCALES for what in ("std", "skewness", "dark", "bright")),
    "noise",
)


def network_view(slices: np.ndarray) -> np.ndarray:
    """Slices as a segmentation network's preprocessing makes them, on a common small grid.

    The 0.5th and 99.5th percentile of each slice become 0 and 1, and the slice is averaged to `SIDE` x `SIDE` pixels.

    Shape: (S, H, W) to (S, SIDE, SIDE), float32 in [0, 1].
    """
    values = np.ascontiguousarray(slices, dtype=np.float32)
    # as ScaleIntensityRangePercentiles, without the whole sort of torch.quantile, which is most of a slice's time
    low, high = np.percentile(values, (0.5, 99.5), axis=(1, 2), keepdims=True).astype(np.float32)
    scaled = np.clip((values - low) / np.where(high > low, high - low, 1), 0, 1)
    full = np.asarray(Resize((_FULL, _FULL), mode="area")(torch.from_numpy(scaled)))
    return full.reshape(-1, SIDE, _FULL // SIDE, SIDE, _FULL // SIDE).mean((2, 4))


def slice_features(view: np.ndarray) -> np.ndarray | None:
    """Features of one slice of `network_view`, in the order of `FEATURE_NAMES`; None where next to nothing is shown.

    The head is what is brighter than the background, with its holes. *Inner* is what lies `_DEPTH` pixels within it,
    the *rim* its outer `_RIM` pixels. What lies outside of the head has no part in them: whether a scanner's noise was
    masked or a picture compressed says nothing of the sequence.

    Shape: (SIDE, SIDE) to (len(FEATURE_NAMES),), float64.
    """
    image = np.asarray(view, dtype=np.float64)
    if image.shape != (SIDE, SIDE):
        raise ValueError(f"features are of a view of {SIDE} x {SIDE} pixels, got {image.shape}.")
    low = np.clip(image, 0, 0.5)
    if low.min() == low.max():
        return None
    head = ndi.binary_fill_holes(ndi.binary_opening(image > 0.5 * threshold_otsu(low)))
    if head.sum() < _FEWEST:
        return None
    depth = ndi.distance_transform_edt(head)
    inner = depth > _DEPTH
    if inner.sum() < _FEWEST:
        inner = depth > np.quantile(depth[head], 0.7)
    if inner.sum() < _FEWEST // 5:
        return None
    return np.array(
        [*_of_head(image[head], head), *_of_inner(image, inner, head & (depth <= _RIM)), *_of_texture(image, inner)]
    )


def _of_head(values: np.ndarray, head: np.ndarray) -> Iterable[float]:
    yield head.mean()
    yield from np.quantile(values, _HEAD_QUANTILES)
    yield values.std()
    yield from _moments(values)
    share = np.histogram(values, 16, (0, 1))[0] / values.size
    share = share[share > 0]
    yield -(share * np.log(share)).sum()


def _of_inner(image: np.ndarray, inner: np.ndarray, rim: np.ndarray) -> Iterable[float]:
    values = image[inner]
    quantiles = np.quantile(values, _INNER_QUANTILES)
    darkest, _, lower, median, upper, _, brightest, _ = quantiles
    around = image[rim].mean()
    yield from quantiles
    yield (upper - lower) / (median + 1e-6)
    yield (brightest - median) / (median - darkest + 0.05)
    yield around
    yield np.log((around + 0.02) / (median + 0.02))
    yield values.std()
    yield from _moments(values)


def _of_texture(image: np.ndarray, inner: np.ndarray) -> Iterable[float]:
    window = np.hanning(SIDE)
    power = np.abs(np.fft.fft2((image - image.mean()) * np.outer(window, window))) ** 2
    frequency = np.fft.fftfreq(SIDE) * SIDE
    radius = np.hypot(frequency[:, None], frequency[None])
    bands = np.array([np.log(power[(radius >= a) & (radius < b)].mean() + 1e-6) for a, b in zip(_RADII, _RADII[1:])])
    yield from bands - bands.mean()
    gradient = (np.hypot(ndi.sobel(image, 0), ndi.sobel(image, 1)) / 8)[inner]
    for value in (gradient.mean(), *np.quantile(gradient, (0.95, 0.99))):
        yield np.log(value + _EMPTY)
    for scale in _SCALES:
        blobs = (ndi.gaussian_laplace(image, scale) * scale**2)[inner]
        spread = blobs.std() + _EMPTY
        yield np.log(spread)
        yield ((blobs - blobs.mean()) ** 3).mean() / spread**3
        yield from np.quantile(blobs, (0.01, 0.99))
    yield np.log(np.median(np.abs(image - ndi.median_filter(image, 3))[inner]) + _EMPTY)


def _moments(values: np.ndarray) -> tuple[float, float]:
    normed = (values - values.mean()) / (values.std() + 1e-6)
    return float((normed**3).mean()), float(np.log((normed**4).mean() + 1e-6))
