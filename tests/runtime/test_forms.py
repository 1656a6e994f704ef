"""Opening deployed files that are right, damaged, or no deployed files."""

from __future__ import annotations

import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ckdmed.runtime import DeployedFileError, Description, is_deployed, open_form
from tests.runtime.tiny_forms import SEGMENTATION, write_tiny

pytest.importorskip("onnxruntime")


def test_a_file_says_what_it_expects_and_takes_any_number_of_images(tmp_path):
    form = open_form(write_tiny(tmp_path / "model.onnx"), threads=1)
    assert form.description == SEGMENTATION
    for count in (1, 5):
        assert form(np.zeros((count, 1, 48, 48), np.float32)).shape == (count, 1, 48, 48)
    with pytest.raises(DeployedFileError, match=r"takes images of shape \(1, 48, 48\), got \(1, 50, 50\)"):
        form(np.zeros((1, 1, 50, 50), np.float32))


@pytest.mark.parametrize("text", ["", "{}", '{"format": "another"}', '{"format": "ckdmed deployed 1"}', "[1]"])
def test_a_file_without_a_description_is_refused(tmp_path, text):
    with pytest.raises(DeployedFileError, match="model.onnx: has no description by ckdmed.*ckdmed deploy"):
        open_form(write_tiny(tmp_path / "model.onnx", text=text))


def test_damaged_and_other_files_are_refused_by_name(tmp_path):
    whole = write_tiny(tmp_path / "model.onnx").read_bytes()
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DeployedFileError, match="cut.onnx: cannot be opened"):
        open_form(cut)
    with pytest.raises(DeployedFileError, match="none.onnx: no such file"):
        open_form(tmp_path / "none.onnx")
    script = tmp_path / "model.ts"
    script.write_bytes(b"PK")
    with pytest.raises(DeployedFileError, match="run by PyTorch only"):
        open_form(script)


def test_a_description_survives_its_text():
    assert Description.from_text(SEGMENTATION.to_text(), "x") == SEGMENTATION
    assert is_deployed("a/model.ONNX") and is_deployed("model.xml") and is_deployed("model.ts")
    assert not is_deployed("model.pt") and not is_deployed(None)


def test_openvinos_graph_takes_no_other_weights_of_the_same_size(tmp_path):
    pytest.importorskip("openvino")
    from ckdmed.deploy.float_forms import write_openvino

    write_tiny(tmp_path / "first.onnx")
    model = onnx.load(str(tmp_path / "first.onnx"))
    weights = next(one for one in model.graph.initializer if one.name == "weights")
    weights.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weights), "weights"))
    onnx.save(model, str(tmp_path / "second.onnx"))
    for name in ("first", "second"):
        write_openvino(tmp_path / f"{name}.onnx", SEGMENTATION, tmp_path / f"{name}.xml")
        assert open_form(tmp_path / f"{name}.xml").description == SEGMENTATION
    assert (tmp_path / "first.bin").stat().st_size == (tmp_path / "second.bin").stat().st_size
    shutil.copyfile(tmp_path / "second.bin", tmp_path / "first.bin")
    with pytest.raises(DeployedFileError, match="first.bin: holds other weights than first.xml was written with"):
        open_form(tmp_path / "first.xml")
