"""A deployed file as a bundle's checkpoint: what it says of itself counts, and what contradicts it is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ckdmed.bundle.errors import root_cause
from ckdmed.bundle.run import settings_of
from ckdmed.labels import REGIONS
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
    assert "are tumour. Use it with a bundle of its own kind." in message
    # classes in another order than the file has them
    message = refused("cls_kd", classes, class_names=["glioma", "meningioma"], **out)
    assert "whose outputs are meningioma, glioma; those of this bundle are glioma, meningioma" in message


@pytest.mark.parametrize("bundle", ["seg_kd", "seg_teacher", "brats_seg_kd", "brats_seg_teacher", "brats_unimodal_kd"])
@pytest.mark.parametrize("files", [["inference.json"], ["train.json", "evaluate.json"]])
def test_masks_begin_where_the_file_says_unless_its_user_says_otherwise(
    bundle: str, files: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = replace(SEGMENTATION, bundle=bundle)
    if bundle.startswith("brats"):
        of_cases = {"spatial_dims": 2, "student_modalities": ["t1c"]}
        network = replace(network, outputs=REGIONS, settings={**SEGMENTATION.settings, **of_cases})
    common: Any = {
        "initialize": ["$ckdmed.bundle.check_settings()"],
        "checkpoint": str(write_tiny(tmp_path / "network.onnx", network)),
        "output_dir": str(tmp_path / "out"),
        "device": "$torch.device('cpu')",
    }

    def cut(**given: Any) -> tuple[float, bool]:
        settings = settings_of(opened(bundle, *files, **common, **given).parser)
        return settings["threshold"], settings["tta"]

    caplog.set_level("INFO", logger="ckdmed")
    assert cut() == (0.3, True) and "as given; the record of" not in caplog.text
    assert cut(threshold=0.3, tta="yes") == (0.3, True) and "as given; the record of" not in caplog.text
    assert cut(threshold=0.6) == (0.6, True)
    assert f"--threshold is 0.6, as given; the record of '{common['checkpoint']}' says 0.3." in caplog.text
    assert cut(tta=False) == (0.3, False) and "--tta is False, as given" in caplog.text
