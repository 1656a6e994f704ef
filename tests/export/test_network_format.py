"""What the metadata of an export say of the network's channels and sizes is so, whatever it was trained with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from monai.transforms import Compose

from ckdmed.export.network_format import with_network_format
from ckdmed.transforms.grey_to_rgb import colour_copies
from ckdmed.transforms.slice_intensity import SLICE_SCALINGS, SliceIntensity
from tests.export.tiny import BUNDLES, config


def described(bundle: str, **settings: Any) -> tuple[list[str], list[str], list[int], dict[str, Any]]:
    """Names of the channels that go in and come out, the size of the images, and all of the metadata."""
    found = with_network_format(config(bundle, "metadata.json"), {**config(bundle, "inference.json"), **settings})
    tensors = found["network_data_format"]["inputs"]["image"], found["network_data_format"]["outputs"]["pred"]
    for tensor in tensors:
        assert list(tensor["channel_def"]) == [str(number) for number in range(tensor["num_channels"])]
    names = [list(tensor["channel_def"].values()) for tensor in tensors]
    return names[0], names[1], tensors[0]["spatial_shape"], found


@pytest.mark.parametrize("bundle", BUNDLES)
def test_of_the_defaults_nothing_changes(bundle: str) -> None:
    assert described(bundle)[3] == config(bundle, "metadata.json")


def test_slices_of_other_images_and_regions() -> None:
    grey = "contrast-enhanced T1-weighted slice"
    assert described("seg_kd", grey_as_rgb=True, image_size=96)[:3] == ([grey] * 3, ["tumour"], [96, 96])
    regions = {"core": [1, 3], "whole": [1, 2, 3]}
    inputs, outputs, _, found = described("seg_kd", input_images=2, regions=regions)
    assert inputs == ["image 1", "image 2"] and outputs == ["core", "whole"]
    scaled = "0.5th to 99.5th percentile scaled to [0, 1]"
    assert found["image_classes"] == f"2 channels: image 1, image 2; {scaled}"
    assert found["label_classes"] == "core, whole"
    assert found["pred_classes"] == "2 channels of logits: core, whole"


def test_cases_of_other_sequences_and_of_volumes() -> None:
    one, two = "T1-weighted with contrast (t1c)", "T2-FLAIR (t2f)"
    settings = {"modalities": ["t1c", "t2f"], "neighbours": 1}
    inputs, outputs, _, found = described("brats_seg_kd", **settings)
    # slice by slice, as the network is given them
    assert inputs == [one, two] * 3 and outputs == ["tumour core (TC)", "whole tumour (WT)", "enhancing tumour (ET)"]
    assert found["pred_classes"] == config("brats_seg_kd", "metadata.json")["pred_classes"]
    assert described("brats_seg_kd", spatial_dims=3, roi_size=[64, 64, 32])[2] == [64, 64, 32]
    assert described("brats_unimodal_kd", student_modalities=["t2f"])[0] == ["t2f"]
    assert described("brats_seg_kd", regions=["WT"])[3]["pred_classes"] == "1 channel of logits: whole tumour (WT)"


def test_other_classes_of_the_same_number() -> None:
    inputs, outputs, _, found = described("cls_kd", task="brats_type", class_names=["GLI", "MEN", "MET"])
    assert (inputs, outputs) == (["t1c"] * 3, ["GLI", "MEN", "MET"])
    assert found["label_classes"] == "GLI, MEN, MET"


GREY = "contrast-enhanced T1-weighted slice, its"
IMAGENET = "then standardised with ImageNet's mean and deviation"


@pytest.mark.parametrize(
    ("bundle", "settings", "text", "limits"),
    [
        ("seg_kd", {"scaling": "unit"}, f"1 channel, {GREY} minimum to maximum scaled to [0, 1]", [0, 1]),
        ("seg_kd", {"scaling": "zscore"}, f"1 channel, {GREY} values scaled to mean 0 and deviation 1", []),
        (
            "seg_teacher",
            {"scaling": "report", "clahe": True},
            f"1 channel, {GREY} minimum to maximum scaled to 8 bits and then to [0, 1], {IMAGENET} (after CLAHE)",
            [-1.987, 2.438],
        ),
        ("cls_kd", {"scaling": "zscore"}, f"3 equal channels, {GREY} values scaled to mean 0 and deviation 1", []),
        (
            "cls_kd",
            {"scaling": "unit"},
            f"3 equal channels, {GREY} minimum to maximum scaled to [0, 1], {IMAGENET}",
            [-2.118, 2.64],
        ),
        (
            "brats_seg_kd",
            {"scaling": "unit", "clahe": "global"},
            "4 channels (t1n, t1c, t2w, t2f), the brain's minimum to maximum scaled to [0, 1], 0 outside "
            "(after an equalisation of the histogram)",
            [0, 1],
        ),
    ],
)
def test_the_scaling_is_that_of_the_training(bundle: str, settings: dict, text: str, limits: list[float]) -> None:
    found = described(bundle, **settings)[3]
    assert found["image_classes"] == text
    assert found["network_data_format"]["inputs"]["image"]["value_range"] == limits


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("scaling", SLICE_SCALINGS)
def test_the_range_is_that_of_what_the_network_sees(scaling: str, copies: bool) -> None:
    found = described("seg_kd", scaling=scaling, grey_as_rgb=copies)[3]
    limits = found["network_data_format"]["inputs"]["image"]["value_range"]
    image = SliceIntensity(scaling)(np.arange(4096, dtype=np.float32).reshape(1, 64, 64))
    seen = Compose(colour_copies("image", scaling) if copies else [])({"image": image})["image"]
    assert not limits or [float(seen.min()), float(seen.max())] == pytest.approx(limits, abs=6e-4)
    assert bool(limits) == (scaling != "zscore")
