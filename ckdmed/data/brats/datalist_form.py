"""What a datalist of BraTS cases must look like; it is checked before any of it is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from monai.config import PathLike

from ckdmed.data.brats.names import MODALITIES
from ckdmed.data.datalist_form import SECTIONS
from ckdmed.data.splits import check_no_group_crosses
from ckdmed.labels import TUMOUR_TYPES, brats_labels
from ckdmed.paths import checked_name

__all__ = ["check_brats_datalist", "is_brats_datalist"]

#: of an item
TEXT_KEYS = ("id", "case", "patient", "patient_group", "tumour_type", "release", "grade")


def is_brats_datalist(content: Any) -> bool:
    """Whether a datalist lists cases, whose items have ``modalities``, even if its form is wrong."""
    if not isinstance(content, Mapping):
        return False
    lists = [content[name] for name in SECTIONS if isinstance(content.get(name), list)]
    return any(isinstance(item, Mapping) and "modalities" in item for part in lists for item in part)


def check_brats_datalist(datalist: Any, source: PathLike) -> None:
    """Check the form of a datalist before any of it is used.

    Args:
        datalist: what was read from JSON.
        source: its file, for messages.

    Raises:
        ValueError: it is no object, lacks a section, an item lacks a key or has one of the wrong type, modalities,
            tumour type or release are unknown, an id or a case stands twice, a case cannot be a folder's name
            (`checked_name`), a path is absolute or leaves the folder, or a patient is in two sections.
    """
    if not isinstance(datalist, Mapping):
        raise ValueError(f"{source}: a datalist must be a JSON object, got {type(datalist).__name__}.")
    for name in SECTIONS:
        if not isinstance(datalist.get(name), list):
            raise ValueError(f"{source}: the section '{name}' is missing or not a list.")
        for number, item in enumerate(datalist[name]):
            _check_item(f"{source}: {name}[{number}]", item)
    _check_once(datalist, "id", source)
    check_no_group_crosses({name: datalist[name] for name in SECTIONS})
    # slices are stored by case: of two items with one case the second's would take the place of the first's
    _check_once(datalist, "case", source)


def _check_once(datalist: Mapping[str, Any], key: str, source: PathLike) -> None:
    places: dict[str, str] = {}
    for name in SECTIONS:
        for number, item in enumerate(datalist[name]):
            here = f"{name}[{number}]"
            if item[key] in places:
                raise ValueError(
                    f"{source}: {here}: the {key} '{item[key]}' is also used in {places[item[key]]}; give each item "
                    "its own."
                )
            places[item[key]] = here


def _check_item(where: str, item: Any) -> None:
    if not isinstance(item, Mapping):
        raise ValueError(f"{where} is a {type(item).__name__}, not an object.")
    for key in TEXT_KEYS:
        if not isinstance(item.get(key), str):
            raise ValueError(f"{where}: '{key}' must be text, got {item.get(key)!r}.")
    checked_name(item["case"], f"{where}: the case")
    if isinstance(item.get("time_point"), bool) or not isinstance(item.get("time_point"), int):
        raise ValueError(f"{where}: 'time_point' must be a whole number, got {item.get('time_point')!r}.")
    if "fold" in item and (isinstance(item["fold"], bool) or not isinstance(item["fold"], int)):
        raise ValueError(f"{where}: 'fold' must be a whole number, got {item['fold']!r}.")
    try:
        brats_labels(item["release"], item["tumour_type"])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if item.get("tumor_label") != TUMOUR_TYPES.index(item["tumour_type"]) + 1:
        raise ValueError(
            f"{where}: 'tumor_label' must be the number of the tumour type, got {item.get('tumor_label')!r}."
        )
    modalities, images = item.get("modalities"), item.get("image")
    if not isinstance(modalities, list) or not modalities or not set(map(str, modalities)) <= set(MODALITIES):
        raise ValueError(f"{where}: 'modalities' must be one or more of {', '.join(MODALITIES)}, got {modalities!r}.")
    if not isinstance(images, list) or len(images) not in (1, len(modalities)):
        raise ValueError(f"{where}: 'image' must be a list of one file, or of one file per modality, got {images!r}.")
    for path in [*images, *([item["label"]] if "label" in item else [])]:
        _check_relative(where, path)


def _check_relative(where: str, path: Any) -> None:
    # Both conventions: a list written on one system is read on another.
    for pure in (PurePosixPath(str(path)), PureWindowsPath(str(path))):
        if not isinstance(path, str) or pure.is_absolute() or pure.drive or pure.root or ".." in pure.parts:
            raise ValueError(f"{where}: the path {path!r} leaves the dataset's folder; paths must be relative to it.")
        if not pure.parts or "\0" in path:
            raise ValueError(f"{where}: the path {path!r} is empty or not a path.")
