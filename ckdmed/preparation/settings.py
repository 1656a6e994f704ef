"""What preparation does to every case."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ckdmed.data.brats import MODALITIES
from ckdmed.data.brats.headers import DEFAULT_TOLERANCE_MM
from ckdmed.transforms.volume_preparation import NORMALISATIONS

__all__ = ["FORMATS", "PLANES", "PreparationSettings"]

FORMATS = ("nifti", "hdf5", "npy", "png")
PLANES = ("axial", "coronal", "sagittal")
_BRAIN_METHODS = ("auto", "nonzero", "tissue")
# Raised whenever the same input would give other files.
_VERSION = 1


@dataclass(frozen=True)
class PreparationSettings:
    """Settings of `prepare_cases`; see `ckdmed.transforms.volume_preparation` for those not listed.

    Args:
        modalities: those to take, of t1n, t1c, t2w, t2f; None for all four of a BraTS case, and for those that there
            are of another.
        reference: the modality whose grid is used; None for the first that there is.
        orientation, spacing, size, brain, normalise, clahe, clahe_limit: of the volumes.
        format: "nifti", "hdf5", "npy" or "png".
        plane: of the slices of PNG, of the chunks of HDF5.
        png_size: rows and columns of PNG slices; None for their own.
        release: whose labels masks have; None for what a BraTS name says. Labels are checked where this is known.
        tolerance_mm: see `ckdmed.data.brats.grid_disagreement`.
        picture: whether to draw `summary.png` for each case.
        coregister: whether to bring the other images onto the reference by `ckdmed.preparation.registration`.
        n4: whether to take the coil's shading out of each image before.

    Raises:
        ValueError: an unknown modality, reference, format, plane, brain method or normalisation; `png_size` below 2.
    """

    modalities: tuple[str, ...] | None = None
    reference: str | None = None
    orientation: str = "LPS"
    spacing: tuple[float, float, float] | None = (1.0, 1.0, 1.0)
    size: tuple[int, int, int] | None = None
    brain: str = "auto"
    normalise: str = "zscore"
    clahe: bool = False
    clahe_limit: float = 0.01
    format: str = "nifti"
    plane: str = "axial"
    png_size: int | None = None
    release: str | None = None
    tolerance_mm: float = DEFAULT_TOLERANCE_MM
    picture: bool = True
    coregister: bool = False
    n4: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (
            ("format", FORMATS),
            ("plane", PLANES),
            ("brain", _BRAIN_METHODS),
            ("normalise", NORMALISATIONS),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}.")
        chosen = MODALITIES if self.modalities is None else self.modalities
        if not chosen or not set(chosen) <= set(MODALITIES) or len(set(chosen)) != len(chosen):
            raise ValueError(
                f"modalities must be one or more of {', '.join(MODALITIES)}, each once, got {self.modalities}."
            )
        if self.reference is not None and self.reference not in chosen:
            raise ValueError(f"the reference must be one of {', '.join(chosen)}, got {self.reference!r}.")
        if self.png_size is not None and self.png_size < 2:
            raise ValueError(f"png_size must be at least 2, got {self.png_size}.")

    def as_json(self) -> dict[str, Any]:
        """What the result depends on, as plain values."""
        values = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}
        # folders that were prepared before there were these stay what they are
        for key in ("coregister", "n4"):
            if not values[key]:
                del values[key]
        return {"version": _VERSION, **values}
