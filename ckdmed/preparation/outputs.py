"""Prepared cases as NIfTI, HDF5, NumPy or PNG."""

from __future__ import annotations

import csv
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
from skimage.io import imsave
from skimage.transform import resize

from ckdmed.data.slice_geometry import spatial_geometry
from ckdmed.labels import SLICE_CATEGORIES, slice_category
from ckdmed.preparation.case import PreparedVolume
from ckdmed.preparation.settings import PreparationSettings

__all__ = ["write_volume"]


def write_volume(volume: PreparedVolume, folder: Path, case: str, settings: PreparationSettings) -> None:
    """Write a case into a folder that is there and empty.

    - nifti: `<case>-t1n.nii.gz` and so on (float32), `<case>-seg.nii.gz` and `<case>-brain.nii.gz` (uint8);
    - hdf5: `<case>.h5` with `image` (C, X, Y, Z), `label`, `brain` in chunks of one slice, and the attributes `affine`,
      `modalities`, `case`;
    - npy: `image.npy` (C, X, Y, Z), `label.npy`, `brain.npy`, `affine.npy`;
    - png: `t1n/000.png` and so on, 8 bits, the slices that hold brain, upright; `seg/`; `slices.csv` with what each
      slice holds.
    """
    writers = {"nifti": _write_nifti, "hdf5": _write_hdf5, "npy": _write_npy, "png": _write_png}
    writers[settings.format](volume, folder, case, settings)


def _masks(volume: PreparedVolume) -> dict[str, np.ndarray]:
    return {**({} if volume.label is None else {"label": volume.label}), "brain": volume.brain}


def _write_nifti(volume: PreparedVolume, folder: Path, case: str, settings: PreparationSettings) -> None:
    arrays = dict(zip(volume.modalities, volume.image, strict=True))
    arrays.update({{"label": "seg"}.get(key, key): mask for key, mask in _masks(volume).items()})
    for name, array in arrays.items():
        image = nib.Nifti1Image(array, volume.affine)
        image.header.set_xyzt_units("mm")
        image.set_qform(volume.affine, 1)
        image.set_sform(volume.affine, 1)
        nib.save(image, folder / f"{case}-{name}.nii.gz")


def _write_hdf5(volume: PreparedVolume, folder: Path, case: str, settings: PreparationSettings) -> None:
    geometry = spatial_geometry("nifti", volume.brain.shape, volume.affine, settings.plane)
    chunk = list(volume.brain.shape)
    chunk[geometry.axes[0]] = 1
    with h5py.File(folder / f"{case}.h5", "w") as file:
        # Level 1: higher ones make the file 2 % smaller and three times as slow.
        storage = {"compression": "gzip", "compression_opts": 1, "track_times": False}
        file.create_dataset("image", data=volume.image, chunks=(len(volume.image), *chunk), **storage)
        for key, mask in _masks(volume).items():
            file.create_dataset(key, data=mask, chunks=tuple(chunk), **storage)
        file.attrs["affine"] = volume.affine
        file.attrs["modalities"] = list(volume.modalities)
        file.attrs["case"] = case


def _write_npy(volume: PreparedVolume, folder: Path, case: str, settings: PreparationSettings) -> None:
    for key, array in {"image": volume.image, **_masks(volume), "affine": volume.affine}.items():
        np.save(folder / f"{key}.npy", array, allow_pickle=False)


def _write_png(volume: PreparedVolume, folder: Path, case: str, settings: PreparationSettings) -> None:
    geometry = spatial_geometry("nifti", volume.brain.shape, volume.affine, settings.plane)
    brain = geometry.to_slices(volume.brain)
    chosen = np.flatnonzero(brain.any(axis=(1, 2)))
    for name, array in zip(volume.modalities, volume.image, strict=True):
        low, high = np.percentile(array[volume.brain != 0], [0.5, 99.5])
        slices = geometry.to_slices(array)
        (folder / name).mkdir()
        for number in chosen:
            grey = np.where(brain[number] != 0, (slices[number] - low) / max(high - low, 1e-9), 0)
            _save(folder / name / f"{number:03d}.png", np.clip(_sized(grey, settings.png_size, 1), 0, 1) * 255)
    label = None if volume.label is None else geometry.to_slices(volume.label)
    if label is not None:
        (folder / "seg").mkdir()
        for number in chosen:
            _save(folder / "seg" / f"{number:03d}.png", _sized(label[number], settings.png_size, 0))
    with open(folder / "slices.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["case", "slice", "brain_pixels", "tumour_pixels", "category", "category_name"])
        for number in chosen:
            pixels = "" if label is None else int(np.count_nonzero(label[number]))
            kind = _category(volume, label, int(number))
            name = "" if kind is None else SLICE_CATEGORIES[kind]
            row = [case, number, int(np.count_nonzero(brain[number])), pixels, "" if kind is None else kind, name]
            writer.writerow(row)


def _category(volume: PreparedVolume, label: np.ndarray | None, number: int) -> int | None:
    if label is None or volume.table is None:
        return None
    table = volume.table
    counts = [np.count_nonzero(label[number] == value) for value in (table.ncr, table.ed, table.et)]
    return int(slice_category(counts[0], counts[1], counts[2]))


def _sized(pixels: np.ndarray, size: int | None, order: int) -> np.ndarray:
    """Square slices keep their shape; others are padded with 0 to a square first."""
    if size is None:
        return pixels
    edge = max(pixels.shape)
    lack = [edge - n for n in pixels.shape]
    square = np.pad(pixels, [(n // 2, n - n // 2) for n in lack])
    smooth = order > 0 and size < edge
    return np.asarray(resize(square, (size, size), order=order, preserve_range=True, anti_aliasing=smooth))


def _save(path: Path, pixels: np.ndarray) -> None:
    imsave(path, np.rint(pixels).astype(np.uint8), check_contrast=False)
