"""Phantoms in the layout of the Figshare brain tumour set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .files import MANIFEST, check_settings, write_cvind, write_json, write_slice_mat
from .patients import plan_patients
from .slices import PatientRenderer

__all__ = ["write_figshare_phantoms"]

# Raised whenever the same seed would give other pictures.
_VERSION = 1


def write_figshare_phantoms(
    folder: str | Path,
    n_patients: int = 60,
    slices_per_patient: tuple[int, int] = (3, 6),
    size: int = 256,
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Write phantom slices ``1.mat``, ``2.mat``, ... , ``cvind.mat`` and the manifest ``phantoms.json``.

    The files have the layout of the published set (MATLAB v7.3): int16 image, mask, outline, label, patient identifier.
    Each patient has one head and one tumour (1 meningioma, 2 glioma, 3 pituitary tumour; equally many), cut several
    times, some in two planes. Patients depend on the seed and their own number only, so a larger set begins with
    the smaller one. Files that are there already are kept; an interrupted call is finished by repeating it.

    Args:
        folder: where to; made if absent.
        n_patients: at least 1. The default gives about 270 slices.
        slices_per_patient: fewest and most, 1 <= fewest <= most.
        size: edge of the square slices in pixels, 32 to 1024. The field of view stays 215 to 250 mm.
        seed: 0 or more; equal seeds give equal bytes.
        progress: show a bar.

    Returns:
        The manifest's path. It lists the settings and, per slice, file, patient, patient group, label, fold and view.

    Raises:
        ValueError: an argument is out of its range, or the folder holds phantoms made with other settings
            or more patients.

    Example::

        manifest = write_figshare_phantoms("phantoms", n_patients=12, size=96)
        folder = manifest.parent
    """
    low, high = (int(v) for v in slices_per_patient)
    if n_patients < 1:
        raise ValueError(f"n_patients has to be at least 1, got {n_patients}.")
    if not 1 <= low <= high:
        raise ValueError(f"slices_per_patient has to be (fewest, most) with 1 <= fewest <= most, got {(low, high)}.")
    if not 32 <= size <= 1024:
        raise ValueError(f"size has to lie between 32 and 1024 pixels, got {size}.")
    if seed < 0:
        raise ValueError(f"seed has to be 0 or more, got {seed}.")

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "generator": "figshare",
        "version": _VERSION,
        "slices_per_patient": [low, high],
        "size": size,
        "seed": seed,
    }
    check_settings(folder, settings, ("n_patients", n_patients))
    patients = plan_patients(n_patients, (low, high), seed)
    items = [
        {
            "id": str(item.id),
            "file": f"{item.id}.mat",
            "patient": item.patient,
            "patient_group": patient.group,
            "tumor_label": patient.label,
            "official_fold": item.fold,
            "view": item.view,
        }
        for patient in patients
        for item in patient.slices
    ]
    manifest = folder / MANIFEST
    # First, so that a call with other settings is refused even after this one was interrupted.
    if not manifest.exists():
        write_json(manifest, {"settings": settings, "n_patients": n_patients, "slices": items})

    with tqdm(total=len(items), desc="phantom slices", unit="slice", disable=not progress) as bar:
        for patient in patients:
            missing = [item for item in patient.slices if not (folder / f"{item.id}.mat").exists()]
            bar.update(len(patient.slices) - len(missing))
            if not missing:
                continue
            renderer = PatientRenderer(patient, seed)
            for item in missing:
                picture = renderer.render(item, size)
                path = folder / f"{item.id}.mat"
                write_slice_mat(path, picture.image, picture.mask, picture.border, patient.label, item.patient)
                bar.update()
    write_cvind(folder / "cvind.mat", np.array([item["official_fold"] for item in items], float))
    write_json(manifest, {"settings": settings, "n_patients": n_patients, "slices": items})
    return manifest
