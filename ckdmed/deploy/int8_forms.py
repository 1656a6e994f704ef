"""int8 forms: by ONNX Runtime's own quantiser for ONNX Runtime, by NNCF for OpenVINO.

NNCF's ONNX gains little in ONNX Runtime, which runs the patterns of its own quantiser fastest.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ckdmed.deploy.float_forms import FormError, describe_onnx, quiet, save_openvino
from ckdmed.runtime import Description

__all__ = ["int8_description", "write_int8_onnx", "write_int8_openvino"]


def int8_description(description: Description) -> Description:
    """Of the int8 form of a network."""
    return replace(description, precision="int8")


def write_int8_onnx(float_file: Path, images: np.ndarray, description: Description, path: Path) -> None:
    """Quantise a float32 ONNX file statically: int8 weights of each channel, uint8 activations, QDQ form.

    Args:
        float_file: written by `write_onnx`.
        images: (N, C, *spatial) inputs for the calibration.
        description: of the float32 form.
        path: to write.

    Raises:
        FormError: the quantiser does not know some part of the network.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, quiet():
        prepared = Path(folder) / "prepared.onnx"
        try:
            # folds batch normalisation and constants, which the quantiser expects
            quant_pre_process(str(float_file), str(prepared), skip_symbolic_shape=True)
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
                reduce_range=not _has_vnni(),
            )
        except Exception as error:
            raise FormError(f"ONNX Runtime cannot quantise it ({' '.join(str(error).split())[:200]})") from error
    describe_onnx(path, int8_description(description))


def write_int8_openvino(float_file: Path, images: np.ndarray, description: Description, path: Path) -> None:
    """Quantise a float32 file with NNCF for OpenVINO; arguments and errors as `write_int8_onnx`."""
    import nncf
    import openvino

    logging.getLogger("nncf").setLevel(logging.ERROR)
    with quiet():
        try:
            model = openvino.Core().read_model(str(float_file))
            data = nncf.Dataset([image[None] for image in images])
            quantised = nncf.quantize(
                model, data, subset_size=len(images), preset=nncf.QuantizationPreset.MIXED, **_model_type(description)
            )
        except Exception as error:
            raise FormError(f"NNCF cannot quantise it ({' '.join(str(error).split())[:200]})") from error
    save_openvino(quantised, int8_description(description), path)


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


def _has_vnni() -> bool:
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
