"""What there is to prepare: BraTS cases, other NIfTI files, and DICOM series."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ckdmed.data.brats import (
    MODALITIES,
    BratsFileError,
    IncompleteCaseError,
    SkippedCase,
    find_brats_cases,
    parse_free_name,
)
from ckdmed.data.brats.headers import DEFAULT_TOLERANCE_MM
from ckdmed.data.volume_reader import dicom_files, is_nifti
from ckdmed.paths import checked_name

__all__ = ["CaseInput", "find_inputs", "single_input"]


@dataclass(frozen=True)
class CaseInput:
    """The files of one case.

    Args:
        case: its name, also of the folder that is written.
        images: modality to NIfTI file or folder of one DICOM series; of Decathlon's 4-D files all to one file.
        label, brain: masks, or None.
        release: whose labels the mask has, "" where nobody knows.
        tumour_type: as in BraTS names, "" where nobody knows.
        patient: the person, for splits.
    """

    case: str
    images: Mapping[str, Path]
    label: Path | None = None
    brain: Path | None = None
    release: str = ""
    tumour_type: str = ""
    patient: str = ""
    channels: tuple[str, ...] = field(default=())


def find_inputs(
    paths: Sequence[Path],
    modalities: Sequence[str] | None = None,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    exclude: Path | None = None,
) -> tuple[list[CaseInput], list[SkippedCase]]:
    """Find what folders hold, each by the first of these that fits:

    - BraTS names at any depth (see `find_brats_cases`): the files of a case must lie on one grid;
    - other NIfTI files whose names end in a modality, `<case>_t1.nii.gz`, `<case>-flair.nii.gz`, at any depth: files
      of equal case names in one folder are a case, and each may have its own grid; `_seg` is the mask, `_brain` a brain
      mask, and both may lie in a folder of their own. Folders named by modality count as the folder above;
    - folders that hold a DICOM series each and are named by modality, `<case>/t1w/`, `<case>/flair/`.

    Where several folders hold images of one case name they are different persons' as far as anyone knows, and are cases
    of their own that bear the folder's name too: `A/scan_t1.nii.gz` and `B/scan_t2.nii.gz` are "A-scan" and "B-scan".

    Args:
        paths: folders.
        modalities: those to take; None for all four of BraTS cases and for those that there are of others.
        tolerance_mm: see `find_brats_cases`.
        exclude: a folder that is passed over, such as the one for results.

    Returns:
        the inputs, and what is left out with the cause.

    Raises:
        ValueError: not a folder, or nothing of these kinds is in it.
    """
    inputs: list[CaseInput] = []
    skipped: list[SkippedCase] = []
    for path in paths:
        if not path.is_dir():
            raise ValueError(f"{path}: not a folder. A single file is given by --image MODALITY=FILE.")
        for find in (_brats, _other_nifti, _dicom):
            found, left_out = find(path, modalities, tolerance_mm, exclude)
            if found or left_out:
                inputs += found
                skipped += left_out
                break
        else:
            raise ValueError(
                f"{path}: no BraTS case, no NIfTI file whose name ends in a modality (_t1, _t1c, _t2, _flair), and no "
                "folder of DICOM files."
            )
    taken: dict[str, CaseInput] = {}
    for item in inputs:
        if item.case in taken:
            skipped.append(SkippedCase(item.case, f"found twice: {_where(taken[item.case])} and {_where(item)}."))
        else:
            taken[item.case] = item
    return list(taken.values()), skipped


def _within(path: Path, folder: Path | None) -> bool:
    return folder is not None and path.resolve().is_relative_to(folder.resolve())


def _where(item: CaseInput) -> Path:
    return next(iter(item.images.values())).parent


def single_input(
    images: Mapping[str, Path], case: str, label: Path | None = None, brain: Path | None = None
) -> CaseInput:
    """One case from named files or DICOM folders.

    Raises:
        ValueError: an unknown modality, no image, a path that is not there, or a case name that is no file name.
    """
    if not images or not set(images) <= set(MODALITIES):
        raise ValueError(
            f"images must be given for some of {', '.join(MODALITIES)}, got {', '.join(images) or 'none'}."
        )
    checked_name(case, "the case")
    for path in [*images.values(), *(mask for mask in (label, brain) if mask is not None)]:
        if not path.exists():
            raise ValueError(f"{path}: no such file or folder.")
    ordered = {modality: images[modality] for modality in MODALITIES if modality in images}
    return CaseInput(case, ordered, label, brain, patient=case)


def _brats(
    folder: Path, modalities: Sequence[str] | None, tolerance_mm: float, exclude: Path | None
) -> tuple[list[CaseInput], list[SkippedCase]]:
    wanted = MODALITIES if modalities is None else tuple(modalities)
    try:
        cases, skipped = find_brats_cases(
            folder, wanted, require_label=False, tolerance_mm=tolerance_mm, exclude=exclude
        )
    except ValueError:
        return [], []
    inputs = []
    for case in cases:
        files = case.images * len(case.modalities) if len(case.images) == 1 else case.images
        images = {m: path for m, path in zip(case.modalities, files, strict=False) if m in wanted}
        channels = case.modalities if len(case.images) == 1 and len(case.modalities) > 1 else ()
        name = case.name
        inputs.append(
            CaseInput(name.case, images, case.label, None, name.release, name.tumour_type, name.patient_group, channels)
        )
    return inputs, skipped


def _other_nifti(
    folder: Path, modalities: Sequence[str] | None, tolerance_mm: float, exclude: Path | None
) -> tuple[list[CaseInput], list[SkippedCase]]:
    parts: dict[tuple[Path, str], list[tuple[str, Path]]] = {}
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") or not is_nifti(path) or not path.is_file() or _within(path, exclude):
            continue
        parsed = parse_free_name(path.name[: path.name.lower().rindex(".nii")])
        if parsed is None:
            continue
        home = _home(path.parent)
        parts.setdefault((home, parsed[0] or home.name), []).append((parsed[1], path))
    return _assembled(*_named(parts, folder), modalities)


def _dicom(
    folder: Path, modalities: Sequence[str] | None, tolerance_mm: float, exclude: Path | None
) -> tuple[list[CaseInput], list[SkippedCase]]:
    parts: dict[tuple[Path, str], list[tuple[str, Path]]] = {}
    problems: dict[str, str] = {}
    for series in (folder, *(path for path in sorted(folder.rglob("*")) if path.is_dir())):
        if _within(series, exclude) or not dicom_files(series):
            continue
        parsed = parse_free_name(series.name)
        if parsed is None or parsed[1] in ("seg", "brain"):
            problems[series.name] = (
                f"{series}: a DICOM series whose folder is not named by a modality (t1, t1c, t2, flair); rename it, or "
                "give it by --image MODALITY=FOLDER."
            )
            continue
        home = Path(os.path.abspath(series)).parent
        parts.setdefault((home, parsed[0] or home.name), []).append((parsed[1], series))
    named, double = _named(parts, Path(os.path.abspath(folder)))
    return _assembled(named, problems | double, modalities)


def _home(folder: Path) -> Path:
    """The folder that tells whose the files are: one named by a modality (`t1/P1_t1.nii.gz`) does not."""
    parsed = parse_free_name(folder.name)
    return folder.parent if parsed is not None and not parsed[0] else folder


def _named(
    parts: Mapping[tuple[Path, str], Sequence[tuple[str, Path]]], root: Path
) -> tuple[dict[str, dict[str, Path]], dict[str, str]]:
    """Files of each case by part, and what is there twice, with names that tell cases of several folders apart.

    Args:
        parts: folder and case name -> its parts, in order.
        root: the folder that was given.
    """
    with_images: dict[str, list[Path]] = {}
    for (home, case), files in parts.items():
        if any(part in MODALITIES for part, _ in files):
            with_images.setdefault(case, []).append(home)
    named: dict[str, dict[str, Path]] = {}
    double: dict[str, str] = {}
    owner: dict[str, Path] = {}
    for (home, case), files in parts.items():
        name = case
        if len(with_images.get(case, ())) > 1 and home != root and root in home.parents:
            folders = home.relative_to(root).parts
            name = "-".join(folders if folders[-1] == case else (*folders, case))
        if home in with_images.get(case, ()) and owner.setdefault(name, home) != home:
            double[name] = f"{owner[name]} and {home} both have a case of this name; give them one by one."
        here = named.setdefault(name, {})
        for part, path in files:
            if part in here:
                double[name] = f"{part} is there twice: {here[part]} and {path}; give one of them by --image."
            here[part] = path
    return named, double


def _assembled(
    parts: Mapping[str, Mapping[str, Path]], problems: Mapping[str, str], modalities: Sequence[str] | None
) -> tuple[list[CaseInput], list[SkippedCase]]:
    inputs: list[CaseInput] = []
    skipped = [SkippedCase(case, reason) for case, reason in problems.items()]
    for case, files in parts.items():
        if case in problems:
            continue
        try:
            wanted = [m for m in MODALITIES if m in files] if modalities is None else list(modalities)
            if missing := [m for m in wanted if m not in files]:
                raise IncompleteCaseError(f"missing: {', '.join(missing)} (there: {', '.join(files)}).")
            if not wanted:
                raise BratsFileError(f"there is no image, only {', '.join(map(str, files.values()))}.")
            images = {modality: files[modality] for modality in wanted}
            inputs.append(CaseInput(case, images, files.get("seg"), files.get("brain"), patient=case))
        except BratsFileError as error:
            skipped.append(SkippedCase(case, str(error), isinstance(error, IncompleteCaseError)))
    return inputs, skipped
