"""Writing a network as ONNX, as OpenVINO's files and as TorchScript, each with its description inside."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from ckdmed.export.torchscript import ScriptingError, scripted, strip_source_paths
from ckdmed.file_hash import sha256_of
from ckdmed.runtime import Description
from ckdmed.runtime.description import DESCRIPTION_KEY, WEIGHTS_KEY
from ckdmed.runtime.seal import seal

__all__ = ["FormError", "describe_onnx", "quiet", "save_openvino", "write_onnx", "write_openvino", "write_torchscript"]

# traced with two images, so that none of them is taken for the only one
_TRACED = 2


class FormError(RuntimeError):
    """A form that this network cannot have; the message says why."""


def write_onnx(network: nn.Module, description: Description, path: Path) -> None:
    """ONNX in float32 for any number of images, by PyTorch's exporter over ``torch.export``.

    The older exporter cannot write the antialiased resize of the hybrid networks' ViT.

    Raises:
        FormError: the network cannot be exported.
    """
    example = torch.rand(_TRACED, *description.input_shape)
    with quiet() as said:
        try:
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("images", min=1, max=4096)},),
                input_names=["image"],
                output_names=["logits"],
                # weights inside: one file
                external_data=False,
            )
        except Exception as error:
            raise FormError(f"it cannot be exported to ONNX ({_first_line(error)})") from error
    if program is None:
        raise FormError(f"it cannot be exported to ONNX ({said.getvalue().strip()[:200]})")
    program.save(str(path), external_data=False)
    describe_onnx(path, description)


def describe_onnx(path: Path, description: Description) -> None:
    """Put the description into an ONNX file, take out what tells of the machine that made it, and seal it."""
    model = onnx.load(str(path))
    del model.metadata_props[:]
    for part in (model.graph, *model.functions):
        for node in part.node:
            # names of Python modules and lines of source files
            del node.metadata_props[:]
            node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = DESCRIPTION_KEY, description.to_text()
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    seal(path)


def write_openvino(onnx_file: Path, description: Description, path: Path) -> None:
    """OpenVINO's ``.xml`` and ``.bin`` of a float32 ONNX file, the weights in float32 too."""
    import openvino

    save_openvino(openvino.Core().read_model(str(onnx_file)), description, path)


def save_openvino(model: object, description: Description, path: Path) -> None:
    """Write a model of OpenVINO with its description and the hash of the file of the weights, which keep their
    precision; the graph is sealed."""
    import openvino

    model.set_rt_info(description.to_text(), [DESCRIPTION_KEY])  # type: ignore[attr-defined]
    # the first time for the weights alone: what the graph says of them does not change them
    openvino.save_model(model, str(path), compress_to_fp16=False)
    model.set_rt_info(sha256_of(path.with_suffix(".bin")), [WEIGHTS_KEY])  # type: ignore[attr-defined]
    openvino.save_model(model, str(path), compress_to_fp16=False)
    seal(path)


def write_torchscript(network: nn.Module, description: Description, path: Path) -> None:
    """TorchScript by ``torch.jit.script``, as the Model Zoo has it.

    Raises:
        FormError: the network has something that TorchScript does not know.
    """
    with quiet():
        try:
            made = scripted(network)
        except ScriptingError as error:
            raise FormError(f"it cannot be scripted ({error})") from error
        torch.jit.save(made, str(path), _extra_files={f"{DESCRIPTION_KEY}.json": description.to_text()})
    strip_source_paths(path)


@contextlib.contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Catch what exporters and quantisers print and log; they tell of every step."""
    caught = io.StringIO()
    levels = {name: logging.getLogger(name).level for name in ("torch.onnx", "nncf", "onnxscript", "onnx_ir", "root")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(caught), contextlib.redirect_stderr(caught), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield caught
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def as_function(network: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    """The network as a function of arrays, as a deployed form is one."""

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(np.ascontiguousarray(images))).float().numpy()

    return run


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
