"""Reading results back: by their own positions, by dciodvfy, and by dcmqi."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
import SimpleITK as sitk

from ckdmed.data.dicom_series import read_dicom_volume

needs_dciodvfy = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="no dciodvfy here (Debian package dicom3tools)"
)


def dcmqi(name: str) -> str:
    """A program of dcmqi; the test is skipped where it is not installed."""
    program = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if program is None:
        pytest.skip(f"no {name} here (PyPI package dcmqi)")
    return program


def placed_masks(segmentation: Path, files: Sequence[Path], segment: int = 1) -> np.ndarray:
    """The mask (columns, rows, slices) of a segmentation, each frame placed by its own position in the patient."""
    dataset = highdicom.seg.segread(segmentation)
    volume, affine = read_dicom_volume(files)
    back = np.linalg.inv(np.diag([-1, -1, 1, 1]) @ affine)
    found = np.zeros(volume.shape, dataset.pixel_array.dtype)
    frames = dataset.pixel_array.reshape(-1, volume.shape[1], volume.shape[0])
    shared = dataset.SharedFunctionalGroupsSequence[0]
    for groups, frame in zip(dataset.PerFrameFunctionalGroupsSequence, frames, strict=True):
        place = groups if "SegmentIdentificationSequence" in groups else shared
        if place.SegmentIdentificationSequence[0].ReferencedSegmentNumber == segment:
            position = [float(v) for v in groups.PlanePositionSequence[0].ImagePositionPatient]
            index = back @ [*position, 1]
            assert np.allclose(index[:2], 0, atol=1e-3) and abs(index[2] - round(index[2])) < 0.02
            found[:, :, round(index[2])] = frame.T
    return found


def complaints(path: Path) -> set[str]:
    """What dciodvfy calls an error in a file."""
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True)
    return {line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Error", "Abort"))}


def by_dcmqi(segmentation: Path, files: Sequence[Path], folder: Path) -> np.ndarray:
    """The mask of a segmentation on the series' grid, as dcmqi's own reader places it."""
    folder.mkdir()
    arguments = ["--inputDICOM", str(segmentation), "--outputDirectory", str(folder)]
    subprocess.run([dcmqi("segimage2itkimage"), *arguments], check=True, capture_output=True)
    image = sitk.ReadImage(str(folder / "1.nrrd"))
    volume, affine = read_dicom_volume(files)
    back = np.linalg.inv(np.diag([-1, -1, 1, 1]) @ affine)
    found = np.zeros(volume.shape, np.uint8)
    values = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    for corner in np.argwhere(values):
        place = image.TransformIndexToPhysicalPoint([int(v) for v in corner])
        index = back @ [*place, 1]
        assert np.abs(index[:3] - np.round(index[:3])).max() < 0.05
        found[tuple(np.round(index[:3]).astype(int))] = 1
    return found


def report_by_dcmqi(report: Path, folder: Path) -> dict[str, Any]:
    """A measurement report as dcmqi's own reader understands it."""
    out = folder / "report.json"
    arguments = ["--inputDICOM", str(report), "--outputMetadata", str(out)]
    subprocess.run([dcmqi("tid1500reader"), *arguments], check=True, capture_output=True)
    return dict(json.loads(out.read_text()))
