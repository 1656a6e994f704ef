"""Phantoms in the layout of BraTS 2023."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ckdmed.paths import output_path

from .files import MANIFEST, check_settings, write_json, write_nifti
from .volumes import MODALITIES, TUMOUR_TYPES, BratsPatient, brats_affine

__all__ = ["PHANTOM_RELEASE", "write_brats_phantoms"]

#: Whose labels the masks have.
PHANTOM_RELEASE = "2023"

# Raised whenever the same seed would give other volumes.
_VERSION = 1


def _plan(n_cases: int, time_points: tuple[int, int], kinds: Sequence[str], seed: int) -> list[tuple[str, int, int]]:
    """(type, patient, time point) of every case; a longer list begins with the shorter one."""
    cases: list[tuple[str, int, int]] = []
    patient = 0
    while len(cases) < n_cases:
        count = int(np.random.default_rng([seed, patient, 10]).integers(time_points[0], time_points[1] + 1))
        cases += [(kinds[patient % len(kinds)], patient, t) for t in range(count)]
        patient += 1
    return cases[:n_cases]


def write_brats_phantoms(
    folder: str | Path,
    n_cases: int = 8,
    shape: tuple[int, int, int] = (240, 240, 155),
    seed: int = 0,
    tumour_types: Sequence[str] = ("GLI",),
    time_points: tuple[int, int] = (1, 2),
    without_enhancement: float = 0.15,
    dtype: str = "int16",
    progress: bool = True,
) -> Path:
    """Write cases ``BraTS-GLI-00000-000/BraTS-GLI-00000-000-{t1n,t1c,t2w,t2f,seg}.nii.gz`` and ``phantoms.json``.

    The images are skull-stripped (0 outside the brain). Labels of seg: 1 necrotic core, 2 oedema, 3 enhancing. In a
    name the first number is the person, the second the time point. Persons depend on the seed and their own number
    only; files that are there already are kept.

    Args:
        folder: where to; made if absent.
        n_cases: number of case folders, at least 1.
        shape: voxels per axis, each at least 16; always over 240 x 240 x 155 mm, so the default has 1 mm.
        seed: 0 or more; equal seeds give equal bytes.
        tumour_types: types that the persons take in turn, of GLI, MEN, MET, PED, SSA.
        time_points: fewest and most time points of a person, 1 <= fewest <= most <= 10.
        without_enhancement: probability that a GLI, SSA or PED case has no label 3, 0 to 1.
        dtype: "int16" or "float32"; seg is int16 always.
        progress: show a bar.

    Returns:
        The manifest's path. It lists the settings and, per case, name, type, patient and time point.

    Raises:
        ValueError: an argument is out of its range, or the folder holds phantoms made with other settings
            or more cases.

    Example::

        manifest = write_brats_phantoms("phantoms3d", n_cases=4, shape=(64, 64, 48), tumour_types=("GLI", "MET"))
    """
    sizes = tuple(int(v) for v in shape)
    low, high = (int(v) for v in time_points)
    kinds = [str(kind) for kind in tumour_types]
    if n_cases < 1:
        raise ValueError(f"n_cases has to be at least 1, got {n_cases}.")
    if len(sizes) != 3 or min(sizes) < 16:
        raise ValueError(f"shape has to be three numbers of 16 or more, got {tuple(shape)}.")
    if not kinds or any(kind not in TUMOUR_TYPES for kind in kinds):
        raise ValueError(f"tumour_types has to be one or more of {', '.join(TUMOUR_TYPES)}, got {kinds}.")
    if not 1 <= low <= high <= 10:
        raise ValueError(f"time_points has to be (fewest, most) with 1 <= fewest <= most <= 10, got {(low, high)}.")
    if not 0 <= without_enhancement <= 1:
        raise ValueError(f"without_enhancement must be a probability, got {without_enhancement}.")
    if dtype not in ("int16", "float32"):
        raise ValueError(f"dtype has to be 'int16' or 'float32', got {dtype!r}.")
    if seed < 0:
        raise ValueError(f"seed has to be 0 or more, got {seed}.")

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "generator": "brats",
        "version": _VERSION,
        "shape": list(sizes),
        "seed": seed,
        "tumour_types": kinds,
        "time_points": [low, high],
        "without_enhancement": without_enhancement,
        "dtype": dtype,
    }
    check_settings(folder, settings, ("n_cases", n_cases))
    cases = _plan(n_cases, (low, high), kinds, seed)
    items = [
        {"case": f"BraTS-{kind}-{patient:05d}-{time:03d}", "type": kind, "patient": patient, "time_point": time}
        for kind, patient, time in cases
    ]
    manifest = folder / MANIFEST
    # First, so that a call with other settings is refused even after this one was interrupted.
    if not manifest.exists():
        write_json(manifest, {"settings": settings, "n_cases": n_cases, "cases": items})
    grid = (sizes[0], sizes[1], sizes[2])
    for (kind, patient, time), item in zip(tqdm(cases, "phantom cases", unit="case", disable=not progress), items):
        name = str(item["case"])
        paths = {part: output_path(folder, f"{name}/{name}-{part}.nii.gz") for part in (*MODALITIES, "seg")}
        missing = [part for part, path in paths.items() if not path.exists()]
        if not missing:
            continue
        phantom = BratsPatient(patient, kind, seed, without_enhancement).render(time, grid, dtype)
        for part in missing:
            volume = phantom.seg if part == "seg" else phantom.images[part]
            write_nifti(paths[part], volume, brats_affine(grid))
    write_json(manifest, {"settings": settings, "n_cases": n_cases, "cases": items})
    return manifest
