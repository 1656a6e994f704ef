"""The phantoms of an experiment: its datalist, and with it the patients of each section, is of those drawn first."""

from __future__ import annotations

from pathlib import Path

from ckdmed.data.datalist import DATALIST_NAME
from ckdmed.data.phantoms.files import MANIFEST
from ckdmed.json_files import read_json

__all__ = ["refuse_another_number"]


def refuse_another_number(folder: Path, counted_as: str, asked: int, option: str) -> None:
    """Refuse another number of phantoms than the folder's datalist is of: further ones would be drawn and used by none.

    Args:
        folder: of the phantoms.
        counted_as: what their manifest calls the number.
        asked: how many are asked for.
        option: of the command line that asks.

    Raises:
        ValueError: names both numbers.
    """
    manifest = folder / MANIFEST
    # without a datalist none has been used yet
    if not (folder / DATALIST_NAME).is_file() or not manifest.is_file():
        return
    drawn = read_json(manifest).get(counted_as)
    if drawn != asked:
        raise ValueError(
            f"{folder}: holds {drawn} phantoms with their datalist, but {option} is {asked}: give {option} {drawn}, or "
            "another --output_dir for other phantoms."
        )
