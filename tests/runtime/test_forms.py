"""Opening deployed files that are right, damaged, or no deployed files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ckdmed.runtime import DeployedFileError, Description, is_deployed, open_form
from tests.runtime.tiny_forms import SEGMENTATION, changed, weights_of, write_tiny

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
    with pytest.raises(DeployedFileError, match="model.onnx: has no ckdmed description.*ckdmed deploy"):
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
    with pytest.raises(DeployedFileError, match="runs only with PyTorch"):
        open_form(script)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"task": "cases of another kind"}, "its task is"),
        ({"precision": "int4"}, "its precision is 'int4'"),
        ({"input_shape": "48"}, "its input_shape is '48'"),
        ({"outputs": "tumour"}, "its outputs are 'tumour'"),
        ({"outputs": []}, "not a list of names"),
        ({"outputs": ["a", "a"]}, "contain a name twice"),
        ({"preprocessing": [1]}, r"its preprocessing is \[1\]"),
        ({"preprocessing": {"images": 1}}, "its image_size is 'not there'"),
        ({"preprocessing": {"image_size": 64}}, "its image_size is 64"),
        ({"preprocessing": {"image_size": "big"}}, "its image_size is 'big'"),
        ({"preprocessing": {"image_size": 48, "images": 0}}, "images 0"),
        # with the usual 0.5, or without mirror images, the masks would be others
        ({"postprocessing": {"tta": True}}, "threshold 'not at all'"),
        ({"postprocessing": {"threshold": "x", "tta": True}}, "threshold 'x'"),
        ({"postprocessing": {"threshold": 30, "tta": True}}, "threshold 30"),
        ({"postprocessing": {"threshold": 0.3}}, "tta 'not at all'"),
        ({"postprocessing": {"threshold": 0.3, "tta": "false"}}, "tta 'false'"),
    ],
)
def test_a_description_that_lacks_something_is_not_filled_up_with_defaults(tmp_path, entries, said):
    text = json.dumps(json.loads(SEGMENTATION.to_text()) | entries)
    with pytest.raises(DeployedFileError, match=f"model.onnx: .*{said}.*ckdmed deploy"):
        open_form(write_tiny(tmp_path / "model.onnx", text=text))


@pytest.mark.parametrize("suffix", ["onnx", "xml"])
@pytest.mark.parametrize(
    "other",
    [
        replace(SEGMENTATION, outputs=("core", "rim")),
        replace(SEGMENTATION, input_shape=(2, 48, 48)),
        changed(replace(SEGMENTATION, input_shape=(1, 64, 64)), image_size=64),
    ],
    ids=["outputs", "channels", "size"],
)
def test_a_description_of_another_network_is_refused_before_any_input(tmp_path, other, suffix):
    path = write_tiny(tmp_path / "model.onnx", text=other.to_text())
    if suffix == "xml":
        pytest.importorskip("openvino")
        from ckdmed.deploy.float_forms import write_openvino

        write_openvino(path, other, path.with_suffix(".xml"))
    with pytest.raises(DeployedFileError, match=f"model.{suffix}: its description does not match its network"):
        open_form(path.with_suffix(f".{suffix}"))


def test_an_onnx_file_with_another_bit_is_refused(tmp_path):
    from ckdmed.deploy.float_forms import describe_onnx

    path = write_tiny(tmp_path / "model.onnx")
    describe_onnx(path, SEGMENTATION)
    assert open_form(path).description == SEGMENTATION
    whole = path.read_bytes()
    # to any other program it is a network as before
    onnx.checker.check_model(onnx.load(str(path)))
    weights = whole.find(weights_of(SEGMENTATION).tobytes())
    for place in (weights + 3, whole.find(b'"threshold": 0.3') + 15, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DeployedFileError, match="model.onnx: is damaged, or was changed after `ckdmed deploy`"):
            open_form(path)
    # one to which another program has added something
    path.write_bytes(whole + b"\x32\x00")
    with pytest.raises(DeployedFileError, match="was changed after"):
        open_form(path)
    # written anew, it is sealed anew
    path.write_bytes(whole)
    describe_onnx(path, SEGMENTATION)
    assert path.read_bytes() == whole


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


def test_openvinos_graph_with_another_character_is_refused(tmp_path):
    pytest.importorskip("openvino")
    from ckdmed.deploy.float_forms import write_openvino

    path = tmp_path / "model.xml"
    write_openvino(write_tiny(tmp_path / "model.onnx"), SEGMENTATION, path)
    whole = path.read_bytes()
    assert open_form(path).description == SEGMENTATION
    damages = ((b'pads_begin="', 12), (b"threshold", 12), (b"sha256 ", 7))
    places = [whole.index(what) + offset for what, offset in damages]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DeployedFileError, match="model.xml: (is damaged, or was changed after|cannot be opened)"):
            open_form(path)
    # padding of another width is a network as well, and only the seal tells
    path.write_bytes(whole.replace(b'pads_begin="1, 1"', b'pads_begin="0, 1"'))
    with pytest.raises(DeployedFileError, match="is damaged, or was changed after"):
        open_form(path)
    # those of an earlier version have none
    path.write_bytes(whole[: whole.rindex(b"<!--")])
    assert open_form(path).description == SEGMENTATION
