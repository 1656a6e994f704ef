"""Small files in the layout of the published Figshare set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

USER_BLOCK = b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM" + bytes(384)
# Upright, 1-based x,y: the rectangle of columns 10..19 and rows 5..8 (0-based), asymmetric under transposition.
BORDER_XY = [11.0, 6.0, 20.0, 6.0, 20.0, 9.0, 11.0, 9.0]


def stamp(path: Path) -> None:
    """Write MATLAB's header into the user block."""
    with open(path, "r+b") as stream:
        stream.write(USER_BLOCK)


def upright_image(rows: int = 16, columns: int = 32) -> np.ndarray:
    return np.arange(rows * columns, dtype=np.int16).reshape(rows, columns)


def rectangle(rows: int = 16, columns: int = 32) -> np.ndarray:
    mask = np.zeros((rows, columns), dtype=np.uint8)
    mask[5:9, 10:20] = 1
    return mask


@pytest.fixture
def make_mat(tmp_path: Path) -> Callable[..., Path]:
    """Write a slice; keyword arguments replace the published fields, None leaves one out."""

    def make(name: str = "1.mat", group: str | None = "cjdata", **fields: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        values: dict[str, Any] = {
            "PID": "100360",
            "image": upright_image(),
            "label": np.array([[1.0]]),
            "tumorBorder": np.array([BORDER_XY]).T,
            "tumorMask": rectangle(),
        }
        values.update(fields)
        with h5py.File(path, "w", userblock_size=512) as file:
            target = file.create_group(group) if group else file
            for key, value in values.items():
                if value is None:
                    continue
                if isinstance(value, str):
                    value = np.array([[ord(c) for c in value]], dtype=np.uint16)
                # MATLAB's arrays stand transposed in the file.
                target.create_dataset(key, data=np.asarray(value).T)
        stamp(path)
        return path

    return make


@pytest.fixture
def make_cvind(tmp_path: Path) -> Callable[..., Path]:
    def make(folds: Any, name: str = "cvind.mat", key: str = "cvind") -> Path:
        with h5py.File(tmp_path / name, "w", userblock_size=512) as file:
            file.create_dataset(key, data=np.atleast_2d(np.asarray(folds, dtype=np.float64)))
        stamp(tmp_path / name)
        return tmp_path / name

    return make


@pytest.fixture
def small_set(make_mat: Callable[..., Path], tmp_path: Path) -> Path:
    """36 slices: twelve persons of three kinds, three slices each; person 12 has two identifiers."""
    number = 0
    for person in range(12):
        for repeat in range(3):
            number += 1
            pid = ("MR000012", "MR000012B", "MR000012B")[repeat] if person == 11 else f"20{person:04d}"
            image = upright_image() + number
            make_mat(f"{number}.mat", PID=pid, label=np.array([[1.0 + person % 3]]), image=image)
    return tmp_path
