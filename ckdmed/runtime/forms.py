"""Opening deployed files: ONNX by ONNX Runtime, OpenVINO's by OpenVINO."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ckdmed.file_hash import sha256_of
from ckdmed.runtime.description import (
    DESCRIPTION_KEY,
    FORM_SUFFIXES,
    SEAL_KEY,
    WEIGHTS_KEY,
    DeployedFileError,
    Description,
)
from ckdmed.runtime.seal import check_seal, seal_of_graph

__all__ = ["DeployedForm", "open_form"]


class DeployedForm(ABC):
    """A network in a deployed file.

    Args:
        path: the file.

    Attributes:
        description: what the file says of itself.

    Shape: called with (B, *description.input_shape) float32, it gives (B, len(description.outputs), ...) raw logits.
    """

    def __init__(self, path: Path, description: Description) -> None:
        self.path = path
        self.description = description

    def _check_shapes(self, takes: Sequence[Any], gives: Sequence[Any]) -> None:
        """Refuse a description of another network, whose shapes are given; what is no number in them is free."""
        names = self.description.outputs
        stated, given = (*self.description.input_shape, len(names)), (*takes[1:], *gives[1:2])
        if len(stated) != len(given) or any(
            isinstance(one, int) and one != other for one, other in zip(given, stated, strict=True)
        ):
            raise DeployedFileError(
                f"{self.path}: its description does not match its network: the description has images of shape "
                f"{self.description.input_shape} and the outputs {', '.join(names)}, but the network takes "
                f"{list(takes[1:])} and gives {list(gives[1:2])[0] if len(gives) > 1 else 'no'} outputs; write the "
                "file with `ckdmed deploy`."
            )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Logits of a batch.

        Raises:
            DeployedFileError: images of another shape.
        """
        if tuple(images.shape[1:]) != self.description.input_shape:
            raise DeployedFileError(
                f"{self.path}: takes images of shape {self.description.input_shape}, got {tuple(images.shape[1:])}."
            )
        return self._logits(np.ascontiguousarray(images, dtype=np.float32))

    @abstractmethod
    def _logits(self, images: np.ndarray) -> np.ndarray: ...


def open_form(path: str | os.PathLike[str], threads: int | None = None) -> DeployedForm:
    """Open a deployed file.

    Args:
        path: ``.onnx`` or OpenVINO's ``.xml`` (its ``.bin`` lies beside it).
        threads: to compute with; as many as the machine has cores by default.

    Raises:
        DeployedFileError: no such file; a file of TorchScript, which needs PyTorch, or of another kind; a damaged file,
            or one that `ckdmed deploy` did not write.
        ModuleNotFoundError: what runs it is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise DeployedFileError(f"{path}: no such file; `ckdmed deploy` writes deployed files.")
    kind = {".onnx": _OnnxForm, ".xml": _OpenVinoForm}.get(path.suffix.lower())
    if kind is None:
        known = ", ".join(FORM_SUFFIXES)
        raise DeployedFileError(f"{path}: runs only with PyTorch, or is not a deployed file (those end in {known}).")
    return kind(path, threads)


class _OnnxForm(DeployedForm):
    def __init__(self, path: Path, threads: int | None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        # idle threads would spin and take the time of whatever else runs
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        # the exceptions of its C++ part have no common base but this
        except Exception as error:
            raise _damaged(path, error) from error
        metadata = self.session.get_modelmeta().custom_metadata_map
        check_seal(path, metadata.get(SEAL_KEY))
        super().__init__(path, Description.from_text(metadata.get(DESCRIPTION_KEY), path))
        image = self.session.get_inputs()[0]
        self._check_shapes(image.shape, self.session.get_outputs()[0].shape)
        self._name = image.name

    def _logits(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(self.session.run(None, {self._name: images})[0])


class _OpenVinoForm(DeployedForm):
    def __init__(self, path: Path, threads: int | None) -> None:
        import openvino

        check_seal(path, seal_of_graph(path))
        # its default on many processors is bfloat16, whose masks differ from those of the training
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            model = openvino.Core().read_model(str(path))
            self._compiled = openvino.compile_model(model, "CPU", settings)
            text, weights = (
                str(model.get_rt_info([key]).value) if model.has_rt_info([key]) else None
                for key in (DESCRIPTION_KEY, WEIGHTS_KEY)
            )
        # as above
        except Exception as error:
            raise _damaged(path, error) from error
        beside = path.with_suffix(".bin")
        # files of earlier versions do not tell
        if weights is not None and sha256_of(beside) != weights:
            raise DeployedFileError(
                f"{beside}: holds other weights than {path.name} was written with, or is damaged; copy both files of "
                "the same `ckdmed deploy`."
            )
        super().__init__(path, Description.from_text(text, path))
        takes, gives = (
            [size.get_length() if size.is_static else None for size in port.get_partial_shape()]
            for port in (self._compiled.input(0), self._compiled.output(0))
        )
        self._check_shapes(takes, gives)

    def _logits(self, images: np.ndarray) -> np.ndarray:
        return np.array(self._compiled(images)[0])


def _damaged(path: Path, error: Exception) -> DeployedFileError:
    cause = " ".join(str(error).split())[:300]
    beside = " Its .bin must be beside it." if path.suffix.lower() == ".xml" else ""
    return DeployedFileError(f"{path}: cannot be opened ({cause}); it is damaged or not a network.{beside}")
