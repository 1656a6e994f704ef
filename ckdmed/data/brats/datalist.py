"""Datalists of BraTS cases in MONAI's decathlon JSON form: making and loading them."""

from __future__ import annotations

import logging
import os
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from tqdm import tqdm

from ckdmed.counted import counted
from ckdmed.data.brats.case_files import SkippedCase
from ckdmed.data.brats.cases import BratsCase, find_brats_cases, none_usable
from ckdmed.data.brats.datalist_form import TEXT_KEYS, check_brats_datalist
from ckdmed.data.brats.headers import DEFAULT_TOLERANCE_MM, VolumeFileError
from ckdmed.data.brats.masks import read_mask
from ckdmed.data.brats.names import MODALITIES, parse_case_name
from ckdmed.data.brats.persons import same_persons
from ckdmed.data.brats.releases import decided_releases
from ckdmed.data.datalist_form import SECTIONS
from ckdmed.data.input_walk import UnusedFiles
from ckdmed.data.patient_table import check_patients
from ckdmed.data.splits import (
    check_fold,
    check_no_group_crosses,
    k_folds,
    labelled_subset,
    sections_of_fold,
    split_by_group,
    stored_folds,
)
from ckdmed.files import write_json
from ckdmed.json_files import read_json
from ckdmed.labels import TUMOUR_TYPES, brats_labels
from ckdmed.paths import checked_name
from ckdmed.section_names import section_in

__all__ = [
    "brats_fold",
    "build_brats_datalist",
    "load_brats_datalist",
    "read_brats_datalist",
    "select_brats_items",
    "write_brats_datalist",
]

logger = logging.getLogger(__name__)

_COUNT_KEYS = {"training": "numTraining", "validation": "numValidation", "test": "numTest"}
_DEFAULT_TYPE = "GLI"


def build_brats_datalist(
    folder: PathLike,
    seed: int = 0,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    modalities: Sequence[str] = MODALITIES,
    require_label: bool = True,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    progress: bool = True,
    release: str | None = None,
    tumour_type: str | None = None,
    patients: Mapping[str, str] | None = None,
    mask_is: str | None = None,
    unused: UnusedFiles | None = None,
) -> tuple[dict[str, Any], list[SkippedCase]]:
    """Find cases, count the labels of their masks, and split them by patient.

    All time points of a person are in one section, and so are a person's cases under several names
    (:func:`~ckdmed.data.brats.persons.same_persons`), which a warning names. The sections are balanced by tumour type
    together with whether the mask has enhancing tumour. Patients with a case without a mask stay in the training
    section, since no training takes one for validation or test; where every patient has such a case, all are split.

    Args:
        folder: see `find_brats_cases`.
        seed: of the split.
        fractions: shares of training, validation and test.
        modalities, require_label, tolerance_mm: see `find_brats_cases`.
        progress: whether to show bars.
        release: of the masks whose case's name leaves it open, see `decided_releases`.
        tumour_type: of cases whose names do not tell it. Default None: GLI, which a warning says.
        patients: case -> patient, where the names do not tell (see `read_patient_table`); else a case under a name that
            is none of BraTS or BIDS is a patient of its own, which a warning says.
        mask_is, unused: see `find_brats_cases`.

    Returns:
        the datalist, and the cases left out: those of `find_brats_cases`, and those whose mask is damaged or holds a
        label that its release does not have.

    Raises:
        OpenReleaseError: see `decided_releases`.
        ValueError: see `find_brats_cases` and `split_by_group`; no case is left; a patient is given for a case that is
            not there; an unknown tumour type.
    """
    if tumour_type is not None and tumour_type not in TUMOUR_TYPES:
        raise ValueError(f"tumour_type must be one of {', '.join(TUMOUR_TYPES)}, got {tumour_type!r}.")
    cases, skipped = find_brats_cases(
        folder, modalities, require_label, tolerance_mm, progress, mask_is=mask_is, unused=unused
    )
    check_patients(patients or {}, [case.case for case in cases] + [entry.case for entry in skipped], folder)
    named: list[BratsCase] = []
    masks: dict[str, dict[int, int]] = {}
    for case in tqdm(cases, desc="reading masks", unit="case", disable=not progress):
        try:
            checked_name(case.case, "the case")
            if case.label is not None:
                values, numbers = np.unique(read_mask(case.label), return_counts=True)
                masks[case.case] = {int(value): int(number) for value, number in zip(values, numbers, strict=True)}
            named.append(_named(case, tumour_type, patients or {}))
        except ValueError as error:
            skipped.append(SkippedCase(case.case, str(error)))
    releases = decided_releases([case.name for case in named], masks, release)
    _warn_of_assumptions(cases, folder, tumour_type, release, patients or {})
    items: list[dict[str, Any]] = []
    for case in named:
        try:
            items.append(_item(case, Path(folder), releases[case.case], masks.get(case.case)))
        except ValueError as error:
            skipped.append(SkippedCase(case.case, str(error)))
    if not items:
        raise none_usable(folder, skipped)
    if joined := same_persons(items, folder):
        pairs = ", ".join(f"{group} is {name}" for group, name in sorted(joined.items()) if group != name)
        warnings.warn(
            f"{folder}: patients have several names, judging by identical images or spelling: {pairs}", stacklevel=2
        )
        items = [{**item, "patient_group": joined.get(item["patient_group"], item["patient_group"])} for item in items]
    dealt, rest = _with_masks(items)
    if not dealt or not fractions[0]:
        # an inference alone takes such sections
        dealt, rest = items, []
    groups = [item["patient_group"] for item in dealt]
    parts = split_by_group(groups, [_class_of(item) for item in dealt], fractions, seed)
    sections = {name: [dealt[i] for i in part] for name, part in zip(SECTIONS, parts, strict=True)}
    sections["training"] += rest
    return {
        "name": "BraTS cases",
        "description": "Brain tumour MRI with masks of core, oedema and enhancing tumour; split by patient.",
        "licence": "the terms of the BraTS release",
        "source": "BraTS",
        "modality": {str(number): name for number, name in enumerate(modalities)},
        "tumor_labels": {str(number): name for number, name in enumerate(TUMOUR_TYPES, start=1)},
        "tensorImageSize": "3D",
        "seed": seed,
        "split": {"by": "patient_group", "kind": "fractions", "fractions": [float(f) for f in fractions]},
        **{_COUNT_KEYS[name]: len(sections[name]) for name in SECTIONS},
        **sections,
    }, skipped


def _with_masks(items: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The items of patients all of whose cases have an expert's mask, and the others, which only train."""
    without = {item["patient_group"] for item in items if "label" not in item or item.get("pseudo_label")}
    dealt = [item for item in items if item["patient_group"] not in without]
    return dealt, [item for item in items if item["patient_group"] in without]


def _class_of(item: Mapping[str, Any]) -> int:
    """The class that splits balance: tumour type together with whether there is enhancing tumour."""
    # without a mask the enhancing part is unknown; such cases are a class of their own
    has_et = item.get("has_et")
    return 3 * int(item["tumor_label"]) + (2 if has_et is None else int(has_et))


def brats_fold(datalist: Mapping[str, Any], fold: int, n_folds: int = 5, seed: int = 0) -> dict[str, Any]:
    """The datalist with the sections of one fold of cross-validation in the place of its own.

    Test is the fold, validation the next one (modulo the number of folds), training the rest. Folds that all items
    hold under ``fold`` are used where their number is `n_folds`, whatever the seed; else they are drawn by patient,
    balanced as `build_brats_datalist` balances. Patients with a case without a mask, or with one that networks made
    (``pseudo_label``), are in no fold: they stay in training.

    Args:
        datalist: see `build_brats_datalist`.
        fold: 0 to `n_folds` - 1.
        n_folds: 3 or more.
        seed: of the folds.

    Raises:
        ValueError: `fold` or `n_folds` is out of range; fewer patients than folds; stored folds part a patient.
    """
    check_fold(fold, n_folds)
    items = [item for name in SECTIONS for item in datalist[name]]
    fold_of: Sequence[int | None] | None = stored_folds(items, n_folds)
    if fold_of is None:
        if stored := sorted({item["fold"] for item in items if item.get("fold") is not None}):
            warnings.warn(
                f"the datalist's folds {stored} do not divide all items into {n_folds} folds: new folds are drawn",
                stacklevel=2,
            )
        dealt, _ = _with_masks(items)
        parts = k_folds([i["patient_group"] for i in dealt], [_class_of(i) for i in dealt], n_folds, seed)
        folds = {dealt[index]["patient_group"]: number for number, part in enumerate(parts) for index in part}
        fold_of = [folds.get(item["patient_group"]) for item in items]
    sections = dict(zip(SECTIONS, sections_of_fold(items, fold_of, fold, n_folds), strict=True))
    check_no_group_crosses(sections)
    return {**datalist, **sections}


def _named(case: BratsCase, tumour_type: str | None, patients: Mapping[str, str]) -> BratsCase:
    """The case with the tumour type and the patient that its name does not tell, or that a table says."""
    name = replace(case.name, tumour_type=case.name.tumour_type or tumour_type or _DEFAULT_TYPE)
    if (patient := patients.get(case.case)) is not None:
        name = replace(name, patient=patient, patient_group=patient)
    return replace(case, name=name)


def _warn_of_assumptions(
    cases: Sequence[BratsCase],
    folder: PathLike,
    tumour_type: str | None,
    release: str | None,
    patients: Mapping[str, str],
) -> None:
    """Warn of what is assumed of cases whose names do not say it."""
    types = [] if tumour_type else [case.case for case in cases if not case.name.tumour_type]
    releases = [] if release else [case.case for case in cases if not case.name.release]
    # a BraTS name tells the patient whatever its release, and of a BIDS name the subject is the patient
    free = [c.case for c in cases if parse_case_name(c.case) is None and c.name.patient == c.case]
    own = [case for case in free if case not in patients]
    for unnamed, what, assumed, option in (
        (types, "give the tumour type", f"each counts as {_DEFAULT_TYPE}", "--tumour-type TYPE"),
        (releases, "give the release", "their masks are read with the labels of 2023", "--release YEAR"),
        (
            own if len(own) > 1 else [],
            "identify the patient",
            "each counts as a separate patient, follow-ups too",
            "--patients FILE.csv",
        ),
    ):
        if unnamed:
            have = "has a name that does" if len(unnamed) == 1 else "have names that do"
            # trainings and evaluations have none of these options
            logger.warning(
                f"{folder}: {counted(len(unnamed), 'case')} {have} not {what}, such as '{unnamed[0]}'; "
                f"{assumed}. To change this, first run: ckdmed brats-datalist {shlex.quote(str(folder))} {option}"
            )


def _item(case: BratsCase, folder: Path, release: str, labels: Mapping[int, int] | None) -> dict[str, Any]:
    name = case.name
    table = brats_labels(release, name.tumour_type)
    counts: dict[str, int] | None = None
    if labels is not None:
        if unknown := table.unknown(labels):
            raise VolumeFileError(
                f"{case.label}: holds {', '.join(f'{v:g}' for v in unknown[:5])}, not among the labels of BraTS "
                f"{table.release} ({', '.join(f'{v} {text}' for v, text in table.names.items())}); give its release, "
                "or convert the mask to these labels."
            )
        counts = {table.names[value]: number for value, number in labels.items() if value}
    paths = [path.relative_to(folder).as_posix() for path in case.images]
    label = {} if case.label is None else {"label": case.label.relative_to(folder).as_posix()}
    return {
        "id": case.case,
        "image": paths,
        **label,
        "modalities": list(case.modalities),
        "case": case.case,
        "patient": name.patient,
        "patient_group": name.patient_group,
        "time_point": name.time_point,
        "tumour_type": name.tumour_type,
        "tumor_label": TUMOUR_TYPES.index(name.tumour_type) + 1,
        "release": table.release,
        "grade": case.grade,
        "has_et": None if counts is None else "ET" in counts,
        "label_voxels": counts,
    }


def write_brats_datalist(datalist: Mapping[str, Any], path: PathLike) -> Path:
    """Write a datalist as JSON, whole or not at all, after `check_brats_datalist`."""
    check_brats_datalist(datalist, path)
    return write_json(path, dict(datalist))


def read_brats_datalist(path: PathLike) -> dict[str, Any]:
    """Read a datalist and check its form.

    Raises:
        ValueError: no such file, no JSON, or a wrong form.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such datalist.")
    datalist = read_json(path)
    check_brats_datalist(datalist, path)
    return dict(datalist)


def load_brats_datalist(
    path: PathLike,
    section: str = "training",
    base_dir: PathLike | None = None,
    label_fraction: float = 1.0,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One section with full paths, as items for a MONAI `Dataset`; nothing in them that cannot be collated.

    `image` is a list of files that MONAI's `LoadImaged` stacks to channels in the order of `modalities`, or one 4-D
    file; `SelectModalitiesd` picks and orders the channels. `labelled` says whether the mask may be used.

    Args:
        path: the datalist.
        section: "training" (or "train"), "validation" or "test".
        base_dir: the dataset's folder; None for the datalist's.
        label_fraction: share of the section's items with a mask whose mask may be used, see `labelled_subset`.
        seed: of the choice of these.

    Raises:
        ValueError: see `read_brats_datalist`; `section` is another word; `label_fraction` is out of range.
    """
    datalist = read_brats_datalist(path)
    folder = Path(path).parent if base_dir is None else base_dir
    return select_brats_items(datalist, folder, section, label_fraction, seed)


def select_brats_items(
    datalist: Mapping[str, Any],
    base_dir: PathLike,
    section: str = "training",
    label_fraction: float = 1.0,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """`load_brats_datalist` of a datalist that is in memory already.

    Args:
        datalist: see `build_brats_datalist`.
        base_dir: the dataset's folder.
        section, label_fraction, seed: see `load_brats_datalist`.

    Raises:
        ValueError: `section` is another word; `label_fraction` is out of range.
    """
    section = section_in(SECTIONS, section)
    if section not in SECTIONS:
        raise ValueError(f"section must be one of {', '.join(SECTIONS)}, got {section!r}.")
    items = datalist[section]
    folder = os.path.abspath(base_dir)
    # a share of what can be labelled: a chosen patient without masks would leave less than was asked for
    with_mask = [item for item in items if "label" in item]
    chosen = iter(labelled_subset(with_mask, label_fraction, seed) if with_mask else [])
    flags = ["label" in item and next(chosen) for item in items]
    kept = (*TEXT_KEYS, "time_point", "tumor_label", "modalities")
    return [
        {
            "image": [os.path.join(folder, *p.split("/")) for p in item["image"]],
            **({"label": os.path.join(folder, *item["label"].split("/"))} if "label" in item else {}),
            "labelled": flag,
            **{key: item[key] for key in kept},
        }
        for item, flag in zip(items, flags, strict=True)
    ]
