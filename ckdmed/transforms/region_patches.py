"""Patches around tumour, of whichever region."""

from __future__ import annotations

from typing import Any

import torch
from monai.transforms import RandCropByPosNegLabeld

__all__ = ["RegionPatchesd"]


class RegionPatchesd(RandCropByPosNegLabeld):
    """MONAI's ``RandCropByPosNegLabeld`` where each channel of the label is a region, the first one too.

    MONAI takes the first of several channels for the background and never looks into it, so that patches around a
    label of whole tumour and core would all be of the core.

    Args: as MONAI's.

    Shape: (C, *spatial) to ``num_samples`` items of (C, *spatial_size).
    """

    def randomize(self, label: torch.Tensor | None = None, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Draw the patches' centres, around voxels above 0 in any channel."""
        regions = None if label is None else (label > 0).any(dim=0, keepdim=True)
        super().randomize(regions, *args, **kwargs)
