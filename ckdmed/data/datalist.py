"""Datalists of the Figshare set in MONAI's decathlon JSON form: making, writing, reading and checking them."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import load_decathlon_datalist
from tqdm import tqdm

from ckdmed.data.datalist_form import SECTIONS, check_datalist
from ckdmed.data.figshare import TUMOR_LABELS, read_figshare_slice
from ckdmed.data.input_walk import OFFICIAL_FOLDS_NAME, InputWalk, SkippedFile
from ckdmed.data.mat73 import FigshareFileError, file_error, numeric_array, open_mat
from ckdmed.data.patients import joined_groups, patient_group
from ckdmed.data.splits import k_folds, split_by_group
from ckdmed.file_hash import sha256_of
from ckdmed.files import write_atomic
from ckdmed.json_files import read_json
from ckdmed.limits import FileTooLargeError
from ckdmed.section_names import section_in

DATALIST_NAME = "datalist.json"
DEFAULT_FRACTIONS = (0.8, 0.1, 0.1)
_COUNT_KEYS = {"training": "numTraining", "validation": "numValidation", "test": "numTest"}


def read_official_folds(path: PathLike) -> dict[int, int]:
    """The published cross-validation folds: slice number to fold 1..5, without the slices that have none.

    Args:
        path: `cvind.mat`, MATLAB v7.3; position k-1 of its vector `cvind` holds the fold of slice k, or 0.

    Raises:
        FigshareFileError: as for slices; `cvind` is missing, no vector, or has values other than 0 to 5.
    """
    path = Path(path)
    with open_mat(path) as file:
        folds = numeric_array(path, file, "cvind")
    if folds is None:
        raise file_error(path, "missing at the top level: cvind.")
    if folds.size != max(folds.shape, default=0) or not np.isin(folds, range(6)).all():
        raise file_error(
            path, f"cvind must be a vector of folds 1 to 5 (0: none), got an array of shape {folds.shape}."
        )
    return {i + 1: int(fold) for i, fold in enumerate(folds.ravel()) if fold}


def _natural(path: Path) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", path.as_posix()) if part]


def _official_folds(files: Sequence[Path], skipped: list[SkippedFile]) -> dict[int, int]:
    for path in files:
        try:
            return read_official_folds(path)
        except (FigshareFileError, FileTooLargeError) as error:
            skipped.append(SkippedFile(path, str(error)))
    return {}


def _read_items(
    folder: Path,
    slices: Sequence[Path],
    folds: Mapping[int, int],
    hashes: bool,
    progress: bool,
    skipped: list[SkippedFile],
) -> list[dict[str, Any]]:
    items: dict[str, dict[str, Any]] = {}
    groups_of: dict[bytes, set[str]] = defaultdict(set)
    for path in tqdm(slices, desc="reading slices", unit="file", disable=not progress):
        relative = path.relative_to(folder).as_posix()
        if path.stem in items:
            skipped.append(SkippedFile(path, f"{path}: its id is taken by {items[path.stem]['image']}."))
            continue
        try:
            item = read_figshare_slice(path)
            digest = sha256_of(path) if hashes else None
        except (FigshareFileError, FileTooLargeError, OSError) as error:
            skipped.append(SkippedFile(path, str(error)))
            continue
        number = int(path.stem) if re.fullmatch(r"[0-9]{1,9}", path.stem) else None
        items[path.stem] = {
            "id": path.stem,
            "image": relative,
            "label": relative,
            "tumor_label": item.tumor_label,
            "patient": item.patient,
            "patient_group": patient_group(item.patient),
            "official_fold": None if number is None else folds.get(number),
            "sha256": digest,
        }
        content = hashlib.sha256(f"{item.image.dtype} {item.image.shape}".encode() + item.image.tobytes()).digest()
        groups_of[content].add(items[path.stem]["patient_group"])
    if joined := joined_groups(groups for groups in groups_of.values() if len(groups) > 1):
        pairs = ", ".join(f"{group} is {name}" for group, name in sorted(joined.items()) if group != name)
        warnings.warn(
            f"{folder}: patients have several identifiers, judging by identical images: {pairs}", stacklevel=3
        )
    return [
        {**item, "patient_group": joined.get(item["patient_group"], item["patient_group"])} for item in items.values()
    ]


def find_figshare_files(folder: PathLike) -> tuple[list[Path], list[Path], list[SkippedFile]]:
    """The files of slices below a folder, those of published folds, and folders that cannot be listed; none is read.

    Raises:
        ValueError: there is no slice.
    """
    # Hidden names are passed over: archives packed on macOS hold a `._1.mat` beside every `1.mat`.
    walk = InputWalk(Path(folder))
    files = sorted((path for _, here in walk.folders() for path in here if path.suffix.lower() == ".mat"), key=_natural)
    slices = [path for path in files if path.name.lower() != OFFICIAL_FOLDS_NAME]
    if not slices:
        raise ValueError(
            f"{folder}: no .mat file of a slice in this folder or below; list other images (PNG, JPEG, NIfTI, DICOM) "
            "in a datalist, see docs/own_data.md."
        )
    published = [path for path in files if path.name.lower() == OFFICIAL_FOLDS_NAME]
    return slices, published, [SkippedFile(path, cause) for path, cause in walk.unlisted]


def build_figshare_datalist(
    folder: PathLike,
    seed: int = 0,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    folds: int | None = None,
    hashes: bool = True,
    progress: bool = True,
) -> tuple[dict[str, Any], list[SkippedFile]]:
    """Read every slice below a folder and split them by patient group, stratified by tumour kind.

    Args:
        folder: holds `<id>.mat` files, in subfolders or not, and possibly `cvind.mat`; is searched as `InputWalk` says.
        seed: of the split.
        fractions: shares of training, validation and test; ignored with `folds`.
        folds: None, or k of at least 3: every item gets `fold` 0..k-1; test is then fold 0, validation fold 1, training
            the rest.
        hashes: whether to take the SHA-256 of each file (null otherwise).
        progress: whether to show a progress bar.

    Returns:
        the datalist, and the files that were left out with the cause of each: unreadable slices, a second file of an id
        that another folder has, an unreadable `cvind.mat`, a folder that cannot be listed.

    Raises:
        ValueError: the folder is none, holds no `.mat` file or no usable one; the split is impossible (see
            `split_by_group`); `folds` is below 3.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: not a folder.")
    if folds is not None and folds < 3:
        raise ValueError(f"folds must be at least 3 (training, validation and test), got {folds}.")
    if len(fractions) != len(SECTIONS):
        raise ValueError(f"fractions must be one each for {', '.join(SECTIONS)}, got {tuple(fractions)}.")
    slices, published, skipped = find_figshare_files(folder)
    official = _official_folds(published, skipped)
    items = _read_items(folder, slices, official, hashes, progress, skipped)
    if not items:
        raise ValueError(f"{folder}: none of {len(slices)} .mat files is usable; the first: {skipped[0].reason}")
    return assemble_datalist(items, seed, fractions, folds), skipped


def assemble_datalist(
    items: Sequence[Mapping[str, Any]], seed: int, fractions: Sequence[float], folds: int | None = None
) -> dict[str, Any]:
    """Split items and put the description of the set around them; arguments as in `build_figshare_datalist`."""
    groups = [item["patient_group"] for item in items]
    labels = [item["tumor_label"] for item in items]
    if folds is None:
        parts = split_by_group(groups, labels, fractions, seed)
        sections = {name: [dict(items[i]) for i in part] for name, part in zip(SECTIONS, parts, strict=True)}
        split: dict[str, Any] = {"by": "patient_group", "kind": "fractions", "fractions": [float(f) for f in fractions]}
    else:
        fold_of = {i: fold for fold, part in enumerate(k_folds(groups, labels, folds, seed)) for i in part}
        sections = {name: [] for name in SECTIONS}
        for i, item in enumerate(items):
            name = {0: "test", 1: "validation"}.get(fold_of[i], "training")
            sections[name].append({**item, "fold": fold_of[i]})
        split = {"by": "patient_group", "kind": "folds", "folds": folds}
    return {
        "name": "Figshare brain tumour slices",
        "description": "Contrast-enhanced T1-weighted slices with one tumour each; split by patient group.",
        "licence": "CC BY 4.0",
        "source": "Jun Cheng, brain tumor dataset, figshare 1512427, https://doi.org/10.6084/m9.figshare.1512427",
        "modality": {"0": "T1-weighted MRI with contrast agent"},
        "labels": {"0": "background", "1": "tumour"},
        "tumor_labels": {str(key): value for key, value in TUMOR_LABELS.items()},
        "tensorImageSize": "2D",
        "seed": seed,
        "split": split,
        **{_COUNT_KEYS[name]: len(sections[name]) for name in SECTIONS},
        **sections,
    }


def write_datalist(datalist: Mapping[str, Any], path: PathLike) -> Path:
    """Write a datalist as JSON, whole or not at all, after the checks of `check_datalist`."""
    path = Path(path)
    check_datalist(datalist, path)
    text = json.dumps(datalist, indent=1, ensure_ascii=False) + "\n"

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    return write_atomic(path, write)


def read_datalist(path: PathLike) -> dict[str, Any]:
    """Read a datalist and check its form (`check_datalist`).

    Raises:
        ValueError: no such file, no JSON, or a wrong form.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such datalist.")
    datalist = read_json(path)
    check_datalist(datalist, path)
    return dict(datalist)


def load_figshare_datalist(
    path: PathLike, section: str = "training", base_dir: PathLike | None = None
) -> list[dict[str, Any]]:
    """One section of a datalist with full paths, as items for a MONAI `Dataset`.

    MONAI's `load_decathlon_datalist` joins the paths. It also turns any other text into a path where a file of that
    name happens to exist (an item "1" beside a folder "1"); the values of all keys but `image` and `label` are
    therefore taken from the file as they are. Values that are null cannot be collated: `official_fold` becomes 0 and
    `sha256` "".

    Args:
        path: the datalist.
        section: "training" (or "train"), "validation" or "test".
        base_dir: the dataset's folder; None for the folder of the datalist.

    Raises:
        ValueError: see `read_datalist`; `section` is another word.
    """
    datalist = read_datalist(path)
    section = section_in(SECTIONS, section)
    if section not in SECTIONS:
        raise ValueError(f"section must be one of {', '.join(SECTIONS)}, got {section!r}.")
    if not datalist[section]:
        return []
    items = load_decathlon_datalist(path, is_segmentation=True, data_list_key=section, base_dir=base_dir)
    without_null = {"official_fold": 0, "sha256": ""}
    return [
        {
            **{key: without_null.get(key, "") if value is None else value for key, value in original.items()},
            "image": item["image"],
            "label": item["label"],
        }
        for item, original in zip(items, datalist[section], strict=True)
    ]
