from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

__all__ = [
    "BAD",
    "CYCLE",
    "GRID",
    "PREDICTION",
    "TEACHER",
    "TRUTH",
    "fitted",
    "new_figure",
    "on_black",
    "show_slice",
    "tidy_axes",
    "to_image",
    "to_mask",
]

# Okabe and Ito's colours, distinguishable with any colour vision; the three outlines also hold up on grey
TRUTH, PREDICTION, TEACHER, BAD = "#56b4e9", "#ff9f1c", "#f28cc8", "#d55e00"
CYCLE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#332288")
GRID = "#d9d9d9"


def fitted(text: str, most: int = 30) -> str:
    """The same text with the middle of each line that is longer than a panel is wide left out."""
    half = (most - 1) // 2
    lines = text.split("\n")
    return "\n".join(line if len(line) <= most else f"{line[:half]}…{line[-half:]}" for line in lines)


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own, outside of pyplot: nothing to close, no display, safe in threads."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def tidy_axes(axes: Any) -> None:
    axes.grid(True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8)


def show_slice(axes: Any, image: np.ndarray, **kwargs: Any) -> None:
    """Grey slice without ticks, its window from the 1st to the 99.8th percentile of what is not the minimum."""
    inside = image[image > image.min()]
    low, high = (np.percentile(inside, [1, 99.8]) if inside.size else (0.0, 1.0)) if "vmin" not in kwargs else (0, 0)
    window = {"vmin": min(float(image.min()), float(low)), "vmax": max(float(high), float(low) + 1e-6)} | kwargs
    axes.imshow(image, cmap="gray", interpolation="bilinear", **window)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def on_black(image: np.ndarray) -> np.ndarray:
    """What is 0, outside of the brain, as dark as the darkest of it; a z-score of 0 is grey."""
    inside = image != 0
    return np.where(inside, image, image[inside].min()) if inside.any() else image


def to_image(value: Any) -> np.ndarray:
    """A 2-D float array of an image (H, W), (1, H, W) or (C, H, W), array or tensor; of channels the first is shown.

    Raises:
        ValueError: when it has another number of axes, or values that are not finite.
    """
    array = _array(value)
    if array.ndim == 3:
        array = array[0]
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"an image must be (H, W) or (C, H, W), got shape {_array(value).shape}")
    array = array.astype(float)
    if not np.isfinite(array).all():
        raise ValueError("an image holds values that are not finite")
    return array


def to_mask(value: Any, shape: Sequence[int]) -> np.ndarray:
    """A 2-D bool array of a mask (H, W) or (1, H, W); foreground where it exceeds 0.5.

    Raises:
        ValueError: when its shape is not that of the image.
    """
    array = _array(value)
    if array.ndim == 3 and len(array) == 1:
        array = array[0]
    if array.shape != tuple(shape):
        raise ValueError(f"a mask has shape {array.shape}, its image {tuple(shape)}; they must be on one grid")
    return array > 0.5


def _array(value: Any) -> np.ndarray:
    # tensors have cpu and numpy; asking for them rather than the type keeps torch out of the import
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)
