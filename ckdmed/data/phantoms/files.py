"""Files that are whole or absent, and whose bytes depend on their content only."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np

from ckdmed import files
from ckdmed.json_files import read_json

__all__ = ["MANIFEST", "check_settings", "write_atomic", "write_cvind", "write_json", "write_nifti", "write_slice_mat"]

MANIFEST = "phantoms.json"
# Where MATLAB writes a text with the date: fixed here, since equal content has to give equal bytes.
_USER_BLOCK = b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM" + bytes(384)


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """:func:`ckdmed.files.write_atomic` with a temporary name that no reader of data takes for one of its files."""
    files.write_atomic(path, write, suffix=".tmp")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON atomically, indented, with a final newline."""
    text = json.dumps(content, indent=1) + "\n"
    write_atomic(path, lambda temporary: temporary.write_bytes(text.encode()))


def check_settings(folder: Path, settings: Mapping[str, Any], count: tuple[str, int]) -> None:
    """Refuse to mix two sets of phantoms in one folder.

    Args:
        folder: the phantoms' folder.
        settings: what the files depend on.
        count: the manifest's name for how many persons or cases it lists, and how many are requested.

    Raises:
        ValueError: the folder's manifest is unreadable, records other settings, or lists more than requested
            (the files left over would be taken for data); or the folder holds other files and no manifest.
    """
    path = folder / MANIFEST
    if not path.exists():
        if others := sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith(".")):
            raise ValueError(f"{folder} holds {others[0]} and no {MANIFEST}; phantoms go into a folder of their own.")
        return
    try:
        content = read_json(path)
        found, listed = content["settings"], int(content[count[0]])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a manifest of phantoms ({error}); use another folder or remove it.") from error
    for name, value in settings.items():
        if not isinstance(found, dict) or found.get(name) != value:
            was = found.get(name) if isinstance(found, dict) else None
            raise ValueError(
                f"{folder} holds phantoms made with {name} = {was!r}, not {value!r}; "
                "use another folder, the same settings, or remove the folder."
            )
    if listed > count[1]:
        raise ValueError(
            f"{folder} holds {count[0]} = {listed}, more than the {count[1]} requested; "
            "use another folder, or remove the folder."
        )


def _add(group: h5py.Group, name: str, array: np.ndarray, matlab_class: str, **storage: Any) -> None:
    dataset = group.create_dataset(name, data=array, track_times=False, **storage)
    dataset.attrs["MATLAB_class"] = np.bytes_(matlab_class)
    if matlab_class in ("logical", "char"):
        dataset.attrs["MATLAB_int_decode"] = np.int32(1 if matlab_class == "logical" else 2)


def _write_mat(path: Path, fill: Callable[[h5py.File], None]) -> None:
    # in memory first: HDF5 ends the process with a segmentation fault when its own file finds no room
    packed = io.BytesIO()
    with h5py.File(packed, "w", userblock_size=512) as file:
        fill(file)
    packed.seek(0)
    packed.write(_USER_BLOCK)
    write_atomic(path, lambda temporary: temporary.write_bytes(packed.getvalue()))


def write_slice_mat(
    path: Path, image: np.ndarray, mask: np.ndarray, border: np.ndarray, label: int, patient: str
) -> None:
    """Write one slice as the published Figshare files hold it: MATLAB v7.3, arrays transposed.

    Args:
        path: the file.
        image: (rows, columns) int16, upright.
        mask: (rows, columns) uint8.
        border: (n, 2) x (column) and y (row), 1-based.
        label: 1, 2 or 3.
        patient: ASCII identifier.
    """
    storage = {"chunks": (image.shape[1], min(64, image.shape[0])), "compression": "gzip", "compression_opts": 3}

    def fill(file: h5py.File) -> None:
        group = file.create_group("cjdata")
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        codes = np.frombuffer(patient.encode("ascii"), np.uint8).astype(np.uint16)
        _add(group, "PID", codes[:, None], "char")
        _add(group, "image", image.T, "int16", **storage)
        _add(group, "label", np.array([[float(label)]]), "double")
        _add(group, "tumorBorder", border.reshape(1, -1).astype(np.float64), "double")
        _add(group, "tumorMask", mask.T, "logical", **storage)

    _write_mat(path, fill)


def write_cvind(path: Path, folds: np.ndarray) -> None:
    """Write the fold of every slice (position id - 1) as ``cvind``, shape (1, n)."""
    _write_mat(path, lambda file: _add(file, "cvind", folds.reshape(1, -1).astype(np.float64), "double"))


def write_nifti(path: Path, volume: np.ndarray, affine: np.ndarray) -> None:
    """Write a ``.nii.gz`` in the volume's own type, millimetres, without a time or a name in the gzip header."""
    image = nib.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=2, mtime=0) as stream:
        stream.write(image.to_bytes())
    write_atomic(path, lambda temporary: temporary.write_bytes(packed.getvalue()))
