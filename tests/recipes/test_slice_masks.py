from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from PIL import Image

from ckdmed.data.slice_reader import SliceReader
from ckdmed.recipes import slice_loading, slice_masks, slice_predictions, slice_preprocessing

NETWORK = 16


@pytest.mark.parametrize("regions", [1, 2])
@pytest.mark.parametrize("size", [(37, 50), (9, 12), (8, 40)])
def test_what_is_scored_is_what_an_inference_writes(tmp_path: Path, size: tuple[int, int], regions: int):
    rng = np.random.default_rng(0)
    file = tmp_path / "slice.png"
    Image.fromarray(rng.integers(0, 255, size, np.uint8)).save(file)
    Image.fromarray(rng.integers(0, 2, size, np.uint8)).save(tmp_path / "mask.png")
    logits = torch.from_numpy(rng.normal(0, 2, (regions, NETWORK, NETWORK))).float()
    preprocessing = slice_preprocessing(NETWORK, "evaluate")
    item = preprocessing({"image": str(file), "label": str(tmp_path / "mask.png"), "slice": 0})
    scored = slice_masks(preprocessing, 0.4)({**item, "pred": MetaTensor(logits)})
    inference = Compose([slice_loading(SliceReader()), slice_preprocessing(NETWORK, "inference")])
    written = slice_predictions(0.4)({**inference({"image": str(file)}), "pred": MetaTensor(logits[..., None])})
    assert scored["pred"].shape == (regions, *size) and scored["image"].shape == (1, *size)
    for name in ("pred", "probability"):
        assert torch.equal(torch.as_tensor(scored[name]), torch.as_tensor(written[name]).reshape(regions, *size))


def test_nothing_is_scored_in_a_blank_slice(tmp_path: Path):
    volume = np.random.default_rng(0).normal(size=(20, 24, 2))
    volume[..., 1] = 0
    for name, values in (("volume", volume), ("mask", np.ones(volume.shape, np.uint8))):
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{name}.nii.gz")
    preprocessing = slice_preprocessing(NETWORK, "evaluate")
    files = {"image": str(tmp_path / "volume.nii.gz"), "label": str(tmp_path / "mask.nii.gz")}
    found = [
        slice_masks(preprocessing)({**preprocessing({**files, "slice": n}), "pred": torch.ones(1, NETWORK, NETWORK)})
        for n in range(2)
    ]
    assert found[0]["pred"].all() and not found[1]["pred"].any()
