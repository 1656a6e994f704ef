"""From a folder of slices to the training, validation and test items that a bundle runs on."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.config import PathLike

from ckdmed.counted import counted
from ckdmed.data.datalist import DATALIST_NAME, DEFAULT_FRACTIONS, build_figshare_datalist, read_datalist
from ckdmed.data.datalist_form import SECTIONS
from ckdmed.data.slice_datalist import is_slice_datalist, read_slice_datalist
from ckdmed.data.splits import (
    check_fold,
    check_no_group_crosses,
    k_folds,
    labelled_subset,
    sections_of_fold,
    split_by_group,
    stored_folds,
)
from ckdmed.json_files import read_json

SECTION_KEYS = ("train", "validation", "test")
FOLD_SOURCES = ("group", "official")
_OFFICIAL_FOLDS = 5
_ITEM_KEYS = ("id", "tumor_label", "patient", "patient_group")


def stored_datalist(dataset_dir: PathLike) -> Path:
    """Where the datalist of a data set is stored, if it has one: what is given is that file itself, or a folder."""
    path = Path(dataset_dir)
    return path if path.is_file() else path / DATALIST_NAME


def resolve_datalist(
    dataset_dir: PathLike,
    seed: int = 0,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    folds: int | None = None,
    hashes: bool = False,
    progress: bool = True,
    target: str = "label",
) -> dict[str, Any]:
    """The datalist of a folder: its `datalist.json` where there is one, else built in memory; nothing is written.

    Args:
        dataset_dir: folder of `.mat` files, or with a `datalist.json`; or a datalist (`.json`), whose paths are
            relative to its folder. Of a user's own one see :func:`~ckdmed.data.slice_datalist.read_slice_datalist`.
        seed, fractions, folds, hashes, progress: as for `build_figshare_datalist`; a stored datalist has its own.
        target: what makes an image of a user's own datalist labelled: "label" or "class".

    Raises:
        ValueError: see `read_datalist` and `build_figshare_datalist`.
    """
    folder = Path(dataset_dir)
    if not folder.is_dir() and not (folder.is_file() and folder.suffix.lower() == ".json"):
        raise ValueError(f"{folder}: neither a folder nor a datalist (.json).")
    stored = stored_datalist(folder)
    if stored.is_file():
        if is_slice_datalist(read_json(stored)):
            return read_slice_datalist(stored, fractions, seed, progress=progress, target=target)
        return read_datalist(stored)
    datalist, skipped = build_figshare_datalist(folder, seed, fractions, folds, hashes=hashes, progress=progress)
    if skipped:
        reasons = "\n".join(f"  {entry.reason}" for entry in skipped[:10])
        more = f"\n  and {len(skipped) - 10} more" if len(skipped) > 10 else ""
        warnings.warn(
            f"{folder}: {counted(len(skipped), 'file')} left out of the datalist:\n{reasons}{more}", stacklevel=2
        )
    return datalist


def datalist_folder(dataset_dir: PathLike) -> Path:
    """The folder to which the paths of a data set's datalist are relative: its own, or that of the datalist given."""
    path = Path(dataset_dir).expanduser().resolve()
    return path.parent if path.is_file() else path


def select_sections(
    datalist: Mapping[str, Any],
    base_dir: PathLike,
    fold: int | None = None,
    n_folds: int = 5,
    fractions: Sequence[float] | None = None,
    label_fraction: float = 1.0,
    seed: int = 0,
    fold_source: str = "group",
    target: str = "label",
    scored: bool = False,
) -> dict[str, list[dict[str, Any]]]:
    """Training, validation and test items for one run.

    Without `fold` the sections are those of the datalist, or a new split of all its items where `fractions` are given.
    With `fold`, test is that fold, validation the next (modulo the number of folds), training the rest. Patients with
    images that are unlabelled, or labelled by networks (``pseudo_label``), are in no new fold and no new split: they
    stay in training.

    The published folds (`fold_source="official"`) split 16 persons. Test is then the published fold as it is, so
    results compare with papers that used it, but slices of its persons are dropped from validation and training, and
    slices of the validation's persons from training; a warning says how many. The default keeps every slice.

    Args:
        datalist: see `resolve_datalist`.
        base_dir: the dataset's folder, put before the relative paths.
        fold: None, or 0..n_folds-1 (0 is the published fold 1).
        n_folds: number of folds; 5 for the published ones. Folds stored in the datalist are used where their number is
            this one, whatever the seed.
        fractions: None, or shares of training, validation and test for a new split; not together with `fold`.
        label_fraction: share of the training slices, by patient group and class, whose `labelled` is True; see
            `labelled_subset`. Validation and test are always labelled.
        seed: of new folds, of a new split and of the labelled patients; not that of the training.
        fold_source: "group" or "official".
        target: what makes an image labelled: "label" (its mask) or "class".
        scored: the items are scored, not trained on: a mask that networks made is no label then.

    Returns:
        "train", "validation" and "test": lists of items with `image` and `label` (absolute paths; a list of images for
        several channels, "" for no label), `labelled` (bool), `id`, `tumor_label`, `patient` and `patient_group`; of a
        user's own datalist `slice` too. Nothing that cannot be collated. Test images without a target are left out,
        with a warning.

    Raises:
        ValueError: an argument out of range; both `fold` and `fractions`; a slice without a published fold where these
            are asked for; a patient group in two sections of the datalist; no training items are left; no training
            image has a target, or a validation image has none.
    """
    if fold_source not in FOLD_SOURCES:
        raise ValueError(f"fold_source must be one of {FOLD_SOURCES}, got {fold_source!r}.")
    if fold is not None and fractions is not None:
        raise ValueError("Give either fold or fractions, not both.")
    if fold is None and fold_source == "official":
        raise ValueError("fold_source='official' needs fold, 0 to 4.")
    items = [item for name in SECTIONS for item in datalist[name]]
    if fold is not None:
        parts = _by_fold(items, fold, n_folds, seed, fold_source, target)
    elif fractions is not None:
        if len(fractions) != len(SECTIONS):
            raise ValueError(f"fractions must be one each for {', '.join(SECTIONS)}, got {tuple(fractions)}.")
        dealt, rest = _with_target(items, target)
        groups, labels = _groups_and_labels(dealt)
        parts = [[dealt[i] for i in part] for part in split_by_group(groups, labels, fractions, seed)]
        parts[0] += rest
    else:
        parts = [list(datalist[name]) for name in SECTIONS]
    selected = dict(zip(SECTION_KEYS, parts, strict=True))
    check_no_group_crosses(selected)
    if not selected["train"]:
        raise ValueError("The selection leaves no training items.")
    if not any(_has_target(item, target) for item in selected["train"]):
        raise ValueError(f"no training image has a {target}; at least one needs one.")
    for item in selected["validation"]:
        if not _is_scored(item, target):
            made = " but one that networks made" if _has_target(item, target) else ""
            raise ValueError(
                f"the validation image '{item['id']}' has no {target}{made}; every validation image needs one."
            )
    return section_items(selected, base_dir, label_fraction, seed, target, scored)


def section_items(
    parts: Mapping[str, Sequence[Mapping[str, Any]]],
    base_dir: PathLike,
    label_fraction: float = 1.0,
    seed: int = 0,
    target: str = "label",
    scored: bool = False,
) -> dict[str, list[dict[str, Any]]]:
    """Items of a datalist that are dealt to sections already, as `select_sections` gives them.

    Args:
        parts: name of the section to its items; in "train" some may be unlabelled.
        base_dir, label_fraction, seed, target, scored: see `select_sections`.
    """
    usable = {
        name: [(_has_target if name == "train" and not scored else _is_scored)(item, target) for item in part]
        for name, part in parts.items()
    }
    labelled = {name: list(part) for name, part in usable.items()}
    with_target = [item for item, flag in zip(parts["train"], usable["train"], strict=True) if flag]
    chosen = iter(labelled_subset(with_target, label_fraction, seed) if with_target else [])
    labelled["train"] = [flag and next(chosen) for flag in usable["train"]]
    folder = os.path.abspath(base_dir)
    items = {
        name: [_batch_item(item, folder, flag, target) for item, flag in zip(part, labelled[name], strict=True)]
        for name, part in parts.items()
    }
    for name in set(items) - {"train", "validation"}:
        if without := usable[name].count(False):
            warnings.warn(
                f"left out {counted(without, 'image')} of the section {name} without a {target}.", stacklevel=3
            )
            items[name] = [item for item, flag in zip(items[name], usable[name], strict=True) if flag]
    return items


def _has_target(item: Mapping[str, Any], target: str) -> bool:
    # a slice of the Figshare set has both its mask and its class
    return bool(item["label"]) if target == "label" or "class" not in item else item["class"] is not None


def _is_scored(item: Mapping[str, Any], target: str) -> bool:
    """Whether it has a target that is an answer: a mask that networks made is none."""
    return _has_target(item, target) and not (target == "label" and item.get("pseudo_label"))


def _with_target(items: Sequence[dict[str, Any]], target: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The items of patients all of whose images can be scored, and the others."""
    without = {item["patient_group"] for item in items if not _is_scored(item, target)}
    dealt = [item for item in items if item["patient_group"] not in without]
    return dealt, [item for item in items if item["patient_group"] in without]


def _batch_item(item: Mapping[str, Any], folder: str, labelled: bool, target: str) -> dict[str, Any]:
    def full(name: str) -> str:
        return os.path.join(folder, *name.split("/")) if name else ""

    image = item["image"]
    paths = {
        "image": [full(name) for name in image] if isinstance(image, list) else full(image),
        "label": full(item["label"]),
    }
    own = {key: item[key] for key in ("slice", "soft", target) if key in item and key not in paths}
    common = {key: item[key] for key in _ITEM_KEYS}
    if "slice" in item:
        # in a user's own datalist a number for balancing the split; scores are broken down by the class itself
        common["tumor_label"] = "" if item["class"] is None else str(item["class"])
    return {**paths, "labelled": labelled, **common, **own}


def _groups_and_labels(items: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[int]]:
    return [item["patient_group"] for item in items], [item["tumor_label"] for item in items]


def _by_fold(
    items: list[dict[str, Any]], fold: int, n_folds: int, seed: int, fold_source: str, target: str
) -> list[list[dict[str, Any]]]:
    check_fold(fold, n_folds)
    fold_of: list[int | None] = []
    if fold_source == "official":
        fold_of += _official_folds(items, n_folds)
    elif (stored := stored_folds(items, n_folds)) is not None:
        fold_of += stored
    else:
        dealt, _ = _with_target(items, target)
        folds = k_folds(*_groups_and_labels(dealt), n_folds, seed)
        members = {dealt[i]["patient_group"]: f for f, part in enumerate(folds) for i in part}
        # one without a fold is in training
        fold_of += [members.get(item["patient_group"]) for item in items]
    train, validation, test = sections_of_fold(items, fold_of, fold, n_folds)
    return _without_split_persons(train, validation, test) if fold_source == "official" else [train, validation, test]


def _official_folds(items: Sequence[Mapping[str, Any]], n_folds: int) -> list[int]:
    if n_folds != _OFFICIAL_FOLDS:
        raise ValueError(f"There are {_OFFICIAL_FOLDS} published folds, got n_folds={n_folds}.")
    without = [item["id"] for item in items if not item.get("official_fold")]
    if without:
        raise ValueError(
            f"{counted(len(without), 'slice')} without a published fold (the first: '{without[0]}'); "
            "put cvind.mat into the dataset's folder and make the datalist again."
        )
    return [item["official_fold"] - 1 for item in items]


def _without_split_persons(
    train: list[dict[str, Any]], validation: list[dict[str, Any]], test: list[dict[str, Any]]
) -> list[list[dict[str, Any]]]:
    test_groups = {item["patient_group"] for item in test}
    kept_validation = [item for item in validation if item["patient_group"] not in test_groups]
    held_out = test_groups | {item["patient_group"] for item in kept_validation}
    kept_train = [item for item in train if item["patient_group"] not in held_out]
    dropped = len(train) + len(validation) - len(kept_train) - len(kept_validation)
    if dropped:
        warnings.warn(
            f"The published folds split patients: {counted(dropped, 'slice')} of patients in the test or validation "
            "fold are left out of training and validation.",
            stacklevel=4,
        )
    return [kept_train, kept_validation, test]
