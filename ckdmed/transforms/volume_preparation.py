"""From volumes on their own grids to one image on a common grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from monai.transforms import (
    Compose,
    ConcatItemsd,
    DeleteItemsd,
    EnsureTyped,
    MaskIntensityd,
    Orientationd,
    ResampleToMatchd,
    ResizeWithPadOrCropd,
    Spacingd,
)

from ckdmed.transforms.brain_mask import BrainMaskd
from ckdmed.transforms.brain_unit_range import BrainUnitRanged
from ckdmed.transforms.brain_zscore import BrainZScored
from ckdmed.transforms.clahe import CLAHEd

__all__ = ["NORMALISATIONS", "volume_preparation"]

NORMALISATIONS = ("zscore", "unit", "none")


def volume_preparation(
    modalities: Sequence[str],
    label: str | None = None,
    given_brain: bool = False,
    reference: str | None = None,
    orientation: str = "LPS",
    spacing: Sequence[float] | None = (1.0, 1.0, 1.0),
    size: Sequence[int] | None = None,
    brain_method: str = "auto",
    normalise: str = "zscore",
    clahe: bool = False,
    clahe_limit: float = 0.01,
) -> Compose:
    """Orient, resample to a common grid, find the brain, equalise, normalise and stack.

    The grid is that of one modality, turned to the orientation by whole quarter turns and resampled to the
    spacing; everything else is resampled to it by the scanner's coordinates, images linearly, masks by the nearest
    voxel. Nothing is registered: what moved between two series stays moved. A volume that lies on the grid already is
    not resampled.

    Args:
        modalities: keys of the images, each ``[1, X, Y, Z]`` with an affine.
        label: key of a mask, or None.
        given_brain: whether the data hold a brain mask under "brain"; else (default) ``brain_method`` finds it.
        reference: which modality gives the grid; None (default) for the first.
        orientation: letters of the ends of the three axes. Default "LPS", as BraTS files have it (in nibabel's words).
        spacing: millimetres, or None for the reference's own. Default 1 mm, as BraTS.
        size: voxels, or None. Cut or padded with 0 around the centre.
        brain_method: see :func:`ckdmed.transforms.brain_mask`.
        normalise: "zscore" over the brain, 0 outside (default); "unit" for [0, 1] over the brain, 0 outside; "none".
        clahe: whether to equalise each slice (:class:`CLAHE`) before.
        clahe_limit: its ``clip_limit``.

    Returns:
        a chain whose result holds ``image`` ``[C, X, Y, Z]`` float32 in the order of ``modalities``, ``brain`` uint8,
        and the label as uint8 where there is one; the modalities' own keys are gone.

    Raises:
        ValueError: no modality, a reference that is none of them, an unknown normalisation, no orientation, a
            spacing or size that is not three positive numbers.

    Example::

        load = LoadImaged(["t1n", "t1c"], reader=ckdmed.data.volume_reader.VolumeReader, ensure_channel_first=True)
        chain = Compose([load, volume_preparation(["t1n", "t1c"])])
    """
    images = list(modalities)
    if not images:
        raise ValueError("preparation needs at least one modality.")
    if normalise not in NORMALISATIONS:
        raise ValueError(f"normalise must be one of {', '.join(NORMALISATIONS)}, got {normalise!r}.")
    first = images[0] if reference is None else reference
    if first not in images:
        raise ValueError(f"the reference must be one of {', '.join(images)}, got {reference!r}.")
    letters = orientation.upper()
    if len(letters) != 3 or any(len(set(letters) & set(axis)) != 1 for axis in ("LR", "PA", "IS")):
        raise ValueError(f"an orientation must be three letters, one each of LR, PA and IS, got {orientation!r}.")
    for name, value in (("spacing", spacing), ("size", size)):
        if value is not None and (len(value) != 3 or not all(0 < side < math.inf for side in value)):
            raise ValueError(f"{name} must be three positive numbers, got {tuple(value)}.")
    masks = ([label] if label else []) + (["brain"] if given_brain else [])
    everything = images + masks
    others = [key for key in everything if key != first]
    modes = ["bilinear" if key in images else "nearest" for key in others]
    chain: list[Any] = [Orientationd(everything, axcodes=letters, labels=(("L", "R"), ("P", "A"), ("I", "S")))]
    if spacing is not None:
        # Float32 is what grids of a few hundred voxels need; MONAI computes in float64 unless told.
        chain.append(Spacingd(first, pixdim=tuple(spacing), mode="bilinear", padding_mode="border", dtype="float32"))
    if others:
        chain.append(ResampleToMatchd(others, key_dst=first, mode=modes, padding_mode="zeros", dtype="float32"))
    if size is not None:
        chain.append(ResizeWithPadOrCropd(everything, spatial_size=tuple(size)))
    chain.append(BrainMaskd(images, "brain", brain_method))
    if clahe:
        chain.append(CLAHEd(images, clip_limit=clahe_limit))
    if normalise == "zscore":
        chain.append(BrainZScored(images, mask_key="brain"))
    elif normalise == "unit":
        chain.append(BrainUnitRanged(images, "brain"))
    elif clahe:
        chain.append(MaskIntensityd(images, mask_key="brain"))
    chain.append(ConcatItemsd(images, "image"))
    chain.append(DeleteItemsd(images))
    kinds = {"image": torch.float32, "brain": torch.uint8, **({label: torch.uint8} if label else {})}
    chain.append(EnsureTyped(list(kinds), dtype=tuple(kinds.values())))
    return Compose(chain)
