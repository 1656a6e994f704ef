from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ckdmed.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plain", "save_figure", "write_bytes", "write_csv", "write_json"]


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file whole or not at all, and onto the disk before it takes its name."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())

    return write_atomic(path, write)


def write_json(path: str | os.PathLike[str], content: Any) -> Path:
    """Write JSON that every reader takes: undefined numbers (NaN, infinite) become null."""
    text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    return write_bytes(path, (text + "\n").encode("utf-8"))


def write_csv(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as CSV with the columns in the order in which they first occur; undefined numbers are left empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        cleaned = {name: plain(value) for name, value in row.items()}
        writer.writerow({name: "" if value is None else value for name, value in cleaned.items()})
    return write_bytes(path, stream.getvalue().encode("utf-8"))


def save_figure(
    figure: Figure, path: str | os.PathLike[str], dpi: int = 110, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a figure as PNG, whole or not at all, with ``metadata`` in its text chunks.

    Raises:
        ValueError: when ``path`` does not end in .png.
    """
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"pictures are written as PNG, got the name {Path(path).name!r}; end it in .png")
    stream = io.BytesIO()
    # the software tag would change the file with every version of matplotlib
    figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None, **(metadata or {})})
    return write_bytes(path, stream.getvalue())


def plain(value: Any) -> Any:
    """``value`` with NumPy numbers and arrays, tuples, paths and undefined numbers turned into what JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in (sorted(value, key=str) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value
