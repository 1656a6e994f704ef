"""The affine of an untrusted NIfTI header, which may hold two, or none that can be used."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

__all__ = ["AffineError", "affine_text", "header_affine"]

# Between two affines of one file. A registration turns a head by less; mirror images, and places counted from the left
# in the one and from the right in the other, differ by 180 degrees.
_COSINE = 0.5
# How far the sides of a voxel may differ: nobody's rounding comes to that.
_SIDES = 0.05


class AffineError(ValueError):
    """An affine that cannot be used; the message says why, and nothing of the file."""


def header_affine(header: nib.nifti1.Nifti1Header) -> np.ndarray:
    """The (4, 4) affine in the header's own units: that of the sform, else of the qform, else of the voxels' sizes.

    Raises:
        AffineError: it is not finite or cannot be inverted; there are a sform and a qform, by which axes point
            elsewhere, or voxels are of another size.
        HeaderDataError: the only one is a quaternion that is none.
    """
    affine: np.ndarray = header.get_best_affine()
    if not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
        raise AffineError(f"its affine {affine_text(affine)} is not finite or cannot be inverted")
    if difference := _contradiction(header):
        raise AffineError(
            f"its sform and its qform contradict each other: {difference}. Which one is right is not guessed; set the "
            "code of the wrong one to 0 (in nibabel image.set_qform(None, 0) or image.set_sform(None, 0))"
        )
    return affine


def _contradiction(header: nib.nifti1.Nifti1Header) -> str:
    """In what two affines of a header differ beyond a registration, "" for nothing."""
    try:
        forms = [
            form for form in (header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]) if form is not None
        ]
    except HeaderDataError:
        # a quaternion that is none says nothing beside a sform
        return ""
    if len(forms) < 2:
        return ""
    # a single slice has no distance to the next
    axes = min(3, len(header.get_data_shape()))
    sides = [np.linalg.norm(form[:3, :axes], axis=0) for form in forms]
    if not all(np.isfinite(side).all() and side.all() for side in sides):
        return ""
    directions = [form[:3, :axes] / side for form, side in zip(forms, sides)]
    cosines = (directions[0] * directions[1]).sum(axis=0)
    if (cosines < _COSINE).any():
        angle = np.degrees(np.arccos(np.clip(cosines.min(), -1, 1)))
        return f"the directions of an axis differ by {angle:.0f} degrees, so left and right are in doubt"
    if not np.allclose(sides[0], sides[1], rtol=_SIDES, atol=0):
        first, second = (" x ".join(f"{length:.4g}" for length in side) for side in sides)
        return f"voxels measure {first} in one and {second} in the other"
    return ""


def affine_text(affine: np.ndarray) -> str:
    """An affine on one line, by rows."""
    rows = (" ".join(f"{value + 0.0:.6g}" for value in row) for row in np.round(np.asarray(affine), 6))
    return "[" + "; ".join(rows) + "]"
