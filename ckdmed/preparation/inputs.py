"""What there is to prepare: BraTS cases, other NIfTI files, and DICOM series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ckdmed.data.brats import MODALITIES, BratsCase, SkippedCase
from ckdmed.data.brats.case_files import CaseFiles, FoundCases, find_case_files
from ckdmed.data.brats.cases import check_cases
from ckdmed.data.brats.headers import DEFAULT_TOLERANCE_MM
from ckdmed.data.input_walk import UnusedFiles
from ckdmed.paths import checked_name

__all__ = ["CaseInput", "find_inputs", "single_input"]


@dataclass(frozen=True)
class CaseInput:
    """The files of one case.

    Args:
        case: its name, also of the folder that is written.
        images: modality to NIfTI file or folder of one DICOM series; of Decathlon's 4-D files all to one file.
        label, brain: masks, or None.
        release: the one that defines the mask's labels, "" where unknown.
        tumour_type: as in BraTS names, "" where unknown.
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
    mask_is: str | None = None,
    unused: UnusedFiles | None = None,
) -> tuple[list[CaseInput], list[SkippedCase]]:
    """Find what folders hold, by `find_case_files`: NIfTI files and DICOM series of any naming, side by side.

    The files of a case with a BraTS name must lie on one grid; those of another may each have their own.

    Args:
        paths: folders.
        modalities: those to take; None for all four of BraTS cases and for those that there are of others.
        tolerance_mm: see `find_brats_cases`.
        exclude, mask_is: see `find_case_files`.
        unused: gets the files that are not used, because they belong to no case or were not requested.

    Returns:
        the inputs, and what is left out with the cause.

    Raises:
        ValueError: not a folder, or no case is in it; `mask_is` is another word.
    """
    inputs: list[CaseInput] = []
    skipped: list[SkippedCase] = []
    others = UnusedFiles() if unused is None else unused
    for path in paths:
        if not path.is_dir():
            raise ValueError(f"{path}: not a folder. Give a single file with --image MODALITY=FILE.")
        found = find_case_files(path, exclude, mask_is)
        others.update(found.unused)
        if not found.cases and not found.skipped:
            raise ValueError(
                f"{path}: no BraTS case, no NIfTI file whose name ends in a modality (_t1, _t1c, _t2, _flair), and no "
                f"folder of DICOM files. {'; '.join(found.unused.lines())}".rstrip()
            )
        brats = [case for case in found.cases if case.name.release and not case.has_dicom]
        checked, left_out = check_cases(
            FoundCases(brats), MODALITIES if modalities is None else modalities, False, tolerance_mm
        )
        inputs += [_of_brats(case, modalities) for case in checked]
        free, incomplete = _assembled([case for case in found.cases if case not in brats], modalities)
        inputs += free
        skipped += [*found.skipped, *left_out, *incomplete]
        # those of a case that is skipped are named with it
        used = {item.case for item in inputs}
        for case in (case for case in found.cases if case.case in used):
            for part, file in case.parts.items():
                if modalities is not None and part in MODALITIES and part not in modalities:
                    others.add("a modality that was not requested", file)
    taken: dict[str, CaseInput] = {}
    for item in inputs:
        if item.case in taken:
            skipped.append(SkippedCase(item.case, f"found twice: {_where(taken[item.case])} and {_where(item)}."))
        else:
            taken[item.case] = item
    return list(taken.values()), skipped


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
            f"images must be given for one or more of {', '.join(MODALITIES)}, got {', '.join(images) or 'none'}."
        )
    checked_name(case, "the case")
    for path in [*images.values(), *(mask for mask in (label, brain) if mask is not None)]:
        if not path.exists():
            raise ValueError(f"{path}: no such file or folder.")
    ordered = {modality: images[modality] for modality in MODALITIES if modality in images}
    return CaseInput(case, ordered, label, brain, patient=case)


def _of_brats(case: BratsCase, modalities: Sequence[str] | None) -> CaseInput:
    wanted = MODALITIES if modalities is None else tuple(modalities)
    files = case.images * len(case.modalities) if len(case.images) == 1 else case.images
    images = {m: path for m, path in zip(case.modalities, files, strict=False) if m in wanted}
    channels = case.modalities if len(case.images) == 1 and len(case.modalities) > 1 else ()
    name = case.name
    return CaseInput(
        name.case, images, case.label, case.brain, name.release, name.tumour_type, name.patient_group, channels
    )


def _assembled(
    cases: Sequence[CaseFiles], modalities: Sequence[str] | None
) -> tuple[list[CaseInput], list[SkippedCase]]:
    inputs: list[CaseInput] = []
    skipped: list[SkippedCase] = []
    for case in cases:
        files = case.parts
        wanted = [m for m in MODALITIES if m in files] if modalities is None else list(modalities)
        missing = [m for m in wanted if m not in files]
        if missing:
            reason = f"missing: {', '.join(missing)} (found: {', '.join(files)})."
            skipped.append(SkippedCase(case.case, reason, incomplete=True))
        elif not wanted:
            skipped.append(SkippedCase(case.case, f"there is no image, only {', '.join(map(str, files.values()))}."))
        else:
            images = {modality: files[modality] for modality in wanted}
            name = case.name
            inputs.append(
                CaseInput(
                    name.case,
                    images,
                    files.get("seg"),
                    files.get("brain"),
                    name.release,
                    name.tumour_type,
                    name.patient_group,
                )
            )
    return inputs, skipped
