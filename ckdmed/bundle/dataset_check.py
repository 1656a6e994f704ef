"""Whether there are any data, before networks are built."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.bundle.errors import RefusedStart
from ckdmed.counted import counted
from ckdmed.data.brats import read_brats_datalist
from ckdmed.data.brats.case_files import find_case_files
from ckdmed.data.brats.cases import check_any_case, check_any_usable
from ckdmed.data.datalist import DATALIST_NAME, DEFAULT_FRACTIONS, find_figshare_files, read_datalist
from ckdmed.data.datalist_form import SECTIONS
from ckdmed.data.label_values import check_label_values
from ckdmed.data.sections import select_sections, stored_datalist
from ckdmed.data.slice_datalist import is_slice_datalist, read_slice_datalist
from ckdmed.json_files import read_json
from ckdmed.sections.brats import cases_folder, check_listed_cases
from ckdmed.sections.classification import class_of
from ckdmed.sections.own_sections import check_sections_kept
from ckdmed.sections.slices import slices_place

__all__ = ["check_dataset"]


def check_dataset(
    dataset_dir: str | None,
    cases: bool = False,
    modalities: Sequence[str] | None = None,
    regions: Mapping[str, Sequence[int] | None] | None = None,
    images: int | None = None,
    target: str | None = None,
    class_names: Sequence[str] | None = None,
    fold: int | None = None,
    scored: bool = False,
) -> None:
    """Refuse a folder without data, or a damaged datalist, by the names of its files.

    Of images those of cases alone are opened, one case after another until one can be used; those that a datalist
    names must be there. A user's own datalist is read as for the sections, which warn of what is unusual in it, so
    that nothing is told twice. Masks are opened where regions are named, since values that do not fit would end the
    training in its midst, or leave a region empty without a word.

    Args:
        dataset_dir: of the bundle; None for phantoms.
        cases: it is of BraTS cases, not of slices.
        modalities: that every case must have; None to look at names alone.
        regions: of the masks that a user's own datalist names, see :class:`~ckdmed.data.LoadSliced`.
        images: that every item of a user's own datalist lists (`input_images`); None for any number.
        target: "label" or "class", what makes an image of a user's own datalist labelled; None to leave such a datalist
            unread.
        class_names: of a classification; None to leave the classes unread.
        fold: of a training, see :func:`~ckdmed.sections.own_sections.check_sections_kept`.
        scored: for an evaluation, whose sections are those of the training, so that none need be drawn.

    Raises:
        RefusedStart: says what is missing or wrong.
    """
    if not dataset_dir:
        return
    try:
        if cases:
            _check_cases(dataset_dir, modalities)
        else:
            _check_slices(dataset_dir, regions, images, target, class_names, fold, scored)
    except ValueError as error:
        raise RefusedStart(str(error)) from error


def _check_slices(
    dataset_dir: str,
    regions: Mapping[str, Sequence[int] | None] | None,
    images: int | None,
    target: str | None,
    class_names: Sequence[str] | None,
    fold: int | None,
    scored: bool,
) -> None:
    data = slices_place(dataset_dir)
    stored = stored_datalist(data)
    if not stored.is_file():
        find_figshare_files(data)
        return
    content = read_json(stored)
    if not is_slice_datalist(content):
        read_datalist(stored)
        return
    if target is not None:
        check_sections_kept(fold, data)
        _check_read(stored, target, class_names, scored)
    if images is not None:
        _check_channels(stored, content, images)
    if regions:
        check_label_values(stored, content, regions)


def _check_read(stored: Path, target: str, class_names: Sequence[str] | None, scored: bool) -> None:
    """What reading the datalist, and dealing its items to sections, says of it."""
    fractions = (1.0, 0.0, 0.0) if scored else DEFAULT_FRACTIONS
    try:
        with warnings.catch_warnings():
            # the sections tell of it
            warnings.simplefilter("ignore")
            datalist = read_slice_datalist(stored, fractions, progress=False, target=target)
            if not scored:
                select_sections(datalist, stored.parent, target=target)
        if class_names is not None:
            for item in (item for name in SECTIONS for item in datalist[name]):
                class_of(item, class_names)
    except ValueError as error:
        told = str(error)
        raise ValueError(told if str(stored.parent) in told else f"{stored}: {told}") from error


def _check_channels(stored: Path, content: Mapping[str, Any], images: int) -> None:
    for name in SECTIONS:
        for number, entry in enumerate(content.get(name) or []):
            # items of another form are told of when the datalist is read
            image = entry.get("image") if isinstance(entry, Mapping) else None
            listed = (len(image) if isinstance(image, list) else 1) if image else images
            if listed != images:
                raise ValueError(
                    f"{stored}: {name}[{number}] lists {counted(listed, 'image')}, but input_images is {images}; train "
                    f"with --input_images {listed}, or list {counted(images, 'image')} for each item."
                )


def _check_cases(dataset_dir: str, modalities: Sequence[str] | None) -> None:
    folder = cases_folder(dataset_dir)
    stored = folder / DATALIST_NAME
    if stored.is_file():
        datalist = read_brats_datalist(stored)
        if modalities is not None:
            check_listed_cases(datalist, folder, modalities)
    else:
        found = find_case_files(folder)
        check_any_case(found, folder)
        if modalities is not None:
            check_any_usable(found, folder, modalities)
