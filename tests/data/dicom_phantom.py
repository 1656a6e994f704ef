"""A small DICOM series, written with SimpleITK."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk


def write_series(
    folder: Path,
    volume: np.ndarray,
    spacing: Sequence[float] = (0.8, 0.9, 3.0),
    origin: Sequence[float] = (-10.0, 20.0, 30.0),
    direction: np.ndarray | None = None,
    uid: str = "1.2.826.0.1.3680043.8.498.1",
    number: int = 1,
    names: str = "slice{:02d}.dcm",
) -> list[Path]:
    """Write `volume`, int16 (columns, rows, slices), as one file per slice; returns the files in order."""
    matrix = np.eye(3) if direction is None else np.asarray(direction)
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    files = []
    for index in range(volume.shape[2]):
        image = sitk.GetImageFromArray(volume[:, :, index : index + 1].transpose(2, 1, 0).astype(np.int16))
        position = np.asarray(origin) + matrix[:, 2] * spacing[2] * index
        image.SetSpacing(tuple(spacing))
        image.SetOrigin(tuple(position))
        image.SetDirection(matrix.ravel().tolist())
        tags = {
            "0008|0060": "MR",
            "0020|000e": uid,
            "0020|000d": uid + ".0",
            "0008|0018": f"{uid}.{index + 1}",
            "0020|0011": str(number),
            "0020|0013": str(index + 1),
            "0020|0032": "\\".join(f"{v:.6f}" for v in position),
            "0020|0037": "\\".join(f"{v:.8f}" for v in (*matrix[:, 0], *matrix[:, 1])),
            "0018|0050": str(spacing[2]),
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        path = folder / names.format(index)
        writer.SetImageIO("GDCMImageIO")
        writer.SetFileName(str(path))
        writer.Execute(image)
        files.append(path)
    return files
