"""What a deployed file says of itself: all that a program needs to use it right, and where it comes from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ckdmed.json_files import parse_json

__all__ = ["DESCRIPTION_KEY", "FORM_SUFFIXES", "SEAL_KEY", "WEIGHTS_KEY", "DeployedFileError", "Description"]
__all__ += ["is_deployed"]

#: Under which name a file holds its description.
DESCRIPTION_KEY = "ckdmed"
#: Under which name OpenVINO's graph holds the SHA-256 of the weights, which lie in a file of their own.
WEIGHTS_KEY = "ckdmed_weights_sha256"
#: Under which name ONNX and OpenVINO's graph hold the SHA-256 of all bytes before this entry, the last one of the file.
SEAL_KEY = "ckdmed_file_sha256"
#: Suffix of a deployed file -> what runs it.
FORM_SUFFIXES = {".onnx": "ONNX Runtime", ".xml": "OpenVINO", ".ts": "PyTorch"}
_FORMAT = "ckdmed deployed 1"
_TASKS = ("segmentation", "classification", "cases")
_PRECISIONS = ("float32", "int8")


class DeployedFileError(ValueError):
    """A deployed file that cannot be used; the message names it, the cause and the remedy."""


def is_deployed(path: str | os.PathLike[str] | None) -> bool:
    """Whether a path is that of a deployed file, by its suffix; whether it is there does not matter."""
    return path is not None and Path(path).suffix.lower() in FORM_SUFFIXES


@dataclass(frozen=True)
class Description:
    """The content of a deployed file's metadata.

    Args:
        bundle: of which the network is, such as "seg_kd".
        task: "segmentation" of slices, "classification" of slices, or "cases" for networks of BraTS cases.
        precision: "float32" or "int8".
        input_shape: of one input of the network, (C, *spatial); the number of inputs at a time is free. Other sizes are
            brought to it by the preprocessing.
        outputs: names of the regions or classes, in the order of the output's channels, which are raw logits.
        preprocessing: settings of what is done to an input: ``image_size``, ``images`` of an input, ``grey_as_rgb``,
            ``slice_axis``,
            and for classifiers ``scaling``.
        postprocessing: ``threshold`` of the mask and ``tta``, the mean over mirror images.
        settings: that the network was trained with, as its run recorded them.
        source: name, sha256 of the checkpoint's file, and version of the package.
        licence: of the weights, and where it stands.
        intended_use: as the bundle's metadata say.
    """

    bundle: str
    task: str
    precision: str
    input_shape: tuple[int, ...]
    outputs: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    postprocessing: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ""
    intended_use: str = ""

    def to_text(self) -> str:
        """As JSON."""
        # keys stay in their order: that of regions is the order of the outputs
        return json.dumps({"format": _FORMAT, **asdict(self)})

    @classmethod
    def from_text(cls, text: str | None, path: str | os.PathLike[str]) -> Description:
        """What `to_text` wrote.

        Raises:
            DeployedFileError: there is no description, another program's, or one in which something is missing or
                wrong: a default in its place would give other masks without a word.
        """
        try:
            content = parse_json(text or "", os.fspath(path))
            if content["format"] != _FORMAT:
                raise ValueError(f"its format is {content['format']!r}, not {_FORMAT!r}")
            values = {entry.name: content[entry.name] for entry in fields(cls)}
            if problem := _problem(values):
                raise ValueError(problem)
            values |= {name: tuple(values[name]) for name in ("input_shape", "outputs")}
            return cls(**values)
        except (ValueError, KeyError, TypeError) as error:
            raise DeployedFileError(
                f"{path}: has no ckdmed description of what the network expects ({type(error).__name__}: {error}); "
                "write the file with `ckdmed deploy`."
            ) from error


def _problem(values: Mapping[str, Any]) -> str | None:
    """What is missing from a description, or not of its kind; None where all is right."""
    shape, outputs = values["input_shape"], values["outputs"]
    before, after = values["preprocessing"], values["postprocessing"]
    for name, known in (("task", _TASKS), ("precision", _PRECISIONS)):
        if values[name] not in known:
            return f"its {name} is {values[name]!r}, not one of {', '.join(known)}"
    if not isinstance(shape, list) or len(shape) not in (3, 4) or not all(map(_is_count, shape)):
        return f"its input_shape is {shape!r}, not a list of channels and sizes"
    if not isinstance(outputs, list) or not outputs or not all(isinstance(name, str) and name for name in outputs):
        return f"its outputs are {outputs!r}, not a list of names"
    if len(set(outputs)) < len(outputs):
        return f"its outputs {', '.join(outputs)} contain a name twice"
    for name in ("preprocessing", "postprocessing", "settings", "source"):
        if not isinstance(values[name], Mapping):
            return f"its {name} is {values[name]!r}, not settings with names"
    if not isinstance(after.get("tta"), bool):
        return f"its postprocessing has tta {after.get('tta', 'not at all')!r}, neither true nor false"
    threshold = after.get("threshold")
    # classes have none
    needed = values["task"] == "segmentation" or threshold is not None
    if needed and not (_is_number(threshold) and 0 <= threshold <= 1):
        return f"its postprocessing has threshold {after.get('threshold', 'not at all')!r}, not a number from 0 to 1"
    if values["task"] == "cases":
        # what is prepared by ckdmed itself, from the settings
        return None
    size, images = before.get("image_size"), before.get("images", 1)
    if not _is_count(size) or list(shape[1:]) != [size, size]:
        return f"its image_size is {before.get('image_size', 'not there')!r}, but its input_shape {shape!r}"
    if not _is_count(images):
        return f"its preprocessing has images {images!r}, not a number of images"
    return None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
