"""Whose a NIfTI file is, by its name and by the folders that it lies in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckdmed.data.brats.names import MODALITIES, fits_folder, parse_free_name
from ckdmed.data.output_names import input_stem

__all__ = ["MASK_PARTS", "nifti_patients"]

#: Parts of a case (`parse_free_name`) that are no images.
MASK_PARTS = frozenset(("seg", "brain", "mask"))


@dataclass(frozen=True)
class _Place:
    """A file by its name and its folders.

    Args:
        case: what the file's name, or of a bare modality its folder's, says of whose it is; "" where the name of the
            file does not end in a modality.
        stem: name without suffix.
        home: the folder of all of a patient's series; the one above a folder that is called after a modality.
        folder: the case in the name of such a folder (`P1_t1c`), "" for none.
        own: the folder that is called after a modality; None where the file lies in no such folder.
    """

    case: str
    stem: str
    home: Path
    folder: str = ""
    own: Path | None = None


def nifti_patients(files: Sequence[Path], root: Path) -> dict[Path, tuple[str, str]]:
    """The patient of each image, and a key that files of one patient have in common.

    Files of one patient lie in one folder, or in folders of a modality each (`P1/T1c`, `P1/FLAIR`, or `P1_T1c` and
    `P1_FLAIR`), and their names begin with the same case. Where each of these folders holds one file, the files are of
    one patient whatever they are called. A folder with another modality's file in it is no modality's (see
    `fits_folder`). Folders in which equal names occur tell their patients apart, as in `ckdmed prepare`:
    `A/T1c/scan.nii.gz` and `B/T1c/scan.nii.gz` are "A-scan" and "B-scan".

    Args:
        files: images and masks; masks (`MASK_PARTS`) are nobody's.
        root: the folder that is searched.
    """
    top = root.resolve()
    # absolute, and not what a link leads to: links are named for what they are
    absolute = {file: top / file.relative_to(root) if file.is_relative_to(root) else file.absolute() for file in files}
    parts = {file: _part(path) for file, path in absolute.items()}
    mixed = {path.parent for file, path in absolute.items() if not fits_folder(parts[file], path.parent.name)}
    places = {
        file: _place(path, path.parent in mixed) for file, path in absolute.items() if parts[file] not in MASK_PARTS
    }
    alone = _alone(places)
    found: dict[Path, tuple[str, Path, str]] = {}
    for file, place in places.items():
        together = alone.get((place.home, place.folder))
        if place.case:
            found[file] = (place.case, place.home, "" if place.folder == place.case else place.folder)
        elif together is None:
            found[file] = (place.stem, place.home, place.folder)
        else:
            found[file] = (together, place.home, "")
    homes: dict[str, set[tuple[Path, str]]] = {}
    for case, home, folder in found.values():
        homes.setdefault(case, set()).add((home, folder))
    named = {}
    for file, (case, home, folder) in found.items():
        above = [*_below(home, top), *([folder] if folder else [])] if len(homes[case]) > 1 else []
        name = "-".join(above if above and above[-1] == case else [*above, case])
        named[file] = (name, f"{home}/{folder}")
    return named


def _part(path: Path) -> str:
    parsed = parse_free_name(input_stem(path.name))
    return "" if parsed is None else parsed[1]


def _place(path: Path, mixed: bool) -> _Place:
    stem = input_stem(path.name)
    parsed, folder = parse_free_name(stem), parse_free_name(path.parent.name)
    if folder is None or folder[1] not in MODALITIES or mixed:
        home, case, own = path.parent, "", None
        # T1 and T2 may be times
        named = f"{home.parent.name}-{home.name}" if mixed and folder is not None and not folder[0] else home.name
    else:
        home, case, own = path.parent.parent, folder[0], path.parent
        named = case or home.name
    return _Place("" if parsed is None else parsed[0] or named, stem, home, case, own)


def _alone(places: Mapping[Path, _Place]) -> dict[tuple[Path, str], str]:
    """The patient of folders of a modality each that hold one file each whose name tells no case."""
    groups: dict[tuple[Path, str], list[_Place]] = {}
    for place in places.values():
        if place.own is not None and not place.case:
            groups.setdefault((place.home, place.folder), []).append(place)
    return {
        key: group[0].stem if len({place.stem for place in group}) == 1 and not key[1] else key[1] or key[0].name
        for key, group in groups.items()
        if len({place.own for place in group}) == len(group)
    }


def _below(folder: Path, top: Path) -> tuple[str, ...]:
    return folder.relative_to(top).parts if folder.is_relative_to(top) else ()
