"""What a network was made for, as a file beside its weights."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckdmed.files import write_atomic
from ckdmed.intended_inputs.appearance import Appearance
from ckdmed.json_files import read_json

__all__ = ["INPUTS_SUFFIX", "IntendedInputs"]

#: In place of the suffix of the weights: `model.inputs.json` lies beside `model.pt`.
INPUTS_SUFFIX = ".inputs.json"
_FORMAT = "ckdmed intended inputs 1"


@dataclass(frozen=True)
class IntendedInputs:
    """The inputs that a network was trained on.

    Args:
        path: of the record, for messages.
        modality: DICOM's word, "MR".
        sequences: of each image of an input, one of `MODALITIES` ("t1c" ...), or "" where that is not known.
        appearances: of the slices of each image.
        field_of_view_mm: smallest and largest longer side of the training's slices, or None where files do not say.
        description: in words, for messages, such as "contrast-enhanced T1 slices with a tumour".
        data: what it was fitted to, in words.
        placed: False where images of the training did not tell how they lie, so that this is nothing to warn of.
    """

    path: Path
    modality: str
    sequences: tuple[str, ...]
    appearances: tuple[Appearance, ...]
    field_of_view_mm: tuple[float, float] | None
    description: str
    data: str
    placed: bool = True

    @classmethod
    def beside(cls, checkpoint: str | os.PathLike[str]) -> IntendedInputs | None:
        """The record that lies beside a checkpoint; None where there is none.

        Raises:
            ValueError: there is one that cannot be read.
        """
        path = Path(checkpoint).expanduser().with_suffix(INPUTS_SUFFIX)
        return cls.read(path) if path.is_file() else None

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> IntendedInputs:
        """Read what `write` wrote.

        Raises:
            ValueError: the file is no such record.
        """
        path = Path(path)
        content = read_json(path)
        try:
            if content["format"] != _FORMAT:
                raise ValueError(f"its format is {content['format']!r}, not {_FORMAT!r}")
            view = content["field_of_view_mm"]
            images = content["images"]
            return cls(
                path,
                str(content["modality"]),
                tuple(str(image["sequence"]) for image in images),
                tuple(Appearance.from_json(image["appearance"]) for image in images),
                None if view is None else (float(view[0]), float(view[1])),
                str(content["description"]),
                str(content["data"]),
                bool(content.get("placed", True)),
            )
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(
                f"{path}: not a record of what a network was made for ({type(error).__name__}: {error}); make it "
                "again with ckdmed intended-inputs."
            ) from error

    def to_json(self) -> Mapping[str, Any]:
        """As plain values."""
        return {
            "format": _FORMAT,
            "description": self.description,
            "data": self.data,
            "modality": self.modality,
            "field_of_view_mm": None if self.field_of_view_mm is None else list(self.field_of_view_mm),
            **({} if self.placed else {"placed": False}),
            "images": [
                {"sequence": sequence, "appearance": appearance.to_json()}
                for sequence, appearance in zip(self.sequences, self.appearances, strict=True)
            ],
        }

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write it as JSON, whole or not at all; on one line, for most of it are matrices."""
        text = json.dumps(self.to_json()) + "\n"
        return write_atomic(path, lambda part: part.write_text(text, encoding="utf-8"))
