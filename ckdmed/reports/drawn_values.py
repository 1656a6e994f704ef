"""The numbers that a picture shows, kept in its file: its pixels change with matplotlib's version and its fonts."""

from __future__ import annotations

import json
import os
from typing import Any

from PIL import Image

__all__ = ["VALUES", "read_values"]

#: the PNG's text chunk with the numbers that it draws, as JSON
VALUES = "Values"


def read_values(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The numbers that a picture of a comparison shows, to hold it against records.

    Args:
        path: of a picture of :func:`~ckdmed.reports.plot_forest`, :func:`~ckdmed.reports.plot_sweep` or
            :func:`~ckdmed.reports.plot_sweep_grid`, which say what is kept.

    Raises:
        ValueError: when the file is not such a picture.
    """
    with Image.open(path) as picture:
        text = picture.info.get(VALUES)
    if text is None:
        raise ValueError(f"{path} holds no numbers: it is not a picture of a comparison")
    values: dict[str, Any] = json.loads(text)
    return values
