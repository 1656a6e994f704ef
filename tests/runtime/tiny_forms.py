"""A network in an ONNX file that is made in a moment: each output is a multiple of the mean channel, less 2."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ckdmed.runtime import Description
from ckdmed.runtime.description import DESCRIPTION_KEY

SEGMENTATION = Description(
    bundle="seg_kd",
    task="segmentation",
    precision="float32",
    input_shape=(1, 48, 48),
    outputs=("tumour",),
    preprocessing={"image_size": 48, "images": 1, "slice_axis": -1, "scaling": "percentiles"},
    postprocessing={"threshold": 0.3, "tta": True},
    settings={"image_size": 48, "epochs": 1},
    licence="Apache License",
)
CLASSES = replace(
    SEGMENTATION,
    bundle="cls_kd",
    task="classification",
    input_shape=(3, 48, 48),
    outputs=("meningioma", "glioma"),
    postprocessing={"tta": False},
)


def changed(description: Description, **preprocessing: Any) -> Description:
    """The same with other settings of the preprocessing."""
    return replace(description, preprocessing={**description.preprocessing, **preprocessing})


def weights_of(description: Description) -> np.ndarray:
    """(outputs, channels, 3, 3): without symmetry, so that mirror images give other logits."""
    shape = (len(description.outputs), description.input_shape[0], 3, 3)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def write_tiny(path: Path, description: Description = SEGMENTATION, text: str | None = None) -> Path:
    """A convolution; of classes its mean over the image."""
    weights = numpy_helper.from_array(weights_of(description), "weights")
    bias = numpy_helper.from_array(np.full(len(description.outputs), -1.0, np.float32), "bias")
    nodes = [helper.make_node("Conv", ["image", "weights", "bias"], ["maps"], pads=[1, 1, 1, 1])]
    out: list[Any] = ["images", len(description.outputs)]
    if description.task == "classification":
        nodes += [helper.make_node("GlobalAveragePool", ["maps"], ["pooled"])]
        nodes += [helper.make_node("Flatten", ["pooled"], ["logits"])]
    else:
        nodes += [helper.make_node("Identity", ["maps"], ["logits"])]
        out += description.input_shape[1:]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["images", *description.input_shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, out)],
        [weights, bias],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    entry = model.metadata_props.add()
    entry.key, entry.value = DESCRIPTION_KEY, description.to_text() if text is None else text
    onnx.save(model, str(path))
    return path


def of_edge(description: Description, edge: int) -> Description:
    """The same for images of another size."""
    shape = (description.input_shape[0], edge, edge)
    return replace(description, input_shape=shape, preprocessing={**description.preprocessing, "image_size": edge})
