"""The data of the BraTS bundles: a folder of cases, or phantoms where none is given."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import distributed
from tqdm import tqdm

from ckdmed.counted import counted
from ckdmed.data.brats import MODALITIES, brats_fold, build_brats_datalist, read_brats_datalist, select_brats_items
from ckdmed.data.brats.headers import VolumeFileError
from ckdmed.data.brats.one_grid import grid_problem
from ckdmed.data.brats.persons import same_persons
from ckdmed.data.brats.releases import OpenReleaseError
from ckdmed.data.phantoms import PHANTOM_RELEASE, write_brats_phantoms
from ckdmed.data.splits import stored_folds
from ckdmed.limits import FileTooLargeError
from ckdmed.sections.record import record_of_scored
from ckdmed.sections.regions_in_masks import warn_of_untold_regions
from ckdmed.sections.split_seed import check_split_seed

__all__ = ["brats_sections", "cases_folder", "check_listed_cases", "check_persons"]

logger = logging.getLogger(__name__)

_SECTIONS = {"train": "training", "validation": "validation", "test": "test"}


def brats_sections(
    dataset_dir: str | None = None,
    phantom_dir: str = "phantoms",
    modalities: Sequence[str] = MODALITIES,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    label_fraction: float = 1.0,
    split_seed: int = 0,
    phantom_cases: int = 20,
    phantom_shape: Sequence[int] = (96, 96, 48),
    phantom_types: Sequence[str] = ("GLI",),
    checkpoint: str | None = None,
    teacher_folds: int = 1,
    fold: int | None = None,
    n_folds: int = 5,
    train_on_validation: bool = False,
    regions: Sequence[str] = (),
) -> dict[str, list[dict[str, Any]]]:
    """Cases of the training, validation and test sections, split by patient.

    Sections are those of the folder's ``datalist.json`` where there is one (`python -m ckdmed brats-datalist` writes
    it); else they are found out on the way, balanced by tumour type and by presence of enhancing tumour. Nothing is
    written into the folder. Cases that cannot be used are named in a warning and left out.

    Args:
        dataset_dir: folder of BraTS cases of any naming, or None for phantoms.
        phantom_dir: where phantoms are written (once; they are found again by later runs).
        modalities: those that every case must have; ``image`` has them in this order.
        fractions: of the split; a stored datalist has its own.
        label_fraction: share of the training patients whose masks are used; the others' images serve unlabelled.
        split_seed: of the split and of the choice of labelled patients, apart from the run's seed.
        phantom_cases: how many phantom cases; from 6 up there is one in each section.
        phantom_shape: voxels of a phantom along its axes, over 240 x 240 x 155 mm.
        phantom_types: tumour types that the phantom patients take in turn.
        checkpoint: what is to be scored; the sections are then those that its training recorded, see
            :class:`~ckdmed.sections.record.SectionRecord`, with "new" for patients that it did not know. None
            for a training.
        teacher_folds: of cross-fitted teachers, which `split_seed` draws too.
        fold, n_folds: k-fold instead of one split; the fold is the test section and the next one validates, see
            :func:`~ckdmed.data.brats.brats_fold`.
        train_on_validation: the training section has the cases of the validation section too, which then says nothing
            of other patients.
        regions: that a network is to learn; where the training masks do not tell them apart, a warning says so.

    Returns:
        "train", "validation", "test" -> items of whole cases: ``image`` (absolute paths, one for each modality in the
        order of ``modalities``; or one 4-D file, whose channels ``modalities`` of the item names), ``label`` (path; a
        training case may lack it), ``labelled``, ``id`` and ``case``, ``patient``, ``patient_group``, ``time_point``,
        ``tumor_label`` (1 GLI, 2 MEN, 3 MET, 4 PED, 5 SSA), ``tumour_type``, ``release``, ``grade``, ``modalities``.

    Raises:
        ValueError: the folder is missing or holds no usable case, has no datalist and leaves open whose labels its
            masks have (see `decided_releases`), the stored datalist is damaged or names a file that is not there or
            not on the grid of its case, a case lacks a modality, or the training or validation section is empty;
            `split_seed` would change nothing, see `check_split_seed`; a patient's cases are in several sections of the
            record; the fold does not exist.
    """
    if dataset_dir:
        folder = cases_folder(dataset_dir)
    else:
        folder = _phantoms(Path(phantom_dir), phantom_cases, phantom_shape, phantom_types, split_seed)
    # phantoms have the labels of 2023; of others only a datalist can say what their names leave open
    release = None if dataset_dir else PHANTOM_RELEASE
    record = record_of_scored(checkpoint)
    if record is None:
        datalist = _resolve(folder, split_seed, fractions, modalities, release, fold, n_folds)
        if teacher_folds == 1:
            check_split_seed(split_seed, folder, label_fraction, fold, n_folds)
        parts = {key: datalist[name] for key, name in _SECTIONS.items()}
    else:
        # nothing is split, so that a folder of two patients will do
        datalist = _resolve(folder, split_seed, (1.0, 0.0, 0.0), modalities, release)
        parts = record.assign([_scored(item) for name in _SECTIONS.values() for item in datalist[name]])
    share = {"train": label_fraction}
    sections = {
        key: [
            _chosen(item, modalities, folder)
            for item in select_brats_items({"test": part}, folder, "test", share.get(key, 1.0), split_seed)
        ]
        for key, part in parts.items()
    }
    if (folder / "datalist.json").is_file():
        # of others all headers were compared when they were found
        _check_grids(folder / "datalist.json", [item for items in sections.values() for item in items])
    for key in ("validation", "test"):
        if without := [item["case"] for item in sections[key] if "label" not in item]:
            raise ValueError(
                f"{folder}: {counted(len(without), 'case')} of the {key} section without a mask (the first: "
                f"{without[0]}); make the datalist again from cases with masks."
            )
    if train_on_validation and record is None:
        sections["train"] = [*sections["train"], *sections["validation"]]
        logger.warning("training on the validation section too: its scores say nothing about unseen patients")
    labelled = sum(item["labelled"] for item in sections["train"])
    counts = ", ".join(
        f"{name} {counted(len(items), 'case')} of {counted(_groups(items), 'patient')}"
        for name, items in sections.items()
    )
    logger.info(f"{folder}: {counts}; {labelled} of the training cases are used with their masks")
    if record is None:
        listed = [item for name in _SECTIONS.values() for item in datalist[name]]
        warn_of_untold_regions(folder, listed, sections["train"], regions)
    for name in ("train", "validation"):
        if not sections[name] and record is None:
            raise ValueError(f"{folder}: the {name} section is empty; give more patients or other fractions.")
    return sections


def cases_folder(dataset_dir: str) -> Path:
    """Where a folder of cases lies.

    Raises:
        ValueError: there is none.
    """
    folder = Path(dataset_dir).expanduser().resolve()
    if not folder.is_dir():
        raise ValueError(f"dataset_dir '{dataset_dir}' is not a folder (resolved to {folder}).")
    return folder


def check_listed_cases(datalist: dict[str, Any], folder: Path, modalities: Sequence[str]) -> None:
    """Refuse a stored datalist of which a case lacks a modality or a file is not there; none is opened.

    Args:
        datalist: as it was read.
        folder: its own.
        modalities: those that every case must have.
    """
    for name in _SECTIONS.values():
        for item in select_brats_items(datalist, folder, name):
            _chosen(item, modalities, folder)


def _check_grids(stored: Path, items: Sequence[dict[str, Any]]) -> None:
    """Refuse a stored datalist of which the files of a case lie apart, such as a mask whose header was lost since."""
    apart: dict[str, str] = {}
    for item in tqdm(items, desc="reading headers", unit="case", leave=False):
        try:
            if problem := grid_problem(item):
                apart[item["case"]] = problem
        except (VolumeFileError, FileTooLargeError):
            # a damaged file costs its own case alone, when that is read
            continue
    if apart:
        first = next(iter(apart))
        raise ValueError(
            f"{stored}: the files of {counted(len(apart), 'case')} do not lie on one grid; the first, {first}: "
            f"{apart[first]}. Correct the headers or resample the files, or make the datalist again without these."
        )


def _phantoms(root: Path, cases: int, shape: Sequence[int], types: Sequence[str], seed: int) -> Path:
    width, height, depth = (int(size) for size in shape)
    folder = root.resolve() / f"cases={cases}-size={width}x{height}x{depth}-types={'-'.join(types)}-seed={seed}"
    logger.info(f"no dataset_dir is given: making phantoms of {counted(cases, 'case')} in {folder}")
    # one process of a distributed run writes, the others wait for it
    if not distributed.is_initialized() or distributed.get_rank() == 0:
        write_brats_phantoms(folder, cases, (width, height, depth), seed, types)
    if distributed.is_initialized():
        distributed.barrier()
    return folder


def _resolve(
    folder: Path,
    seed: int,
    fractions: Sequence[float],
    modalities: Sequence[str],
    release: str | None,
    fold: int | None = None,
    n_folds: int = 5,
) -> dict[str, Any]:
    stored = folder / "datalist.json"
    if stored.is_file():
        datalist = read_brats_datalist(stored)
        # whichever of the stored folds is the test section
        items = [item for name in _SECTIONS.values() for item in datalist[name]]
        of_folds = fold is not None and stored_folds(items, n_folds) is not None
        if of_folds:
            _check_folds_have_masks(items, stored)
        if fold is not None:
            datalist = brats_fold(datalist, fold, n_folds, seed)
        check_persons(datalist, stored, of_folds)
        return datalist
    if fold is not None:
        # the folds are of all cases, so a set too small for three shares will do
        fractions = (1.0, 0.0, 0.0)
    try:
        datalist, skipped = build_brats_datalist(folder, seed, fractions, modalities, release=release)
    except OpenReleaseError as error:
        raise ValueError(
            f"{error} Make the folder's datalist like this: ckdmed brats-datalist '{folder}' --release ..."
        ) from error
    if skipped:
        reasons = "\n".join(f"  {entry.case}: {entry.reason}" for entry in skipped[:10])
        more = f"\n  and {len(skipped) - 10} more" if len(skipped) > 10 else ""
        warnings.warn(f"{folder}: left out {counted(len(skipped), 'case')}:\n{reasons}{more}", stacklevel=3)
    return datalist if fold is None else brats_fold(datalist, fold, n_folds, seed)


def _check_folds_have_masks(items: Sequence[dict[str, Any]], stored: Path) -> None:
    """Refuse cases that cannot be scored whichever fold is tested, not hours later when the turn of theirs comes."""
    if without := [item for item in items if "label" not in item or item.get("pseudo_label")]:
        folds = ", ".join(map(str, sorted({item["fold"] for item in without})))
        raise ValueError(
            f"{stored}: {counted(len(without), 'case')} without a mask (or with one that networks made) in the folds "
            f"to be tested (the first: {without[0]['case']}; folds: {folds}). Add their masks, leave the cases out, "
            "or leave 'fold' out of all items, so that folds are drawn in which such cases are only used for training."
        )


def check_persons(datalist: dict[str, Any], source: Path, of_folds: bool = False) -> None:
    """Refuse a list in whose sections, or in whose folds, one person is under several names.

    Args:
        datalist: as it was read.
        source: its file.
        of_folds: whether its items' folds are tested, not its sections.

    Raises:
        ValueError: names the persons.
    """
    items = {name: datalist[name] for name in _SECTIONS.values()}
    joined = same_persons([item for part in items.values() for item in part], source.parent)
    sections: dict[str, set[str]] = {}
    for name, part in items.items():
        for item in part:
            if item["patient_group"] in joined:
                place = item["fold"] if of_folds else name
                sections.setdefault(joined[item["patient_group"]], set()).add(place)
    if crossing := sorted(name for name, where in sections.items() if len(where) > 1):
        names = ", ".join(sorted(group for group, name in joined.items() if name == crossing[0]))
        raise ValueError(
            f"{source}: {counted(len(crossing), 'patient')} under several names in several "
            f"{'folds' if of_folds else 'sections'} (by identical images or spelling: {names}); make the datalist "
            "again."
        )


def _scored(item: dict[str, Any]) -> dict[str, Any]:
    """The item as it is scored: a mask that networks made is no answer."""
    return {key: value for key, value in item.items() if key != "label"} if item.get("pseudo_label") else item


def _chosen(item: dict[str, Any], modalities: Sequence[str], folder: Path) -> dict[str, Any]:
    """The item with the wanted modalities; a 4-D file stays whole."""
    there = list(item["modalities"])
    if missing := [modality for modality in modalities if modality not in there]:
        raise ValueError(f"{folder}: the case {item['case']} lacks {', '.join(missing)} (found: {', '.join(there)}).")
    for path in [*item["image"], *([item["label"]] if "label" in item else [])]:
        if not Path(path).is_file():
            raise ValueError(f"{path}: no such file, though the datalist names it; make the datalist again.")
    if len(item["image"]) != len(there):
        return item
    return {**item, "image": [item["image"][there.index(m)] for m in modalities], "modalities": list(modalities)}


def _groups(items: Sequence[dict[str, Any]]) -> int:
    return len({item["patient_group"] for item in items})
