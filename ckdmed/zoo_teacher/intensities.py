"""The intensities that a bundle's network was made for, from those that the student sees."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ckdmed.zoo_teacher.bundle_layout import ZooBundle

__all__ = ["NonzeroScaling", "own_intensities"]

_NORMALISE = "NormalizeIntensityd"
# scales of the student that are linear over the brain
_LINEAR = ("zscore", "unit")
_OWN = ("region_preprocessing", "case_preprocessing")


class NonzeroScaling(nn.Module):
    """Mean 0 and deviation 1 over the voxels that are not 0, in each image and channel, as MONAI's NormalizeIntensity.

    The student's channels are scaled over the brain, 0 outside. Another linear scale of the same voxels leads to the
    same values, so it does not matter that they are not the scan's own any more; of a patch they are the patch's.

    Shape: (B, C, *spatial) to the same.
    """

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        axes = list(range(2, image.dim()))
        inside = image != 0
        count = inside.sum(dim=axes, keepdim=True).clamp_min(1)
        mean = image.sum(dim=axes, keepdim=True) / count
        variance = ((image - mean).square() * inside).sum(dim=axes, keepdim=True) / count
        deviation = torch.where(variance > 0, variance.sqrt(), torch.ones_like(variance))
        return torch.where(inside, (image - mean) / deviation, image)


def own_intensities(bundle: ZooBundle, scaling: str = "zscore", clahe: bool | str = False) -> nn.Module:
    """What brings the student's images to the scale of the bundle's preprocessing.

    Args:
        bundle: opened.
        scaling, clahe: of the student's images, see :class:`~ckdmed.transforms.BrainIntensity`.

    Raises:
        ValueError: a preprocessing whose scale cannot be had from the student's: one of absolute values, one that the
            background takes part in, or none at all; a bundle of this package with other intensities; student's
            intensities that are cut off, rounded or equalised.
    """
    config: dict[str, Any] = bundle.parser.get()
    preprocessing = config.get("preprocessing", config.get("preprocess"))
    if isinstance(preprocessing, dict) and str(preprocessing.get("_target_", "")).rsplit(".", 1)[-1] in _OWN:
        own = {key: bundle.parser.get_parsed_content(key) for key in ("scaling", "clahe") if key in config}
        if (own.get("scaling", "zscore"), own.get("clahe", False)) != (scaling, clahe):
            given = " ".join(f"--{key} {str(value).lower()}" for key, value in own.items())
            raise ValueError(
                f"the network of '{bundle.folder}' was trained with {given or '--scaling zscore'}, the student with "
                f"--scaling {scaling} --clahe {str(clahe).lower()}: give the student the bundle's."
            )
        return nn.Identity()
    if scaling not in _LINEAR or clahe:
        raise ValueError(
            f"the intensities of '{bundle.config}' cannot be had from --scaling {scaling} --clahe "
            f"{str(clahe).lower()}, which cuts off, rounds or equalises them: give the student --scaling "
            f"{' or '.join(_LINEAR)} without --clahe."
        )
    steps = preprocessing.get("transforms", []) if isinstance(preprocessing, dict) else preprocessing
    steps = steps if isinstance(steps, list) else []
    scaling = [step for step in steps if isinstance(step, dict) and "Intensity" in str(step.get("_target_", ""))]
    names = [str(step["_target_"]).rsplit(".", 1)[-1] for step in scaling]
    if names == [_NORMALISE]:
        (step,) = scaling
        given = {key: value for key, value in step.items() if key in ("subtrahend", "divisor") and value is not None}
        if step.get("nonzero") is True and step.get("channel_wise") is True and not given:
            return NonzeroScaling()
    found = ", ".join(names) or "none"
    raise ValueError(
        f"the intensities of '{bundle.config}' ({found}) cannot be had from the values of the brain that the student "
        f"sees: that needs one {_NORMALISE} with nonzero and channel_wise true, as for BraTS in the Model Zoo, or a "
        "bundle of this package."
    )
