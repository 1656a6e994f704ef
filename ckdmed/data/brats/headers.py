"""What goes wrong with BraTS cases, and the headers of their files."""

from __future__ import annotations

from ckdmed.data.nifti_files import VolumeFileError, open_nifti
from ckdmed.data.volume_headers import (
    DEFAULT_TOLERANCE_MM,
    VolumeHeader,
    affine_text,
    grid_disagreement,
    read_volume_header,
)

__all__ = [
    "VolumeFileError",
    "DEFAULT_TOLERANCE_MM",
    "IncompleteCaseError",
    "VolumeHeader",
    "affine_text",
    "grid_disagreement",
    "open_nifti",
    "read_volume_header",
]


class IncompleteCaseError(VolumeFileError):
    """A case that lacks requested files."""
