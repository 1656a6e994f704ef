"""Predictions of the runtime against those of the bundles' own recipes, over the same network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.inferers import SliceInferer
from monai.transforms import Compose
from torch import nn

from ckdmed.data.phantoms import write_figshare_phantoms
from ckdmed.data.slice_reader import SliceReader
from ckdmed.inferers.flips import FlipAverageInferer
from ckdmed.inferers.slices import SliceClassifierInferer
from ckdmed.recipes import class_loading, class_slices, slice_loading, slice_predictions, slice_preprocessing
from ckdmed.runtime import DeployedFileError, Description, Predictor, open_form
from tests.runtime.tiny_forms import CLASSES, SEGMENTATION, changed, weights_of, write_tiny

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("inputs")
    write_figshare_phantoms(folder, n_patients=2, size=64, progress=False)
    volume = np.random.default_rng(0).normal(size=(40, 50, 3)).astype(np.float32)
    # a blank slice, in which nothing is to be found
    volume[:, :, 1] = 0
    nib.save(nib.Nifti1Image(volume, np.diag([-1, 1, 2, 1])), folder / "volume.nii.gz")
    return [sorted(folder.glob("*.mat"))[0], folder / "volume.nii.gz"]


def torch_twin(description: Description) -> nn.Module:
    conv = nn.Conv2d(description.input_shape[0], len(description.outputs), 3, padding=1)
    conv.weight.data, conv.bias.data = torch.from_numpy(weights_of(description)), torch.full_like(conv.bias, -1.0)
    if description.task == "segmentation":
        return conv
    return nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    ("scaling", "clahe"), [("percentiles", False), ("report", False), ("percentiles", True), ("zscore", "global")]
)
@pytest.mark.parametrize("tta", [True, False])
def test_masks_are_those_of_the_bundles_inference(inputs, tmp_path, scaling, clahe, tta):
    description = changed(SEGMENTATION, scaling=scaling, clahe=clahe)
    predictor = Predictor(open_form(write_tiny(tmp_path / "model.onnx", description)), tta=tta)
    network = torch_twin(description)
    preprocessing = Compose(
        [slice_loading(SliceReader()), slice_preprocessing(48, "inference", scaling=scaling, clahe=clahe)]
    )
    inferer = FlipAverageInferer(SliceInferer(2, roi_size=(48, 48), sw_batch_size=16, overlap=0), enabled=tta)
    for path in inputs:
        item = preprocessing({"image": str(path)})
        with torch.no_grad():
            item["pred"] = inferer(item["image"][None], network)[0]
        expected = slice_predictions(0.3)(item)
        prediction = predictor(path)
        assert prediction.names == ("tumour",)
        assert prediction.masks.any() and not prediction.masks.all()
        np.testing.assert_array_equal(prediction.masks[0], expected["pred"].numpy() > 0)
        np.testing.assert_allclose(prediction.probabilities[0], expected["probability"].numpy(), atol=1e-5)


@pytest.mark.parametrize("clahe", [False, True, "global"])
@pytest.mark.parametrize("scaling", ["percentiles", "unit", "zscore", "report"])
def test_classes_are_those_of_the_bundles_inference(inputs, tmp_path, scaling, clahe):
    description = changed(CLASSES, scaling=scaling, clahe=clahe)
    predictor = Predictor(open_form(write_tiny(tmp_path / "model.onnx", description)), tta=True)
    preprocessing = Compose([class_loading(SliceReader()), class_slices(48, scaling, clahe=clahe)])
    inferer = SliceClassifierInferer(flip=True)
    for path in inputs:
        with torch.no_grad():
            logits = inferer(preprocessing({"image": str(path)})["image"][None], torch_twin(description))[0]
        prediction = predictor(path)
        assert prediction.masks is None
        np.testing.assert_allclose(prediction.probabilities, torch.softmax(logits, -1).numpy(), atol=1e-4)


def test_what_is_prepared_by_ckdmed_alone_is_refused(tmp_path):
    of_cases = changed(SEGMENTATION)
    object.__setattr__(of_cases, "task", "cases")
    form = open_form(write_tiny(tmp_path / "model.onnx", of_cases))
    with pytest.raises(DeployedFileError, match="whole cases.*inference.json with --checkpoint"):
        Predictor(form)
    with pytest.raises(ValueError, match=r"in \[0, 1\], got 3"):
        Predictor(open_form(write_tiny(tmp_path / "other.onnx")), threshold=3)


@pytest.mark.parametrize("description", [SEGMENTATION, CLASSES])
def test_logits_that_are_not_numbers_are_no_empty_mask(inputs, tmp_path, description):
    form = open_form(write_tiny(tmp_path / "model.onnx", description))
    form._logits = lambda images: np.full((len(images), 2), np.nan, np.float32)  # type: ignore[method-assign]
    with pytest.raises(DeployedFileError, match="model.onnx: gave values that are not numbers"):
        Predictor(form)(inputs[0])


def test_what_a_later_version_asks_for_is_not_left_out(tmp_path):
    later = replace(changed(SEGMENTATION, denoise=True), source={"ckdmed": "9.0"})
    with pytest.raises(DeployedFileError, match="needs denoise, which this version does not support.*9.0"):
        Predictor(open_form(write_tiny(tmp_path / "model.onnx", later)))
    with pytest.raises(DeployedFileError, match="clahe 'local'.*not stated"):
        Predictor(open_form(write_tiny(tmp_path / "model.onnx", changed(SEGMENTATION, clahe="local"))))
    with pytest.raises(DeployedFileError, match="model.onnx: needs scaling 'hounsfield'"):
        Predictor(open_form(write_tiny(tmp_path / "model.onnx", changed(SEGMENTATION, scaling="hounsfield"))))
    after = replace(SEGMENTATION, postprocessing={**SEGMENTATION.postprocessing, "largest_part": True})
    with pytest.raises(DeployedFileError, match="needs largest_part"):
        Predictor(open_form(write_tiny(tmp_path / "model.onnx", after)))
