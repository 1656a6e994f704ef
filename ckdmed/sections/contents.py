"""What the images and labels of a training are, by their contents, so that a resumed run notices others in their place.

A data set may lie elsewhere when a run is resumed, where its files have other paths and times: only contents tell.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.utils import ensure_tuple

from ckdmed.file_hash import content_mark
from ckdmed.files import write_json
from ckdmed.json_files import read_json
from ckdmed.sections.record import item_name

__all__ = ["CONTENTS_NAME", "changed_contents", "contents_of", "write_contents"]

#: In the output folder of a training.
CONTENTS_NAME = "contents.json"
_FORMAT = "ckdmed contents 1"
# of an item, what it is learned from beside its files
_VALUES = ("label", "labelled", "slice", "soft", "pseudo_label", "release", "tumour_type", "tumor_label", "modalities")


def contents_of(sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, str]:
    """Item, as the record of the sections names it -> digits that others have in its place.

    Files are told by `content_mark`, which does not read all of a large one.

    Args:
        sections: "train", "validation" ... -> items.

    Raises:
        OSError: a file cannot be read.
    """
    marks: dict[str, str] = {}
    found: dict[str, set[str]] = {}
    for item in (item for part in sections.values() for item in part):
        values = [item.get(key) for key in _VALUES]
        files = [os.fspath(file) for file in (*ensure_tuple(item.get("image", ())), values[0]) if _is_path(file)]
        if _is_path(values[0]):
            values[0] = None
        for file in files:
            if file not in marks:
                marks[file] = _mark(Path(file))
        text = json.dumps([[marks[file] for file in files], values], default=str)
        found.setdefault(item_name(item), set()).add(text)
    return {name: _digits(sorted(texts)) for name, texts in sorted(found.items())}


def write_contents(contents: Mapping[str, str], folder: Path) -> None:
    """Note what `contents_of` found."""
    write_json(folder / CONTENTS_NAME, {"format": _FORMAT, "contents": dict(contents)})


def changed_contents(contents: Mapping[str, str], folder: Path) -> list[str] | None:
    """The items of which a run noted other contents than these; None where it noted none.

    Raises:
        ValueError: its record is damaged.
    """
    path = folder / CONTENTS_NAME
    if not path.is_file():
        return None
    try:
        record = read_json(path)
        if record["format"] != _FORMAT:
            raise ValueError(f"its format is {record['format']!r}, not {_FORMAT!r}")
        before = dict(record["contents"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: not a record of the contents of a training's data ({type(error).__name__}: {error}); move it "
            "away to resume the run without this check."
        ) from error
    return sorted(name for name, digits in contents.items() if before.get(name, digits) != digits)


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike))


def _mark(path: Path) -> str:
    if path.is_dir():
        return _digits([_mark(file) for file in sorted(path.iterdir()) if file.is_file()])
    return content_mark(path) if path.exists() else "missing"


def _digits(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
