"""What the inputs of a training look like, recorded beside its weights, so that an inference knows others from them."""

from __future__ import annotations

import logging
import warnings
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from monai.utils import ensure_tuple
from tqdm import tqdm

from ckdmed.counted import counted
from ckdmed.data.brats.cached_slices import LoadCachedSliced
from ckdmed.data.brats.slice_index import cut_geometry
from ckdmed.data.case_reader import CaseReader, says_where
from ckdmed.data.slice_files import read_slices
from ckdmed.data.splits import GROUP_KEY
from ckdmed.intended_inputs import (
    INPUTS_SUFFIX,
    SEQUENCE_NAMES,
    IntendedInputs,
    SeriesFacts,
    facts_of_slices,
    intended_inputs_of,
)
from ckdmed.intended_inputs.appearance import FEWEST_PATIENTS, FEWEST_SLICES
from ckdmed.intended_inputs.case_slices import case_slices
from ckdmed.intended_inputs.check import features_of
from ckdmed.sections.slices import slice_modalities

__all__ = ["record_inputs"]

logger = logging.getLogger(__name__)

# How the inputs of the process's last training look: the trainings of an experiment learn from the same images, and to
# look at them takes half a minute.
_looked_at: dict[tuple[Hashable, ...], tuple[IntendedInputs, str]] = {}

# Of real images, over all that an input has, and of phantoms: a slice takes about 30 ms. With 500 instead of 1,000
# slices of the Figshare set one in ten of the other sequences is no longer told from it.
_MOST, _MOST_PHANTOMS = 1000, 60
_OF_A_CASE, _MOST_CASES = 8, 40
# Figshare's files do not say it: 512 pixels of 0.49 mm
_FIGSHARE_SIDE_MM = 251.0


@dataclass(frozen=True)
class _Read:
    """An item as it was read: slices (S, H, W) of each of its images, and what they say of themselves."""

    group: str
    images: Sequence[np.ndarray]
    facts: Sequence[SeriesFacts]


def record_inputs(
    sections: Mapping[str, Sequence[Mapping[str, Any]]],
    ckpt_dir: str,
    dataset_dir: str | None,
    modalities: Sequence[str] = (),
    save: bool = True,
) -> None:
    """Write ``model.inputs.json`` beside ``model.pt`` at the end of a training: how its training section looks.

    A sample of at most 1,000 slices is looked at, spread evenly over the patients and always the same; no random number
    of the training is used, and none of its files is changed. A record that is there stays. Where none can be made, a
    line says why.

    Args:
        sections: of the bundle's data.
        ckpt_dir: the folder of ``model.pt``; nothing is done where that is missing.
        dataset_dir: as it was given; None for phantoms.
        modalities: of cases, and of slices cut from cases: those that the network sees.
        save: False on every rank but one.
    """
    weights = Path(ckpt_dir) / "model.pt"
    target = weights.with_suffix(INPUTS_SUFFIX)
    if not save or not weights.is_file() or target.is_file():
        return
    items = sections["train"]
    people = {str(item[GROUP_KEY]) for item in items}
    per_item = _OF_A_CASE if _is_case(items[0]) else 1
    if len(people) < FEWEST_PATIENTS or per_item * len(items) < FEWEST_SLICES:
        logger.info(
            "no statistics of the training inputs are stored beside the weights: "
            f"{counted(len(items), 'training image')} of {counted(len(people), 'patient')} are too few (at least "
            f"{FEWEST_SLICES} slices of {FEWEST_PATIENTS} patients)"
        )
        return
    try:
        with warnings.catch_warnings():
            # a blank slice of a volume is nothing to warn about
            warnings.filterwarnings("ignore", message="Divide by zero", module="monai")
            _write(target, items, dataset_dir, list(modalities), slice_modalities(sections))
    # the training is done, and its weights are of use without the record
    except (ValueError, OSError) as error:
        logger.warning(
            f"statistics of the training inputs could not be stored beside the weights, so inference cannot recognise "
            f"inputs unlike them: {error}"
        )


def _write(
    target: Path,
    items: Sequence[Mapping[str, Any]],
    dataset_dir: str | None,
    modalities: Sequence[str],
    figshare: Sequence[str],
) -> None:
    of_cases = _is_case(items[0]) or _is_cached(items[0])
    images = len(modalities) if of_cases else len(ensure_tuple(items[0]["image"]))
    most = _MOST_PHANTOMS if dataset_dir is None else _MOST // images
    count = min(_MOST_CASES, -(-most // _OF_A_CASE)) if _is_case(items[0]) else most
    chosen = _spread(items, count)
    key = _identity(chosen, dataset_dir, modalities, figshare)
    if key not in _looked_at:
        _looked_at.clear()
        _looked_at[key] = _look(chosen, images, dataset_dir, modalities, [] if of_cases else figshare)
    intended, data = _looked_at[key]
    intended.write(target)
    logger.info(
        f"{target.name}: statistics of the training inputs ({data}), used by inference to recognise inputs unlike them"
    )


def _identity(
    items: Sequence[Mapping[str, Any]], dataset_dir: str | None, modalities: Sequence[str], figshare: Sequence[str]
) -> tuple[Hashable, ...]:
    """Of what is looked at: files that were written anew are others."""
    read = [(str(item[GROUP_KEY]), *_place(item), ensure_tuple(item.get("modalities", ()))) for item in items]
    files = sorted({file for _, files, *_ in read for file in files})
    states = [(file, status.st_size, status.st_mtime_ns) for file in files for status in [Path(file).stat()]]
    return (dataset_dir, tuple(modalities), tuple(figshare), tuple(read), tuple(states))


def _look(
    chosen: Sequence[Mapping[str, Any]],
    images: int,
    dataset_dir: str | None,
    modalities: Sequence[str],
    figshare: Sequence[str],
) -> tuple[IntendedInputs, str]:
    """How they look, and how many they are in words."""
    features: list[list[np.ndarray]] = [[] for _ in range(images)]
    groups: list[list[str]] = [[] for _ in range(images)]
    facts: list[list[SeriesFacts]] = [[] for _ in range(images)]
    read = _reader(chosen[0], modalities)(chosen)
    for item in tqdm(read, desc="input statistics", total=len(chosen), unit="image", leave=False):
        for number, (slices, told) in enumerate(zip(item.images, item.facts, strict=True)):
            found = features_of(slices, _OF_A_CASE)
            features[number].append(found)
            groups[number] += [item.group] * len(found)
            facts[number].append(told)
    if dataset_dir is None:
        sequences, modality, side = [""] * images, "", None
        description = "phantoms, not patients' images"
    elif figshare:
        sequences, modality, side = list(figshare), "MR", (_FIGSHARE_SIDE_MM, _FIGSHARE_SIDE_MM)
        description = f"{SEQUENCE_NAMES[figshare[0]]} slices with a tumour"
    else:
        sequences = [_agreed([one.sequence for one in told]) for told in facts]
        modality = _agreed([one.modality for told in facts for one in told])
        sides = [one.field_of_view_mm for told in facts for one in told]
        known = [value for value in sides if value is not None]
        side = (min(known), max(known)) if known and len(known) == len(sides) else None
        named = " and ".join(SEQUENCE_NAMES.get(one, "slices") for one in sequences if one)
        description = f"{named or 'images'} like those of its training"
    data = (
        f"{counted(sum(map(len, groups)), 'slice')} of {counted(len(set(groups[0])), 'patient')} of the section train"
    )
    fitted = list(zip(features, groups, strict=True))
    intended = intended_inputs_of(fitted, sequences, description, data, modality, side)
    return replace(intended, placed=all(one.placed for told in facts for one in told)), data


def _spread(items: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """Up to `most` items, one of each patient, then a second of each, and so on; those of one file side by side."""
    random = np.random.default_rng(0)
    of_people: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for item in sorted(items, key=_place):
        of_people[str(item[GROUP_KEY])].append(item)
    order = [sorted(of_people)[number] for number in random.permutation(len(of_people))]
    mixed = [[of_people[person][n] for n in random.permutation(len(of_people[person]))] for person in order]
    rounds = [part[turn] for turn in range(max(map(len, mixed))) for part in mixed if turn < len(part)]
    return sorted(rounds[:most], key=_place)


def _place(item: Mapping[str, Any]) -> tuple[tuple[str, ...], int]:
    return tuple(str(file) for file in ensure_tuple(item["image"])), int(item.get("slice", 0))


def _is_cached(item: Mapping[str, Any]) -> bool:
    return "case" in item and "slice" in item


def _is_case(item: Mapping[str, Any]) -> bool:
    return "case" in item and "slice" not in item


def _reader(
    item: Mapping[str, Any], modalities: Sequence[str]
) -> Callable[[Sequence[Mapping[str, Any]]], Iterator[_Read]]:
    """What reads items such as this one."""
    if _is_case(item):
        return lambda items: _read_cases(items, modalities)
    if _is_cached(item):
        return lambda items: _read_cached(items, modalities)
    return _read_slices


def _read_slices(items: Sequence[Mapping[str, Any]]) -> Iterator[_Read]:
    """Of single slices; a volume is read once for all that are wanted of it."""
    last: tuple[str, ...] = ()
    parts: list[np.ndarray] = []
    facts: list[SeriesFacts] = []
    for item in items:
        files, number = _place(item)
        if files != last:
            read = [read_slices(file) for file in files]
            parts = [slices for slices, _ in read]
            facts = [facts_of_slices(file, geometry) for file, (_, geometry) in zip(files, read, strict=True)]
            last = files
        yield _Read(str(item[GROUP_KEY]), [slices[number : number + 1] for slices in parts], facts)


def _read_cases(items: Sequence[Mapping[str, Any]], modalities: Sequence[str]) -> Iterator[_Read]:
    facts = [SeriesFacts("MR", modality) for modality in modalities]
    for item in items:
        files, held = list(ensure_tuple(item["image"])), list(item["modalities"])
        if len(files) == len(held):
            files, held = [files[held.index(one)] for one in modalities], list(modalities)
        # all images are brought to the grid of the first
        slices, side = case_slices(CaseReader(), files, held, modalities)
        shared = [replace(one, field_of_view_mm=side) for one in facts]
        shared[0] = replace(shared[0], placed=says_where(Path(files[0])))
        yield _Read(str(item[GROUP_KEY]), list(slices), shared)


def _read_cached(items: Sequence[Mapping[str, Any]], modalities: Sequence[str]) -> Iterator[_Read]:
    load = LoadCachedSliced("image", modalities)
    sides: dict[Path, float] = {}
    for item in items:
        entry: dict[Hashable, Any] = {key: item[key] for key in item}
        slices = np.asarray(load(entry)["image"])
        folder = Path(item["image"]).parent
        if folder not in sides:
            sides[folder] = cut_geometry(folder).side_mm
        facts = [SeriesFacts("MR", modality, field_of_view_mm=sides[folder]) for modality in modalities]
        yield _Read(str(item[GROUP_KEY]), list(slices[:, None]), facts)


def _agreed(values: Sequence[str]) -> str:
    """The value that all have; "" where they differ."""
    return values[0] if len(set(values)) == 1 else ""
