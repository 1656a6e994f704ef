"""A deployed file as a bundle's checkpoint: what it says of itself counts, and what contradicts it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckdmed.bundle.errors import root_cause
from tests.bundle.bundle_runs import opened
from tests.runtime.tiny_forms import CLASSES, SEGMENTATION, write_tiny

pytest.importorskip("onnxruntime")
pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]


def refused(bundle: str, checkpoint: Path, **settings: Any) -> str:
    with pytest.raises(Exception) as raised:
        opened(bundle, "inference.json", checkpoint=str(checkpoint), **settings)
    return str(root_cause(raised.value))


def test_a_file_of_another_bundle_or_with_other_settings_is_refused(tmp_path: Path) -> None:
    out = {"output_dir": str(tmp_path / "out"), "device": "$torch.device('cpu')"}
    masks = write_tiny(tmp_path / "masks.onnx")
    made = opened("seg_kd", "inference.json", checkpoint=str(masks), **out)
    assert made.parser.get_parsed_content("image_size") == SEGMENTATION.input_shape[-1]
    message = refused("seg_kd", masks, image_size=64, **out)
    assert f"--image_size is 64, but '{masks}' was trained with 48." in message
    classes = write_tiny(tmp_path / "classes.onnx", CLASSES)
    message = refused("seg_kd", classes, **out)
    assert f"'{classes}' is a network of cls_kd whose outputs are meningioma, glioma; those of this bundle" in message
    assert "are tumour. Give it to a bundle of its own kind." in message
    # classes in another order than the file has them
    message = refused("cls_kd", classes, class_names=["glioma", "meningioma"], **out)
    assert "whose outputs are meningioma, glioma; those of this bundle are glioma, meningioma" in message
