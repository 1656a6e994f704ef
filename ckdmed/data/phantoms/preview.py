"""One picture of a folder of phantoms, to look at before training on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
from matplotlib.image import imsave
from scipy.ndimage import binary_erosion, zoom

from ckdmed.json_files import read_json

from .files import MANIFEST, write_atomic
from .volumes import MODALITIES

__all__ = ["write_preview"]

_TILE = 160
_COLOURS = {1: (255, 60, 60), 2: (60, 220, 90), 3: (255, 220, 40)}


def _tile(image: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Grey picture with the regions' outlines, _TILE pixels square."""
    side = max(image.shape)
    pad = [((side - n) // 2, side - n - (side - n) // 2) for n in image.shape]
    image, regions = np.pad(image, pad), np.pad(regions, pad)
    image = zoom(image.astype(np.float32), _TILE / side, order=1, grid_mode=True, mode="nearest")
    regions = zoom(regions, _TILE / side, order=0, grid_mode=True, mode="nearest")
    top = max(float(np.percentile(image, 99.5)), 1e-6)
    tile = np.repeat((np.clip(image / top, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)
    for label, colour in _COLOURS.items():
        region = regions == label
        tile[region & ~binary_erosion(region)] = colour
    return tile


def _figshare_rows(folder: Path, slices: list[dict[str, Any]], columns: int) -> list[list[np.ndarray]]:
    rows = []
    for label in (1, 2, 3):
        seen: set[str] = set()
        row: list[np.ndarray] = []
        # The middle slice of as many different persons as fit.
        for item in slices:
            group = [s for s in slices if s["patient_group"] == item["patient_group"]]
            if item["tumor_label"] != label or item["patient_group"] in seen or len(row) == columns:
                continue
            seen.add(item["patient_group"])
            with h5py.File(folder / group[len(group) // 2]["file"], "r") as file:
                image, mask = file["cjdata/image"][()].T, file["cjdata/tumorMask"][()].T
            row.append(_tile(image, mask))
        rows.append(row)
    return rows


def _brats_rows(folder: Path, cases: list[dict[str, Any]], count: int) -> list[list[np.ndarray]]:
    rows = []
    for item in cases[:count]:
        name = item["case"]
        stem = folder / name / name
        seg = np.asanyarray(nib.Nifti1Image.from_filename(f"{stem}-seg.nii.gz").dataobj)
        k = int(np.argmax((seg > 0).sum((0, 1))))
        row = []
        for modality in MODALITIES:
            image = np.asanyarray(nib.Nifti1Image.from_filename(f"{stem}-{modality}.nii.gz").dataobj)[:, :, k].T
            # Each modality twice: plain, and with the regions outlined.
            row += [_tile(image, np.zeros(image.shape, np.int16)), _tile(image, seg[:, :, k].T)]
        rows.append(row)
    return rows


def write_preview(folder: str | Path, path: str | Path, count: int = 8) -> Path:
    """Write a PNG of examples from a folder that the phantom writers made.

    Figshare: a row per class, a column per person. BraTS: a row per case, per modality the slice with most tumour,
    plain and outlined (red 1, green 2, yellow 3).

    Args:
        folder: the phantoms' folder.
        path: the PNG to write.
        count: columns (Figshare) or rows (BraTS) at most, at least 1.

    Raises:
        ValueError: ``folder`` has no manifest of phantoms.
    """
    folder, path = Path(folder), Path(path)
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise ValueError(f"{manifest} is missing: {folder} is not a folder of phantoms.")
    if count < 1:
        raise ValueError(f"count has to be at least 1, got {count}.")
    content = read_json(manifest)
    if "slices" in content:
        rows = _figshare_rows(folder, content["slices"], count)
    else:
        rows = _brats_rows(folder, content["cases"], count)
    width = max(len(row) for row in rows)
    blank = np.zeros((_TILE, _TILE, 3), np.uint8)
    picture = np.concatenate([np.concatenate(row + [blank] * (width - len(row)), axis=1) for row in rows], axis=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda temporary: imsave(temporary, picture, format="png", metadata={"Software": "ckdmed"}))
    return path
