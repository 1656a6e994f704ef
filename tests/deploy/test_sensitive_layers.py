"""The layers that int8 harms most are found, and stay in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ckdmed.data.phantoms import write_figshare_phantoms
from ckdmed.deploy import deploying
from ckdmed.deploy.deploying import DeployOptions, deploy
from ckdmed.deploy.float_forms import FormError
from ckdmed.deploy.int8_forms import has_vnni, layers_of, write_int8_onnx, write_int8_openvino
from ckdmed.deploy.sensitive_layers import layer_errors, sensitive_layers
from tests.export.tiny import write_checkpoint
from tests.runtime.tiny_forms import SEGMENTATION, of_edge, write_tiny

LAYERS = 6
SMALL = of_edge(SEGMENTATION, 32)


def images(count: int = 8) -> np.ndarray:
    """One pixel far from the others: a range for the first layer that is too wide for all but it."""
    values = np.random.default_rng(0).normal(size=(count, 1, 12, 12)).astype(np.float32)
    values[0, 0, 0, 0] = 400
    return values


def write_layers(path: Path) -> Path:
    """Convolutions with a bound between them, so that the far pixel matters to the first alone."""
    random, nodes, weights, value = np.random.default_rng(1), [], [], "image"
    for number in range(LAYERS):
        width = 4 if number < LAYERS - 1 else 1
        kernel = random.normal(size=(width, 4 if number else 1, 3, 3), scale=0.4).astype(np.float32)
        # the last layer's weights are nobody's module
        name = f"layers.{number}.weight" if number < LAYERS - 1 else "values"
        weights.append(numpy_helper.from_array(kernel, name))
        last = "logits" if number == LAYERS - 1 else f"maps{number}"
        nodes.append(helper.make_node("Conv", [value, name], [last], name=f"conv{number}", pads=[1] * 4))
        if last != "logits":
            nodes.append(helper.make_node("Clip", [last, "low", "high"], [f"bound{number}"], name=f"clip{number}"))
        value = f"bound{number}"
    bounds = [numpy_helper.from_array(np.array(each, np.float32), name) for each, name in ((-2, "low"), (2, "high"))]
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["images", 1, 12, 12])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["images", 1, 12, 12])],
        [*weights, *bounds],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path


def answers(path: Path, inputs: np.ndarray) -> np.ndarray:
    import onnxruntime

    return onnxruntime.InferenceSession(str(path)).run(None, {"image": inputs})[0]


def test_the_fewest_layers_with_nine_tenths_of_the_error_are_chosen() -> None:
    rest = {f"small{number}": 0.001 for number in range(28)}
    assert sensitive_layers({"c": 0.05, "a": 0.6, **rest, "b": 0.3}) == ["a", "b"]
    # a tenth of the layers at most
    assert sensitive_layers({f"{number:02}": 1.0 for number in range(20)}) == ["00", "01"]
    # but one of few
    assert sensitive_layers({"a": 0.2, "b": 0.3, "c": 0.1}) == ["b"]
    assert sensitive_layers({"a": 0.0, "b": 0.0}) == []


def test_the_layer_that_int8_harms_most_is_found_and_spared(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    file, inputs = write_layers(tmp_path / "float.onnx"), images()
    errors = layer_errors(file, inputs)
    assert list(errors) == list(layers_of(file).values()) == [f"layers.{n}" for n in range(5)] + ["conv5"]
    assert sensitive_layers(errors) == ["layers.0"] and errors["layers.0"] > 9 * errors["layers.1"] > 0
    expected, found = answers(file, inputs[1:]), {}
    for layers in ((), ("layers.0",), ("conv5",)):
        path = tmp_path / f"{len(found)}.onnx"
        write_int8_onnx(file, inputs, SEGMENTATION, path, layers)
        found[layers] = float(np.mean((answers(path, inputs[1:]) - expected) ** 2))
        quantised = {node.input[0] for node in onnx.load(str(path)).graph.node if node.op_type == "DequantizeLinear"}
        assert any("layers.0.weight" in name for name in quantised) == (layers != ("layers.0",))
        assert any("values" in name for name in quantised) == (layers != ("conv5",))
    assert found[("layers.0",)] < 0.2 * found[()]


def test_openvino_spares_the_same_layer(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    file, inputs = write_layers(tmp_path / "float.onnx"), images()
    expected, found = answers(file, inputs[1:]), []
    for layers in ((), ("layers.0",)):
        path = tmp_path / f"{len(found)}.xml"
        write_int8_openvino(file, inputs, SEGMENTATION, path, layers)
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found.append(float(np.mean((compiled(inputs[1:])[0] - expected) ** 2)))
    # without VNNI all layers are computed with fewer bits, and the others' share of the error is larger
    assert 0 < found[1] < (0.2 if has_vnni() else 0.8) * found[0]


def test_layers_that_cannot_be_measured_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormError, match="one image to calibrate with and one to measure with"):
        layer_errors(write_layers(tmp_path / "float.onnx"), images(1))
    empty = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["logits"])],
        "empty",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["images", 1, 12, 12])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["images", 1, 12, 12])],
    )
    onnx.save(helper.make_model(empty, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(tmp_path / "e"))
    with pytest.raises(FormError, match="no layers with weights"):
        layer_errors(tmp_path / "e", images())


@pytest.mark.parametrize("refused", [False, True], ids=["spared", "refused"])
def test_a_form_that_fails_is_judged_again_with_layers_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    pytest.importorskip("onnxruntime")

    def written(file: Path, images: np.ndarray, description: Any, path: Path, layers: Any = ()) -> None:
        if layers and refused:
            path.write_bytes(b"half")
            raise FormError("ONNX Runtime cannot quantise it (no)")
        write_tiny(path, SMALL)
        if not layers:
            model = onnx.load(str(path))
            model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.full(1, 50, np.float32), "bias"))
            onnx.save(model, str(path))

    monkeypatch.setattr(deploying, "_check_packages", lambda options: None)
    monkeypatch.setattr(deploying, "as_function", lambda network: _tiny(tmp_path))
    monkeypatch.setattr(deploying, "write_onnx", lambda network, text, path: write_tiny(path, SMALL))
    monkeypatch.setattr(deploying, "write_int8_onnx", written)
    monkeypatch.setattr(deploying, "layer_errors", lambda file, images: {"weights": 1.0})
    write_figshare_phantoms(tmp_path / "phantoms", n_patients=8, size=48, progress=False)
    checkpoint = write_checkpoint(tmp_path / "weights/model.pt", "seg_kd")
    said: list[str] = []
    options = DeployOptions(("onnx-int8",), str(tmp_path / "phantoms"), calibration=1, held_out=2, measure=False)
    (form,) = deploy("seg_kd", tmp_path / "out", options, str(checkpoint), said.append).forms
    assert form.written != refused and bool(form.reasons) == refused
    assert "1 layer in float32: weights" in said
    if refused:
        assert form.title == "onnx-int8" and form.changes and form.all_int8 is None
        assert "onnx-int8: ONNX Runtime cannot quantise it (no); all its layers stay in int8" in said
    else:
        assert form.title == "onnx-int8, 1 layer in float32" and form.all_int8 and form.all_int8.changed == 1
        text = (tmp_path / "out" / "deploy.md").read_text(encoding="utf-8")
        assert "| onnx-int8, 1 layer in float32 |" in text


def _tiny(folder: Path) -> Any:
    from ckdmed.runtime import open_form

    return open_form(write_tiny(folder / "reference.onnx", SMALL), 1)
