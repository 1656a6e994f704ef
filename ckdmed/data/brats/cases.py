"""The cases below a folder whose NIfTI files lie on one grid, by their headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from tqdm import tqdm

from ckdmed.counted import counted
from ckdmed.data.brats.case_files import VOLUME, FoundCases, SkippedCase, find_case_files
from ckdmed.data.brats.headers import (
    DEFAULT_TOLERANCE_MM,
    IncompleteCaseError,
    VolumeFileError,
    VolumeHeader,
    grid_disagreement,
    read_volume_header,
)
from ckdmed.data.brats.masks import read_mask
from ckdmed.data.brats.names import MODALITIES, CaseName, parse_case_name, parse_free_name
from ckdmed.data.input_walk import UnusedFiles
from ckdmed.json_files import read_json
from ckdmed.limits import FileTooLargeError

__all__ = [
    "BratsCase",
    "SkippedCase",
    "check_any_case",
    "check_any_usable",
    "check_cases",
    "find_brats_cases",
    "none_usable",
]

_DECATHLON_MODALITIES = ("t2f", "t1n", "t1c", "t2w")


@dataclass(frozen=True)
class BratsCase:
    """A complete case whose files lie on one grid.

    Args:
        name: what its name says.
        images: one file for each of `modalities`, or one 4-D file that holds them along its last axis.
        modalities: of t1n, t1c, t2w, t2f, in the order of `images` or of the last axis.
        label: the mask, or None.
        brain: the mask of the brain, or None.
        grade: "HGG" or "LGG" where the folders of 2017 to 2019 say so, else "".
        shape: voxels along the three axes.
        affine: (4, 4), index to millimetres, RAS, of the first image.
    """

    name: CaseName
    images: tuple[Path, ...]
    modalities: tuple[str, ...]
    label: Path | None
    brain: Path | None
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
    mask_is: str | None = None,
    unused: UnusedFiles | None = None,
) -> tuple[list[BratsCase], list[SkippedCase]]:
    """Find the cases of every naming below a folder (see `find_case_files`); only headers are read.

    Args:
        folder: a case's folder, or any folder above.
        modalities: those that a case must have; the others are not looked at. Default: all four.
        require_label: whether a case must have a mask. Default True.
        tolerance_mm: see `grid_disagreement`.
        progress: whether to show a bar.
        exclude, mask_is: see `find_case_files`.
        unused: gets the files that belong to no case.

    Returns:
        the complete cases, those with BraTS names first and ordered by them, and those that are left out: a modality or
        the mask is missing or unreadable, files differ in grid or affine (both values are named), a file stands twice,
        a DICOM series instead of a NIfTI file.

    Raises:
        ValueError: not a folder, `modalities` is empty or has unknown or repeated names, or there is no file of a case
            at all.
    """
    wanted = tuple(modalities)
    if not wanted or len(set(wanted)) != len(wanted) or not set(wanted) <= set(MODALITIES):
        raise ValueError(f"modalities must be one or more of {', '.join(MODALITIES)}, each once, got {wanted}.")
    found = find_case_files(folder, exclude, mask_is)
    if unused is not None:
        unused.update(found.unused)
    check_any_case(found, folder)
    return check_cases(found, wanted, require_label, tolerance_mm, progress)


def check_any_case(found: FoundCases, folder: PathLike) -> None:
    """Refuse a folder without any file of a case.

    Args:
        found: by `find_case_files`.
        folder: where it searched.

    Raises:
        ValueError: says what a case's files are called, and what is there.
    """
    if not found.cases and not found.skipped:
        raise ValueError(
            f"{folder}: no case found in this folder or below (<case>_t1.nii.gz, <case>-t1n.nii.gz, <case>/t1.nii.gz, "
            f"imagesTr/BRATS_001.nii.gz). {'; '.join(found.unused.lines())}".rstrip()
        )


def check_any_usable(found: FoundCases, folder: PathLike, modalities: Sequence[str] = MODALITIES) -> None:
    """Refuse a folder in which no case can be used; it stops at the first that can.

    Args:
        found: by `find_case_files`.
        folder: where it searched.
        modalities: those that a case must have.

    Raises:
        ValueError: in every case a modality or the mask is missing or damaged, or the files differ in their grids.
    """
    skipped = list(found.skipped)
    for files in found.cases:
        usable, unusable = check_cases(replace(found, cases=[files], skipped=[]), modalities)
        skipped += unusable
        for case in usable:
            try:
                read_mask(str(case.label))
                return
            except VolumeFileError as error:
                skipped.append(SkippedCase(case.case, str(error)))
    raise none_usable(folder, skipped)


def none_usable(folder: PathLike, skipped: Sequence[SkippedCase]) -> ValueError:
    """The error that all cases of a folder are left out, with why the first one is."""
    remedy = " Name the modalities that your cases have with --modalities."
    lacking = remedy if all(entry.incomplete for entry in skipped) else ""
    return ValueError(
        f"{folder}: none of {counted(len(skipped), 'case')} is usable; the first: {skipped[0].reason}{lacking}"
    )


def check_cases(
    found: FoundCases,
    modalities: Sequence[str] = MODALITIES,
    require_label: bool = True,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    progress: bool = False,
) -> tuple[list[BratsCase], list[SkippedCase]]:
    """The second half of `find_brats_cases`, over what was found."""
    wanted = tuple(modalities)
    cases: list[BratsCase] = []
    skipped = list(found.skipped)
    for files in tqdm(found.cases, desc="reading headers", unit="case", disable=not progress):
        try:
            if files.has_dicom:
                folders = ", ".join(str(path) for path in files.parts.values() if path.is_dir())
                raise VolumeFileError(f"{folders}: DICOM series; convert them to NIfTI with `ckdmed prepare` first.")
            if VOLUME in files.parts:
                cases.append(_decathlon_case(files.parts[VOLUME], wanted, require_label, tolerance_mm))
            else:
                cases.append(_case(files.name, files.parts, wanted, require_label, tolerance_mm))
        except (VolumeFileError, FileTooLargeError) as error:
            skipped.append(SkippedCase(files.case, str(error), isinstance(error, IncompleteCaseError)))
    return cases, skipped


def _headers(files: Mapping[str, Path]) -> tuple[dict[str, VolumeHeader], list[str]]:
    headers, problems = {}, []
    for part, path in files.items():
        try:
            headers[part] = read_volume_header(path)
        except (VolumeFileError, FileTooLargeError) as error:
            problems.append(str(error))
    return headers, problems


def _case(
    name: CaseName, parts: Mapping[str, Path], wanted: tuple[str, ...], require_label: bool, tolerance_mm: float
) -> BratsCase:
    needed = (*wanted, "seg") if require_label else wanted
    missing = [part for part in needed if part not in parts]
    here = next(iter(parts.values())).parent
    if missing:
        raise IncompleteCaseError(f"{here}: missing: {', '.join(missing)} (found: {', '.join(sorted(parts))}).")
    headers, problems = _headers({part: parts[part] for part in (*wanted, "seg") if part in parts})
    for part, header in headers.items():
        if len(header.shape) != 3:
            problems.append(f"{header.path.name} has {len(header.shape)} axes, expected 3")
        elif part != wanted[0] and wanted[0] in headers:
            problems += filter(None, [grid_disagreement(headers[wanted[0]], header, tolerance_mm)])
    if problems:
        raise VolumeFileError(f"{here}: {'; '.join(problems)}.")
    first = headers[wanted[0]]
    grades = {"HGG", "LGG"}.intersection(first.path.parts[-4:])
    images = tuple(parts[part] for part in wanted)
    grade = grades.pop() if grades else ""
    return BratsCase(name, images, wanted, parts.get("seg"), parts.get("brain"), grade, first.grid, first.affine)


def _decathlon_case(path: Path, wanted: tuple[str, ...], require_label: bool, tolerance_mm: float) -> BratsCase:
    name = parse_case_name(path.name.split(".nii")[0])
    if name is None:
        raise VolumeFileError(f"{path}: not a file name of Task01 (such as BRATS_001.nii.gz).")
    image = read_volume_header(path)
    order = _decathlon_order(path.parent.parent / "dataset.json")
    if len(image.shape) != 4 or image.shape[3] != len(order):
        raise VolumeFileError(f"{path}: has shape {image.shape}; expected a fourth axis of {len(order)} modalities.")
    if missing := [modality for modality in wanted if modality not in order]:
        raise IncompleteCaseError(f"{path}: missing: {', '.join(missing)} (dataset.json names {', '.join(order)}).")
    label: Path | None = path.parent.parent / path.parent.name.replace("images", "labels") / path.name
    if label is not None and not label.is_file():
        if require_label:
            raise VolumeFileError(f"{path}: missing: seg ({label}).")
        label = None
    if label is not None and (problem := grid_disagreement(image, read_volume_header(label), tolerance_mm)):
        raise VolumeFileError(f"{path.parent.parent}: {problem}.")
    return BratsCase(name, (path,), order, label, None, "", image.grid, image.affine)


def _decathlon_order(description: Path) -> tuple[str, ...]:
    if not description.is_file():
        return _DECATHLON_MODALITIES
    try:
        content: Any = read_json(description)["modality"]
        names = [str(content[str(number)]) for number in range(len(content))]
        parsed = [parse_free_name(name) for name in names]
    except (ValueError, KeyError, TypeError) as error:
        raise VolumeFileError(f"{description}: its 'modality' cannot be read ({error}).") from error
    order = tuple(part[1] for part in parsed if part is not None)
    if len(order) != len(names) or len(set(order)) != len(order) or not set(order) <= set(MODALITIES):
        raise VolumeFileError(f"{description}: 'modality' must name T1w, t1gd, T2w and FLAIR, got {', '.join(names)}.")
    return order
