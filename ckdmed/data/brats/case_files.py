"""Which cases a folder holds, by names alone: the one discovery of `prepare`, `brats-datalist` and inference."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from monai.config import PathLike

from ckdmed.data.brats.names import (
    MODALITIES,
    CaseName,
    fits_folder,
    free_case_name,
    leaves_modality_open,
    nifti_stem,
    parse_case_name,
    parse_free_name,
)
from ckdmed.data.input_walk import InputWalk, UnusedFiles
from ckdmed.data.volume_reader import dicom_files, is_nifti

__all__ = ["MASK_MEANINGS", "VOLUME", "CaseFiles", "FoundCases", "SkippedCase", "find_case_files"]

#: The part of a Decathlon case that holds all of its modalities.
VOLUME = "volume"
#: What a file called `mask` may be, and the part that it then is.
MASK_MEANINGS = {"label": "seg", "brain": "brain"}
_NAMED_SINCE_2023 = re.compile(r"([-_]t1n|[-_]t2f|-t1c|-t2w)$", re.IGNORECASE)
_TASK01 = re.compile("(images|labels)T[rs]")


@dataclass(frozen=True)
class SkippedCase:
    """A case that is left out, and the cause.

    Args:
        case: its name.
        reason: the cause in words.
        incomplete: whether the cause is that it lacks requested files.
    """

    case: str
    reason: str
    incomplete: bool = False


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case.

    Args:
        name: what its name says; release and tumour type are "" where it is no BraTS name.
        parts: modality, "seg", "brain" or `VOLUME` -> NIfTI file, or folder of one DICOM series.
    """

    name: CaseName
    parts: Mapping[str, Path]

    @property
    def case(self) -> str:
        return self.name.case

    @property
    def has_dicom(self) -> bool:
        return any(path.is_dir() for path in self.parts.values())


@dataclass
class FoundCases:
    """What a folder holds.

    Args:
        cases: those with BraTS names in the alphabet's order, then the others in that of their files.
        skipped: cases of which something stands twice, DICOM series that cannot be assigned, unreadable folders.
        unused: files that belong to no case, by cause.
    """

    cases: list[CaseFiles] = field(default_factory=list)
    skipped: list[SkippedCase] = field(default_factory=list)
    unused: UnusedFiles = field(default_factory=UnusedFiles)


def find_case_files(folder: PathLike, exclude: PathLike | None = None, mask_is: str | None = None) -> FoundCases:
    """Find cases of all kinds at any depth.

    A case's files are `<case>_<modality>.nii.gz` or `<case>-<modality>.nii.gz` in one folder or in folders of their own
    names, or `<case>/<modality>.nii.gz`, or DICOM series in folders of such names; or of BIDS names (see
    `parse_free_name`). Folders named by a modality count as the folder above, unless they hold another modality's
    image: `P1/T1` and `P1/T2` may be two times. Masks (`seg`, `brain`) may lie in a folder of their own. Of BraTS names
    (`parse_case_name`) equal ones are one case wherever the files lie. Under other names, folders that both hold images
    of one case name are different persons' as far as anyone knows; they become cases that bear the folder's name too:
    `A/scan_t1.nii.gz` and `B/scan_t2.nii.gz` are "A-scan" and "B-scan". The Medical Decathlon's Task01 is known by its
    folders (`imagesTr/BRATS_001.nii.gz` with `labelsTr`).

    Args:
        folder: is searched as `InputWalk` says: links are followed, results of earlier runs are none.
        exclude: a folder that is passed over, such as the one for results.
        mask_is: what files called `mask` are, "label" or "brain". Default None: unknown, they are not used.

    Raises:
        ValueError: not a folder; `mask_is` is another word.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"{folder}: not a folder.")
    if mask_is is not None and mask_is not in MASK_MEANINGS:
        raise ValueError(f"mask_is must be one of {', '.join(MASK_MEANINGS)}, got {mask_is!r}.")
    walk = InputWalk(root, exclude)
    sorter = _Sorter(root, walk.unused, None if mask_is is None else MASK_MEANINGS[mask_is])
    for here, files in walk.folders():
        sorter.add_folder(here, files)
    if sorter.nifti or sorter.series:
        walk.pass_over_prepared()
    else:
        for here, files in walk.prepared():
            sorter.add_folder(here, files)
    sorter.skipped += [SkippedCase(_relative(path, root), cause) for path, cause in walk.unlisted]
    return sorter.result()


class _Sorter:
    """Collects files by folder and case name, and makes cases of them at the end."""

    def __init__(self, root: Path, unused: UnusedFiles, mask_part: str | None) -> None:
        self.root = root
        self.unused = unused
        self.mask_part = mask_part
        self.skipped: list[SkippedCase] = []
        self.nifti: list[tuple[Path, str, str]] = []
        self.series: list[tuple[Path, str, str]] = []

    def add_folder(self, here: Path, files: Sequence[Path]) -> None:
        """Sort the files of a folder into parts of cases and others."""
        for path in files:
            if path.is_file() and is_nifti(path):
                self._add_nifti(path)
        others = [path for path in files if not (path.is_file() and is_nifti(path))]
        images: set[Path] = set()
        try:
            images = set(dicom_files(here)) if others else images
        except OSError as error:
            self.skipped.append(SkippedCase(_relative(here, self.root), f"{here}: cannot be read ({error})."))
        if images:
            self._add_series(here)
        for path in others:
            if path not in images:
                self.unused.add("a broken link" if not path.exists() else "not an image of a known type", path)

    def _add_nifti(self, path: Path) -> None:
        stem, place = nifti_stem(path.name), path.parent.name
        whole = parse_case_name(stem)
        if whole is not None and whole.release == "decathlon" and _TASK01.fullmatch(place):
            self.nifti.append((path, stem, VOLUME if place.startswith("images") else "seg"))
            return
        parsed = parse_free_name(stem)
        if parsed is None:
            open_name = leaves_modality_open(stem)
            self.unused.add(
                "the name does not identify the modality" if open_name else "the name does not end in a modality", path
            )
            return
        case, part = parsed
        if part == "mask" and self.mask_part is None:
            self.unused.add("a brain or tumour mask, --mask-is says which", path)
            return
        self.nifti.append((path, case, str(self.mask_part) if part == "mask" else part))

    def _add_series(self, here: Path) -> None:
        absolute = Path(os.path.abspath(here))
        parsed = parse_free_name(absolute.name)
        if parsed is None or parsed[1] not in MODALITIES:
            cause = "folder is not named after a modality (t1, t1c, t2, flair)"
            if leaves_modality_open(absolute.name):
                cause = "folder's name does not identify the modality"
            reason = f"{here}: a DICOM series whose {cause}; rename it, or give it with --image MODALITY=FOLDER."
            self.skipped.append(SkippedCase(_relative(here, self.root), reason))
            return
        self.series.append((here, *parsed))

    def result(self) -> FoundCases:
        parts: dict[tuple[Path | None, str], list[tuple[str, Path]]] = {}
        spelling: dict[str, str] = {}
        mixed = {
            Path(os.path.abspath(path)).parent
            for path, _, part in self.nifti
            if not fits_folder(part, path.parent.name)
        }
        files: tuple[tuple[list[tuple[Path, str, str]], Callable[[Path, str], Path]], ...] = (
            (self.nifti, lambda path, stated: path.parent if path.parent in mixed else _home(path, stated)),
            (self.series, lambda folder, stated: folder.parent),
        )
        for found, home_of in files:
            for path, stated, part in sorted(found):
                home = home_of(Path(os.path.abspath(path)), stated)
                # T1 and T2 alone are the times of everybody
                case = stated or (f"{home.parent.name}-{home.name}" if home in mixed else home.name)
                known = parse_case_name(case)
                if known is None or known.release == "decathlon" and not _TASK01.fullmatch(path.parent.name):
                    parts.setdefault((home, case), []).append((part, path))
                else:
                    # capitals and separators of a BraTS name do not distinguish persons
                    case = spelling.setdefault(re.sub(r"[- ]", "_", case.lower()), case)
                    parts.setdefault((None, case), []).append((part, path))
        named, double = _named(parts, Path(os.path.abspath(self.root)))
        self.skipped += [SkippedCase(case, reason) for case, reason in double.items()]
        brats = sorted(case for home, case in parts if home is None)
        cases = []
        for case in dict.fromkeys([*brats, *named]):
            if case not in double:
                name = parse_case_name(case) if case in brats else None
                cases.append(
                    CaseFiles(_without_doubtful_release(name or free_case_name(case), named[case]), named[case])
                )
        return FoundCases(cases, self.skipped, self.unused)


def _without_doubtful_release(name: CaseName, parts: Mapping[str, Path]) -> CaseName:
    """The name without its year where its files were renamed as those of 2023: their labels may be of either."""
    renamed = any(_NAMED_SINCE_2023.search(nifti_stem(path.name)) for path in parts.values() if is_nifti(path))
    return replace(name, release="") if renamed and name.release.isdigit() and int(name.release) < 2023 else name


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path != root else Path(os.path.abspath(root)).name


def _home(path: Path, case: str) -> Path:
    """The folder that tells whose a file is: one named by a modality alone (`t1/P1_t1.nii.gz`), or by one and the
    file's own case (`P1_t1/P1_t1.nii.gz`), does not."""
    parsed = parse_free_name(path.parent.name)
    return path.parent.parent if parsed is not None and parsed[0] in ("", case) else path.parent


def _named(
    parts: Mapping[tuple[Path | None, str], Sequence[tuple[str, Path]]], root: Path
) -> tuple[dict[str, dict[str, Path]], dict[str, str]]:
    """Files of each case by part, and what is there twice, with names that distinguish cases of several folders.

    Args:
        parts: folder (None where the name alone tells whose it is) and case name -> its parts, in order.
        root: the folder that was given.
    """
    with_images: dict[str, list[Path | None]] = {}
    for (home, case), files in parts.items():
        if any(part in MODALITIES for part, _ in files):
            with_images.setdefault(case, []).append(home)
    named: dict[str, dict[str, Path]] = {}
    double: dict[str, str] = {}
    owner: dict[str, Path | None] = {}
    for (home, case), files in parts.items():
        name = case
        if len(with_images.get(case, ())) > 1 and home is not None and home != root and root in home.parents:
            folders = home.relative_to(root).parts
            name = "-".join(folders if folders[-1] == case else (*folders, case))
        if home in with_images.get(case, ()) and owner.setdefault(name, home) != home:
            double[name] = f"{owner[name]} and {home} both have a case of this name; run them separately."
        here = named.setdefault(name, {})
        for part, path in files:
            if part in here:
                double[name] = f"found {part} twice: {here[part]} and {path}; choose one with --image."
            here[part] = path
    return named, double
