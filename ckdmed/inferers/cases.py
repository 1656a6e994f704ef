"""How whole cases are segmented, by a network of slices or of volumes."""

from __future__ import annotations

from collections.abc import Sequence

from monai.inferers import Inferer, SlidingWindowInferer

from ckdmed.inferers.autocast import AutocastInferer
from ckdmed.inferers.brain_slices import BrainSliceInferer
from ckdmed.inferers.flips import FlipAverageInferer

__all__ = ["case_inferer"]


def case_inferer(
    spatial_dims: int = 2,
    neighbours: int = 0,
    batch_size: int = 16,
    roi_size: Sequence[int] = (96, 96, 96),
    overlap: float = 0.5,
    flips: bool = False,
    amp: bool | str = False,
) -> Inferer:
    """An inferer of volumes (B, C, H, W, S).

    Args:
        spatial_dims: 2 for a network of slices (:class:`BrainSliceInferer`), 3 for one of volumes (MONAI's
            ``SlidingWindowInferer``, whose windows overlap with Gaussian weights).
        neighbours: of slices, see :class:`BrainSliceInferer`.
        batch_size: slices or windows at a time.
        roi_size: voxels of a window.
        overlap: of windows, 0 to below 1.
        flips: whether to average over the mirror images of the first two axes, four passes.
        amp: mixed precision, see :class:`AutocastInferer`.

    Raises:
        ValueError: ``spatial_dims`` is neither 2 nor 3; ``neighbours`` with 3.
    """
    if spatial_dims not in (2, 3):
        raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims!r}.")
    if spatial_dims == 3 and neighbours:
        raise ValueError(f"neighbours={neighbours} is for networks of slices; a network of volumes has spatial_dims=3.")
    inferer: Inferer
    if spatial_dims == 2:
        inferer = BrainSliceInferer(neighbours, batch_size)
    else:
        inferer = SlidingWindowInferer(tuple(roi_size), sw_batch_size=batch_size, overlap=overlap, mode="gaussian")
    return FlipAverageInferer(AutocastInferer(inferer, amp=amp), enabled=flips)
