"""int8 forms: by ONNX Runtime's own quantiser for ONNX Runtime, by NNCF for OpenVINO.

NNCF's ONNX gains little in ONNX Runtime, which runs the patterns of its own quantiser fastest.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ckdmed.deploy.float_forms import FormError, describe_onnx, quiet, save_openvino
from ckdmed.runtime import Description

__all__ = ["has_vnni", "int8_description", "layers_of", "prepared_for_int8", "quantise_onnx", "write_int8_onnx"]
__all__ += ["write_int8_openvino"]

#: operators of ONNX that hold the weights of a network
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def int8_description(description: Description) -> Description:
    """Of the int8 form of a network."""
    return replace(description, precision="int8")


def write_int8_onnx(
    float_file: Path, images: np.ndarray, description: Description, path: Path, float_layers: Sequence[str] = ()
) -> None:
    """Quantise a float32 ONNX file statically: int8 weights of each channel, uint8 activations, QDQ form.

    Args:
        float_file: written by `write_onnx`.
        images: (N, C, *spatial) inputs for the calibration.
        description: of the float32 form.
        path: to write.
        float_layers: of `layers_of`, which stay in float32.

    Raises:
        FormError: the quantiser does not know some part of the network.
    """
    with tempfile.TemporaryDirectory() as folder, quiet():
        prepared = Path(folder) / "prepared.onnx"
        prepared_for_int8(float_file, prepared)
        quantise_onnx(prepared, images, path, without=_nodes(float_file, float_layers))
    describe_onnx(path, int8_description(description))


def layers_of(float_file: Path) -> dict[str, str]:
    """The layers with weights of a float32 ONNX file: node -> the module that holds its weights, else its own name."""
    import onnx

    graph = onnx.load(str(float_file)).graph
    found = {}
    for node in graph.node:
        if node.op_type in _WEIGHTED:
            module = next((name.removesuffix(".weight") for name in node.input if name.endswith(".weight")), "")
            found[node.name] = module or node.name
    return found


def _nodes(float_file: Path, layers: Sequence[str]) -> list[str]:
    return [node for node, layer in layers_of(float_file).items() if layer in layers]


def prepared_for_int8(float_file: Path, path: Path) -> None:
    """Fold batch normalisations and constants, as ONNX Runtime's quantiser expects; raises as `write_int8_onnx`."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with _refusing("ONNX Runtime cannot quantise it"):
        quant_pre_process(str(float_file), str(path), skip_symbolic_shape=True)


def quantise_onnx(
    prepared: Path, images: np.ndarray, path: Path, only: Sequence[str] = (), without: Sequence[str] = ()
) -> None:
    """ONNX Runtime's static quantiser over a file of `prepared_for_int8`; raises as `write_int8_onnx`.

    Args:
        only: nodes to quantise; all by default.
        without: nodes to leave in float32.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with _refusing("ONNX Runtime cannot quantise it"):
        quantize_static(
            str(prepared),
            str(path),
            _Images(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            # full 8 bits of a weight overflow on processors without VNNI
            reduce_range=not has_vnni(),
            nodes_to_quantize=list(only),
            nodes_to_exclude=list(without),
        )


def write_int8_openvino(
    float_file: Path, images: np.ndarray, description: Description, path: Path, float_layers: Sequence[str] = ()
) -> None:
    """Quantise a float32 file with NNCF for OpenVINO; arguments and errors as `write_int8_onnx`."""
    import nncf
    import openvino

    logging.getLogger("nncf").setLevel(logging.ERROR)
    with quiet(), _refusing("NNCF cannot quantise it"):
        model = openvino.Core().read_model(str(float_file))
        data = nncf.Dataset([image[None] for image in images])
        ignored = nncf.IgnoredScope(names=_operations(model, _nodes(float_file, float_layers)))
        quantised = nncf.quantize(
            model,
            data,
            subset_size=len(images),
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=ignored,
            **_model_type(description),
        )
    save_openvino(quantised, int8_description(description), path)


def _operations(model: Any, nodes: Sequence[str]) -> list[str]:
    """OpenVINO parts a node of ONNX into a product and the addition of its bias: the products' names."""
    wanted = {name for node in nodes for name in (node, f"{node}/WithoutBiases")}
    products = ("Convolution", "ConvolutionBackpropData", "GroupConvolution", "GroupConvolutionBackpropData", "MatMul")
    return [
        operation.get_friendly_name()
        for operation in model.get_ordered_ops()
        if operation.get_type_name() in products and operation.get_friendly_name() in wanted
    ]


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Whatever a quantiser meets in a network that it does not know is this network's refusal."""
    try:
        yield
    except Exception as error:
        raise FormError(f"{what} ({' '.join(str(error).split())[:200]})") from error


def _model_type(description: Description) -> dict[str, Any]:
    import nncf

    # attention is kept in a precision that it stands
    kind = str(description.settings.get("teacher_kind", "")) if description.bundle.endswith("_teacher") else ""
    return {"model_type": nncf.ModelType.TRANSFORMER} if "vit" in kind or "swin" in kind else {}


class _Images:
    """Images one by one, as ONNX Runtime's calibration asks for them."""

    def __init__(self, images: np.ndarray) -> None:
        self._rest: Iterator[np.ndarray] = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._rest, None)
        return None if image is None else {"image": np.ascontiguousarray(image[None])}

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        while (entry := self.get_next()) is not None:
            yield entry


def has_vnni() -> bool:
    """Whether the processor multiplies 8-bit numbers without overflow; False where it does not tell."""
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
