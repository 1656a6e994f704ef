"""The BraTS cases below a folder, by name and header."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from tqdm import tqdm

from ckdmed.data.brats.headers import (
    DEFAULT_TOLERANCE_MM,
    BratsFileError,
    IncompleteCaseError,
    VolumeHeader,
    grid_disagreement,
    read_volume_header,
)
from ckdmed.data.brats.names import MODALITIES, CaseName, parse_case_name, parse_file_name, parse_free_name

__all__ = ["BratsCase", "SkippedCase", "find_brats_cases"]

_DECATHLON_MODALITIES = ("t2f", "t1n", "t1c", "t2w")


@dataclass(frozen=True)
class SkippedCase:
    """A case that is left out, and the cause.

    Args:
        case: its name.
        reason: the cause in words.
        incomplete: whether the cause is that it lacks files which were asked for.
    """

    case: str
    reason: str
    incomplete: bool = False


@dataclass(frozen=True)
class BratsCase:
    """A complete case whose files lie on one grid.

    Args:
        name: what its name says.
        images: one file for each of `modalities`, or one 4-D file that holds them along its last axis.
        modalities: of t1n, t1c, t2w, t2f, in the order of `images` or of the last axis.
        label: the mask, or None.
        grade: "HGG" or "LGG" where the folders of 2017 to 2019 say so, else "".
        shape: voxels along the three axes.
        affine: (4, 4), index to millimetres, RAS, of the first image.
    """

    name: CaseName
    images: tuple[Path, ...]
    modalities: tuple[str, ...]
    label: Path | None
    grade: str
    shape: tuple[int, int, int]
    affine: np.ndarray

    @property
    def case(self) -> str:
        return self.name.case


def find_brats_cases(
    folder: PathLike,
    modalities: Sequence[str] = MODALITIES,
    require_label: bool = True,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    progress: bool = False,
    exclude: PathLike | None = None,
) -> tuple[list[BratsCase], list[SkippedCase]]:
    """Find the cases of every naming below a folder; only headers are read.

    Namings: `BraTS-GLI-00001-000-t1n.nii.gz` (2023 and later; GLI, MEN, MET, PED, SSA),
    `Brats18_TCIA05_396_1_t1ce.nii.gz` (2017 to 2021), and the Medical Decathlon's Task01 (`imagesTr/BRATS_001.nii.gz`
    with `labelsTr`). Other files are not looked at.

    Args:
        folder: a case's folder, or any folder above.
        modalities: those that a case must have; the others are not looked at. Default: all four.
        require_label: whether a case must have a mask. Default True.
        tolerance_mm: see `grid_disagreement`.
        progress: whether to show a bar.
        exclude: a folder that is passed over, such as the one for results.

    Returns:
        the complete cases, ordered by name, and those that are left out: a modality or the mask is missing or
        unreadable, files differ in grid or affine (both values are named), a file stands twice.

    Raises:
        ValueError: not a folder, `modalities` is empty or has unknown or repeated names, or there is no file of these
            namings at all.
    """
    folder = Path(folder)
    wanted = tuple(modalities)
    if not folder.is_dir():
        raise ValueError(f"{folder}: not a folder.")
    if not wanted or len(set(wanted)) != len(wanted) or not set(wanted) <= set(MODALITIES):
        raise ValueError(f"modalities must be some of {', '.join(MODALITIES)}, each once, got {wanted}.")
    found, decathlon, double = _collect(folder, exclude)
    if not found and not decathlon:
        raise ValueError(
            f"{folder}: no BraTS file here or below (BraTS-GLI-00001-000-t1n.nii.gz, BraTS20_Training_001_t1.nii.gz, "
            "imagesTr/BRATS_001.nii.gz)."
        )
    cases: list[BratsCase] = []
    skipped: list[SkippedCase] = []
    names = sorted({**found, **decathlon})
    for case in tqdm(names, desc="reading headers", unit="case", disable=not progress):
        try:
            if case in double:
                raise BratsFileError(double[case])
            if case in found:
                name, parts = found[case]
                cases.append(_case(name, parts, wanted, require_label, tolerance_mm))
            else:
                cases.append(_decathlon_case(decathlon[case], wanted, require_label, tolerance_mm))
        except BratsFileError as error:
            skipped.append(SkippedCase(case, str(error), isinstance(error, IncompleteCaseError)))
    return cases, skipped


def _collect(
    folder: Path, exclude: PathLike | None = None
) -> tuple[dict[str, tuple[CaseName, dict[str, Path]]], dict[str, Path], dict[str, str]]:
    """Parts of each case, the 4-D files of Decathlon cases, and what is there twice."""
    found: dict[str, tuple[CaseName, dict[str, Path]]] = {}
    decathlon: dict[str, Path] = {}
    double: dict[str, str] = {}
    for path in _nifti_files(folder, exclude):
        parsed = parse_file_name(path.name)
        if parsed is not None:
            name, part = parsed
            parts = found.setdefault(name.case, (name, {}))[1]
            if part in parts:
                double[name.case] = f"{part} is there twice: {parts[part]} and {path}."
            parts[part] = path
        elif path.parent.name in ("imagesTr", "imagesTs"):
            stem = path.name.split(".nii")[0]
            if (case_name := parse_case_name(stem)) and case_name.release == "decathlon":
                if stem in decathlon:
                    double[stem] = f"it is there twice: {decathlon[stem]} and {path}."
                decathlon[stem] = path
    return found, decathlon, double


def _nifti_files(folder: Path, exclude: PathLike | None = None) -> Iterable[Path]:
    out = None if exclude is None else Path(exclude).resolve()
    # Archives packed on macOS hold a `._x` beside every file; Kaggle's copy of 2020 has folders named like files.
    return sorted(
        path
        for path in folder.rglob("*.nii*")
        if path.name.lower().endswith((".nii", ".nii.gz")) and not path.name.startswith(".") and path.is_file()
        if out is None or not path.resolve().is_relative_to(out)
    )


def _headers(files: dict[str, Path]) -> tuple[dict[str, VolumeHeader], list[str]]:
    headers, problems = {}, []
    for part, path in files.items():
        try:
            headers[part] = read_volume_header(path)
        except BratsFileError as error:
            problems.append(str(error))
    return headers, problems


def _case(
    name: CaseName, parts: dict[str, Path], wanted: tuple[str, ...], require_label: bool, tolerance_mm: float
) -> BratsCase:
    needed = (*wanted, "seg") if require_label else wanted
    missing = [part for part in needed if part not in parts]
    here = next(iter(parts.values())).parent
    if missing:
        raise IncompleteCaseError(f"{here}: missing: {', '.join(missing)} (there: {', '.join(sorted(parts))}).")
    headers, problems = _headers({part: parts[part] for part in (*wanted, "seg") if part in parts})
    for part, header in headers.items():
        if len(header.shape) != 3:
            problems.append(f"{header.path.name} has {len(header.shape)} axes, 3 are expected")
        elif part != wanted[0] and wanted[0] in headers:
            problems += filter(None, [grid_disagreement(headers[wanted[0]], header, tolerance_mm)])
    if problems:
        raise BratsFileError(f"{here}: {'; '.join(problems)}.")
    first = headers[wanted[0]]
    grades = {"HGG", "LGG"}.intersection(first.path.parts[-4:])
    images = tuple(parts[part] for part in wanted)
    return BratsCase(name, images, wanted, parts.get("seg"), grades.pop() if grades else "", first.grid, first.affine)


def _decathlon_case(path: Path, wanted: tuple[str, ...], require_label: bool, tolerance_mm: float) -> BratsCase:
    name = parse_case_name(path.name.split(".nii")[0])
    if name is None:
        raise BratsFileError(f"{path}: not a name of Task01 (BRATS_001.nii.gz).")
    image = read_volume_header(path)
    order = _decathlon_order(path.parent.parent / "dataset.json")
    if len(image.shape) != 4 or image.shape[3] != len(order):
        raise BratsFileError(f"{path}: has shape {image.shape}; {len(order)} modalities are expected on a fourth axis.")
    if missing := [modality for modality in wanted if modality not in order]:
        raise IncompleteCaseError(f"{path}: missing: {', '.join(missing)} (dataset.json names {', '.join(order)}).")
    label: Path | None = path.parent.parent / path.parent.name.replace("images", "labels") / path.name
    if label is not None and not label.is_file():
        if require_label:
            raise BratsFileError(f"{path}: missing: seg ({label}).")
        label = None
    if label is not None and (problem := grid_disagreement(image, read_volume_header(label), tolerance_mm)):
        raise BratsFileError(f"{path.parent.parent}: {problem}.")
    return BratsCase(name, (path,), order, label, "", image.grid, image.affine)


def _decathlon_order(description: Path) -> tuple[str, ...]:
    if not description.is_file():
        return _DECATHLON_MODALITIES
    try:
        content: Any = json.loads(description.read_text(encoding="utf-8"))["modality"]
        names = [str(content[str(number)]) for number in range(len(content))]
        parsed = [parse_free_name(name) for name in names]
    except (ValueError, KeyError, TypeError) as error:
        raise BratsFileError(f"{description}: its 'modality' cannot be read ({error}).") from error
    order = tuple(part[1] for part in parsed if part is not None)
    if len(order) != len(names) or len(set(order)) != len(order) or not set(order) <= set(MODALITIES):
        raise BratsFileError(f"{description}: 'modality' must name T1w, t1gd, T2w and FLAIR, got {', '.join(names)}.")
    return order
