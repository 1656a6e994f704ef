"""Slices as small pictures: grey JPEGs, and transparent PNGs of the regions to lay over them."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image
from skimage.segmentation import find_boundaries

from ckdmed.reports.overlay import draw_overlay, draw_regions, region_colours
from ckdmed.reports.style import PREDICTION

from .blocks import SliceViewer
from .case_images import CaseImages

__all__ = ["colours_of", "grey_levels", "slice_viewer", "thumbnail"]

#: longest side of a slice in the viewer, px
_MOST = 512
_SMALL = 192
_TINT = 72
_QUALITY = 88


def colours_of(regions: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The colour of each region, outer ones first; of a single one that of every overlay."""
    return {name: PREDICTION for name in regions} if len(regions) == 1 else region_colours(regions)


def grey_levels(slices: np.ndarray) -> np.ndarray:
    """The slices in 8 bits, one window for all: from the 1st to the 99.8th percentile of what is not the minimum."""
    inside = slices[slices > slices.min()]
    low, high = np.percentile(inside, [1, 99.8]) if inside.size else (0.0, 1.0)
    grey = (slices.astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-6))
    return (np.clip(grey, 0, 1) * 255).round().astype(np.uint8)


def slice_viewer(images: CaseImages, captions: Mapping[int, str] | None = None) -> SliceViewer:
    """All slices of a case with the regions that were predicted.

    Pixels become square; a slice with more than 512 px a side is made smaller.

    Args:
        images: of the case.
        captions: what more there is to say of a slice, by its number.
    """
    grey = grey_levels(images.slices)
    size = _size(images)
    colours = colours_of(images.regions)
    anywhere = _any(images)
    frames, masks, words = [], [], []
    for number in range(len(grey)):
        frames.append(_jpeg(Image.fromarray(grey[number]).resize(size, Image.Resampling.BILINEAR)))
        if images.regions:
            own = {name: images.regions[name][number] for name in colours}
            masks.append(_mask_png(own, colours, size) if anywhere[number].any() else b"")
        words.append(_caption(images, number, (captions or {}).get(number, "")))
    first = int(anywhere.sum(axis=(1, 2)).argmax()) if anywhere.any() else len(grey) // 2
    return SliceViewer(frames, masks, size, first, colours, images.edges, words)


def thumbnail(images: CaseImages) -> bytes:
    """The slice with the most of the prediction, as a small JPEG."""
    anywhere = _any(images)
    number = int(anywhere.sum(axis=(1, 2)).argmax()) if anywhere.any() else len(images.slices) // 2
    picture = images.slices[number]
    own = {name: mask[number] for name, mask in images.regions.items()}
    drawn = draw_regions(picture, own) if len(own) > 1 else draw_overlay(picture, anywhere[number])
    width, height = _size(images)
    scale = _SMALL / max(width, height)
    small = Image.fromarray(drawn).resize((max(round(width * scale), 1), max(round(height * scale), 1)))
    return _jpeg(small)


def _any(images: CaseImages) -> np.ndarray:
    if not images.regions:
        return np.zeros(images.slices.shape, bool)
    return np.logical_or.reduce(list(images.regions.values()))


def _size(images: CaseImages) -> tuple[int, int]:
    """Width and height of a slice with square pixels."""
    height, width = (float(side) for side in images.slices.shape[1:])
    if images.spacing_mm is not None:
        _, row, column = images.spacing_mm
        height, width = height * row / min(row, column), width * column / min(row, column)
    scale = min(1.0, _MOST / max(height, width))
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _mask_png(regions: Mapping[str, np.ndarray], colours: Mapping[str, str], size: tuple[int, int]) -> bytes:
    """Each region tinted and outlined in its colour, transparent elsewhere."""
    pixels = np.zeros((size[1], size[0], 4), np.uint8)
    for name, colour in colours.items():
        mask = np.array(Image.fromarray(regions[name].astype(np.uint8)).resize(size, Image.Resampling.NEAREST)) > 0
        if not mask.any():
            continue
        rgb = [round(part * 255) for part in to_rgb(colour)]
        pixels[mask] = [*rgb, _TINT]
        pixels[find_boundaries(np.pad(mask, 1), mode="inner")[1:-1, 1:-1]] = [*rgb, 255]
    stream = io.BytesIO()
    Image.fromarray(pixels).quantize(64).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _caption(images: CaseImages, number: int, more: str) -> str:
    words = [f"slice {number} of {len(images.slices)}, counted from 0"]
    for name, mask in images.regions.items():
        pixels = int(mask[number].sum())
        if pixels and images.spacing_mm is not None:
            words.append(f"{name} {pixels * images.spacing_mm[1] * images.spacing_mm[2] / 100:.2f} cm²")
        elif pixels:
            words.append(f"{name} {pixels} px")
    return "; ".join([*words, *([more] if more else [])])


def _jpeg(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
