"""How the array of a file becomes upright slices, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from nibabel.orientations import io_orientation

__all__ = ["SLICE_AXES", "SliceGeometry", "plain_geometry", "spatial_geometry"]

# Array axis, or the plane of the slices by the file's affine.
SLICE_AXES = (-1, 0, 1, 2, "axial", "coronal", "sagittal")
_NORMAL = {"sagittal": 0, "coronal": 1, "axial": 2}


@dataclass(frozen=True)
class SliceGeometry:
    """The way from the array of a file to slices (S, rows, columns) as a radiologist sees them.

    Args:
        kind: "mat", "picture", "nifti" or "dicom".
        shape: of the file's array; axes beyond the third have size 1.
        axes: which array axis the slices, the rows and the columns lie along.
        flips: whether rows, then columns, run against their array axis.
        affine: array index to millimetres, RAS, as nested tuples (4, 4); the identity where the file has none.
        placed: False where an affine was made up, as everybody does of a NIfTI file that tells none.
    """

    kind: str
    shape: tuple[int, ...]
    axes: tuple[int, int, int]
    flips: tuple[bool, bool]
    affine: tuple[tuple[float, ...], ...]
    placed: bool = True

    def to_slices(self, array: np.ndarray) -> np.ndarray:
        """Slices (S, rows, columns) of an array of `shape`."""
        return self._flipped(array.reshape(self._volume_shape()).transpose(self.axes))

    def to_array(self, slices: np.ndarray) -> np.ndarray:
        """The inverse of `to_slices`."""
        return self._flipped(slices).transpose(np.argsort(self.axes)).reshape(self.shape)

    @property
    def side_mm(self) -> float:
        """Longer side of a slice in millimetres, by the affine."""
        _, rows, columns = self.axes
        spacing = np.linalg.norm(np.asarray(self.affine)[:3, [rows, columns]], axis=0)
        return float(max(spacing * np.array(self._volume_shape())[[rows, columns]]))

    @property
    def plane(self) -> str:
        """ "axial", "coronal" or "sagittal", by the affine: the plane nearest to that of the slices."""
        along = int(io_orientation(np.asarray(self.affine))[self.axes[0], 0])
        return next(plane for plane, axis in _NORMAL.items() if axis == along)

    def to_text(self) -> str:
        """As JSON: text passes through MONAI's collation of metadata unchanged."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> SliceGeometry:
        """What `to_text` wrote."""
        fields: dict[str, Any] = json.loads(text)
        for key in ("shape", "axes", "flips"):
            fields[key] = tuple(fields[key])
        fields["affine"] = _nested(fields["affine"])
        return cls(**fields)

    def _volume_shape(self) -> tuple[int, ...]:
        return (*self.shape, 1) if len(self.shape) == 2 else self.shape[:3]

    def _flipped(self, slices: np.ndarray) -> np.ndarray:
        dims = tuple(dim for dim, flip in enumerate(self.flips, start=1) if flip)
        return np.flip(slices, dims) if dims else slices


def plain_geometry(kind: str, shape: tuple[int, int]) -> SliceGeometry:
    """Of one slice that is stored upright, without an affine."""
    return SliceGeometry(kind, shape, (2, 0, 1), (False, False), _nested(np.eye(4)))


def spatial_geometry(
    kind: str, shape: tuple[int, ...], affine: np.ndarray, slice_axis: int | str = -1, placed: bool = True
) -> SliceGeometry:
    """Of an array with an affine: slices are turned to the radiological view.

    Axial slices have the nose on top and the patient's right on the left; coronal slices the head on top and the right
    on the left; sagittal slices the head on top and the nose on the left. Oblique slices are turned to the nearest of
    these by whole quarter turns and mirrorings, so that no value is interpolated.

    Args:
        kind: as in `SliceGeometry`.
        shape: two or three axes; more may follow if their size is 1.
        affine: (4, 4), index to millimetres, RAS.
        slice_axis: array axis 0, 1, 2 or -1 (the last, default), or "axial", "coronal", "sagittal": the axis nearest to
            that plane's normal. A 2-D array is one slice whatever this says.
        placed: see `SliceGeometry`.

    Raises:
        ValueError: `slice_axis` is none of these, more than three axes are larger than 1, or the affine is not finite
            or cannot be inverted.
    """
    if slice_axis not in SLICE_AXES or isinstance(slice_axis, bool):
        raise ValueError(f"slice_axis must be one of {', '.join(map(str, SLICE_AXES))}, got {slice_axis!r}.")
    if len(shape) < 2 or any(size != 1 for size in shape[3:]):
        raise ValueError(
            f"an array of shape {shape} is neither a slice nor a volume; save each volume in a file of its own."
        )
    affine = np.asarray(affine, dtype=np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise ValueError("the affine is not finite or cannot be inverted, so the file does not say how it is oriented.")
    world = [int(axis) for axis in io_orientation(affine)[:, 0]]
    direction = io_orientation(affine)[:, 1]
    if len(shape) == 2:
        along = 2
    elif isinstance(slice_axis, str):
        along = world.index(_NORMAL[slice_axis])
    else:
        along = range(3)[slice_axis]
    # Of right, anterior, superior the later of the plane's two runs along the rows, each of them against RAS.
    columns, rows = sorted((axis for axis in range(3) if axis != along), key=lambda axis: world[axis])
    flips = (bool(direction[rows] > 0), bool(direction[columns] > 0))
    return SliceGeometry(
        kind, tuple(int(size) for size in shape), (along, rows, columns), flips, _nested(affine), placed
    )


def _nested(affine: np.ndarray | Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in affine)
