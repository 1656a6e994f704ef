"""What a run left beside its weights of the patients and inputs of its training, for weights that are made of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from ckdmed.json_files import read_json
from ckdmed.sections.record import RECORD_NAME, find_own_or_shipped

__all__ = ["copy_training_records"]

_INPUTS = ".inputs.json"


def copy_training_records(checkpoint: Path, folder: Path, files: Iterable[str]) -> None:
    """Copy the patients of each section and what the inputs were like, which evaluation and inference look for.

    Args:
        checkpoint: of the training.
        folder: gets ``sections.json``, and for each file one of its name that ends in ``.inputs.json``.
        files: names of what was made of the checkpoint.

    Raises:
        FileExistsError: the folder has a record of other sections.
    """
    record, kept = find_own_or_shipped(checkpoint), folder / RECORD_NAME
    if record is not None and not kept.exists():
        record.write(kept)
    elif record is not None and read_json(kept) != record.content():
        raise FileExistsError(
            f"{kept} lists other patients than {record.path}, the record of {checkpoint}: name another folder."
        )
    inputs = checkpoint.with_suffix(_INPUTS)
    if inputs.is_file():
        for file in files:
            shutil.copyfile(inputs, (folder / file).with_suffix(_INPUTS))
