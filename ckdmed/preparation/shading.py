"""Taking the coil's shading out of an image."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ckdmed.preparation.registration import itk_image

__all__ = ["without_shading"]

_SIDE_MM = 4.0
_ITERATIONS = (50, 40, 30)


def without_shading(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The image divided by the smooth field that N4 finds at 4 mm.

    Values of 0 and below stay as they are.

    Args:
        array: (X, Y, Z).
        affine: (4, 4), to millimetres.

    Source: Tustison et al., N4ITK, IEEE TMI 2010, as SimpleITK has it.
    """
    image = itk_image(np.clip(array, 0, None), affine)
    factors = [
        max(1, min(int(round(_SIDE_MM / side)), count // 8)) for side, count in zip(image.GetSpacing(), image.GetSize())
    ]
    small = sitk.Shrink(image, factors)
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(1)
    n4.SetMaximumNumberOfIterations(_ITERATIONS)
    n4.Execute(small, sitk.OtsuThreshold(small, 0, 1, 64))
    field = np.exp(sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).T)
    return np.where(array > 0, array / np.maximum(field, 1e-3), array).astype(np.float32)
