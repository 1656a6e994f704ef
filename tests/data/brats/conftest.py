"""Small cases in the layouts of BraTS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

AFFINE = np.array([[-1.0, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])
SHAPE = (8, 9, 6)
NEW = {"t1n": "-t1n", "t1c": "-t1c", "t2w": "-t2w", "t2f": "-t2f", "seg": "-seg"}
OLD = {"t1n": "_t1", "t1c": "_t1ce", "t2w": "_t2", "t2f": "_flair", "seg": "_seg"}


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def brain(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """Values 10..109 inside a box, 0 around it."""
    image = np.zeros(shape, np.int16)
    inside = tuple(slice(1, size - 1) for size in shape)
    image[inside] = np.random.default_rng(seed).integers(10, 110, image[inside].shape)
    return image


def mask(et: int = 3, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """In slice 2: 4 ED, 2 NCR, 2 ET; in slice 3: 4 ED, 2 NCR; in slice 4: 2 ED."""
    label = np.zeros(shape, np.uint8)
    label[2:6, 3, 2:4] = 2
    label[2:4, 4, 2:4] = 1
    label[4:6, 4, 2] = et
    label[2:4, 3, 4] = 2
    return label


@pytest.fixture
def make_case(tmp_path: Path) -> Callable[..., Path]:
    """Write a case; `leave_out` names parts, keyword arguments give the array, or (array, affine), of a part.

    Cases of one `seed` have the same images, by which they are one person's.
    """

    def make(
        case: str, folder: str = "", leave_out: tuple[str, ...] = (), et: int = 3, seed: int = 0, **parts: Any
    ) -> Path:
        names = NEW if case.startswith("BraTS-") else OLD
        where = tmp_path / folder / case
        for number, (part, suffix) in enumerate(names.items()):
            if part in leave_out:
                continue
            default = mask(et) if part == "seg" else brain(seed=seed + number)
            given = parts.get(part, default)
            array, affine = given if isinstance(given, tuple) else (given, AFFINE)
            save(where / f"{case}{suffix}.nii.gz", array, affine)
        return where

    return make
