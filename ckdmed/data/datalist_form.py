"""What a datalist must look like; it is checked before any of it is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from monai.config import PathLike

from ckdmed.data.figshare import TUMOR_LABELS

SECTIONS = ("training", "validation", "test")
_REQUIRED = {"id": str, "image": str, "label": str, "tumor_label": int, "patient": str, "patient_group": str}


def check_relative(source: PathLike, path: str) -> None:
    """Raise ValueError unless a path of a datalist stays in the folder of its file."""
    # Both conventions: a list written on one system is read on another.
    for pure in (PurePosixPath(path), PureWindowsPath(path)):
        if pure.is_absolute() or pure.drive or pure.root or ".." in pure.parts or not pure.parts or "\0" in path:
            raise ValueError(f"{source}: the path {path!r} leaves the dataset's folder; paths must be relative to it.")


def check_datalist(datalist: Any, source: PathLike) -> None:
    """Check the form of a datalist.

    Args:
        datalist: what was read from JSON.
        source: its file, for messages.

    Raises:
        ValueError: it is no object, lacks a section, an item lacks a key or has one of the wrong type, a tumour label
            is not 1, 2 or 3, an id stands twice, or a path is absolute or leaves the dataset's folder.
    """
    if not isinstance(datalist, Mapping):
        raise ValueError(f"{source}: a datalist must be a JSON object, got {type(datalist).__name__}.")
    seen: set[str] = set()
    for name in SECTIONS:
        if not isinstance(datalist.get(name), list):
            raise ValueError(f"{source}: the section '{name}' is missing or not a list.")
        for number, item in enumerate(datalist[name]):
            _check_item(f"{source}: {name}[{number}]", source, item)
            if item["id"] in seen:
                raise ValueError(f"{source}: the id '{item['id']}' appears twice.")
            seen.add(item["id"])


def _check_item(where: str, source: PathLike, item: Any) -> None:
    if not isinstance(item, Mapping):
        raise ValueError(f"{where} is a {type(item).__name__}, not an object.")
    for key, kind in _REQUIRED.items():
        if not isinstance(item.get(key), kind) or isinstance(item[key], bool):
            raise ValueError(f"{where}: '{key}' must be {kind.__name__}, got {item.get(key)!r}.")
    for key in ("official_fold", "fold"):
        if isinstance(item.get(key), bool) or not isinstance(item.get(key), int | None):
            raise ValueError(f"{where}: '{key}' must be an integer or null, got {item[key]!r}.")
    if item["tumor_label"] not in TUMOR_LABELS:
        raise ValueError(f"{where}: 'tumor_label' must be 1, 2 or 3, got {item['tumor_label']}.")
    if not isinstance(item.get("sha256"), str | None):
        raise ValueError(f"{where}: 'sha256' must be text or null, got {item['sha256']!r}.")
    for key in ("image", "label"):
        check_relative(source, item[key])
