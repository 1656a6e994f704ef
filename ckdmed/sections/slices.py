"""The data of the Figshare bundles: a folder of slices, or phantoms where none is given."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import distributed

from ckdmed.counted import counted
from ckdmed.data.datalist_form import SECTIONS
from ckdmed.data.figshare import TUMOR_LABELS
from ckdmed.data.phantoms import write_figshare_phantoms
from ckdmed.data.sections import datalist_folder, resolve_datalist, section_items, select_sections
from ckdmed.sections.own_sections import check_sections_kept
from ckdmed.sections.record import SectionRecord, record_of_scored
from ckdmed.sections.split_seed import check_split_seed

__all__ = ["figshare_sections", "slice_class_names", "slice_modalities", "slices_place"]

logger = logging.getLogger(__name__)


def figshare_sections(
    dataset_dir: str | None,
    phantom_dir: str,
    fold: int | None = None,
    n_folds: int = 5,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    label_fraction: float = 1.0,
    split_seed: int = 0,
    phantom_patients: int = 60,
    phantom_size: int = 128,
    fold_source: str = "group",
    phantom_slices: Sequence[int] = (3, 6),
    train_on_validation: bool = False,
    checkpoint: str | None = None,
    target: str = "label",
    teacher_folds: int = 1,
) -> dict[str, list[dict[str, Any]]]:
    """Items of the training, validation and test sections, split by patient group.

    Args:
        dataset_dir: folder of Figshare ``.mat`` files, or a datalist (``.json``) of images of any supported kind, see
            :func:`~ckdmed.data.slice_datalist.read_slice_datalist`; None for phantoms.
        phantom_dir: where phantoms are written (once; they are found again by later runs).
        fold, n_folds: k-fold instead of one split; the fold is the test section and the next one validates.
        fractions: of the one split.
        label_fraction: share of the training patients whose labels are used; the others' images serve unlabelled.
        split_seed: of the split and of the choice of labelled patients, apart from the run's seed, so that runs of
            several seeds share their patients.
        phantom_patients, phantom_size: how many phantom patients, and the edge of their slices in pixels.

        fold_source: "group" for folds that keep a person's slices together, "official" for the published ones, see
            :func:`~ckdmed.data.sections.select_sections`.
        phantom_slices: fewest and most slices of a phantom patient.
        train_on_validation: the training section has the items of the validation section too, which then says nothing
            of other patients.
        checkpoint: what is to be scored; the sections are then those that its training recorded, see
            :class:`~ckdmed.sections.record.SectionRecord`, with "new" for patients that it did not know. None
            for a training.
        target: what makes an image labelled: "label" (its mask) or "class".
        teacher_folds: of cross-fitted teachers, which `split_seed` draws too.

    Returns:
        "train", "validation", "test" -> items with absolute paths ``image`` and ``label``, ``labelled``, ``id``,
        ``tumor_label``, ``patient``, ``patient_group``.

    Raises:
        ValueError: the folder is missing or holds no usable file, or the fold does not exist; `split_seed` would change
            nothing, see `check_split_seed`; a fold of a user's own datalist with a section of validation or test, see
            `check_sections_kept`; a patient's files are in several sections of the record.
    """
    if dataset_dir:
        data = slices_place(dataset_dir)
    else:
        fewest, most = phantom_slices
        kind = f"patients={phantom_patients}-slices={fewest}-{most}-size={phantom_size}"
        data = Path(phantom_dir).resolve() / kind
        logger.info(f"no dataset_dir is given: making phantoms of {counted(phantom_patients, 'patient')} in {data}")
        # one process of a distributed run writes, the others wait for it
        if not distributed.is_initialized() or distributed.get_rank() == 0:
            write_figshare_phantoms(data, phantom_patients, (fewest, most), phantom_size, seed=split_seed)
        if distributed.is_initialized():
            distributed.barrier()
    record = record_of_scored(checkpoint)
    if record is not None and (known := _recorded(record, data, label_fraction, split_seed, target)) is not None:
        return known
    check_sections_kept(fold, data)
    datalist = resolve_datalist(data, seed=split_seed, fractions=fractions, target=target)
    if teacher_folds == 1:
        check_split_seed(split_seed, data, label_fraction, fold, n_folds, fold_source)
    sections = select_sections(
        datalist,
        datalist_folder(data),
        fold=fold,
        n_folds=n_folds,
        label_fraction=label_fraction,
        seed=split_seed,
        fold_source=fold_source,
        target=target,
        scored=checkpoint is not None,
    )
    if train_on_validation:
        sections["train"] = [*sections["train"], *sections["validation"]]
        logger.warning("training on the validation section too: its scores say nothing about unseen patients")
    labelled = sum(item["labelled"] for item in sections["train"])
    logger.info(f"{data}: {_counts(sections)}; {labelled} of the training images are used with their labels")
    for name in ("train", "validation"):
        if not sections[name]:
            raise ValueError(f"{data}: the {name} section is empty; give more patients or other fractions.")
    return sections


def slices_place(dataset_dir: str) -> Path:
    """Where a folder of slices, or a datalist of them, lies.

    Raises:
        ValueError: there is neither.
    """
    data = Path(dataset_dir).expanduser().resolve()
    if not data.is_dir() and not (data.is_file() and data.suffix.lower() == ".json"):
        raise ValueError(f"dataset_dir '{dataset_dir}' is neither a folder nor a datalist (resolved to {data}).")
    return data


def slice_modalities(sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """The MR sequence that titles of pictures name: that of the Figshare set, none of a user's own datalist."""
    own = any("slice" in item for part in sections.values() for item in part)
    return [] if own else ["t1c"]


def slice_class_names(sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[int, str]:
    """What the classes of `tumor_label` are called: those of the Figshare set; of a user's own datalist as they are."""
    return dict(TUMOR_LABELS) if slice_modalities(sections) else {}


def _recorded(
    record: SectionRecord, data: Path, label_fraction: float, seed: int, target: str
) -> dict[str, list[Any]] | None:
    """Sections of a record: nothing is split, so that a folder of two patients will do; None where they are drawn."""
    datalist = resolve_datalist(data, seed=seed, fractions=(1.0, 0.0, 0.0), target=target)
    items = [item for name in SECTIONS for item in datalist[name]]
    if not record.concerns(items):
        logger.info(f"{record.path}: none of the patients that the weights were trained on is in {data}")
        return None
    parts = record.assign(items)
    sections = section_items(parts, datalist_folder(data), label_fraction, seed, target, scored=True)
    logger.info(f"{data}: {_counts(sections)}")
    return sections


def _counts(sections: dict[str, list[dict[str, Any]]]) -> str:
    return ", ".join(
        f"{name} {counted(len(items), 'slice')} of {counted(_groups(items), 'patient')}"
        for name, items in sections.items()
    )


def _groups(items: Sequence[dict[str, Any]]) -> int:
    return len({item["patient_group"] for item in items})
