"""Whole cases: z-scores equal to the cache's, scans at the training's scale and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Resized

from ckdmed.transforms.case_intensity import CaseIntensityd
from ckdmed.transforms.scan_grid import ScanGridd
from ckdmed.transforms.smooth_inverse import SmoothInversed


def test_zscores_of_a_known_release_are_over_what_is_not_0():
    image = torch.zeros(2, 6, 5, 4)
    image[0, 1:4, 1:4, 1:3] = torch.randn(3, 3, 2) + 7
    image[1, 2:5] = torch.randn(3, 5, 4) - 1
    tensor = MetaTensor(image.clone(), affine=torch.diag(torch.tensor([1.0, 2, 3, 1])))
    out = CaseIntensityd("image")({"image": tensor, "release": "2023"})["image"]
    for channel, values in zip(out, image):
        inside = values != 0
        expected = (values[inside] - values[inside].mean()) / values[inside].std(unbiased=False)
        torch.testing.assert_close(channel[inside].as_tensor(), expected, atol=1e-5, rtol=1e-5)
        assert (channel[~inside] == 0).all()
    assert torch.equal(out.affine, tensor.affine) and out.applied_operations == []


def test_zscores_of_a_scan_with_air_are_over_the_head():
    rng = np.random.default_rng(0)
    image = rng.uniform(1, 5, (2, 24, 24, 12)).astype(np.float32)
    head = np.zeros((24, 24, 12), bool)
    head[5:19, 6:18, 2:10] = True
    image[:, head] += rng.uniform(40, 200, (2, int(head.sum())))
    image[1, 5:8] = 0  # the second series does not reach there
    out = CaseIntensityd("image")({"image": MetaTensor(torch.from_numpy(image)), "release": ""})["image"].numpy()
    assert (out[:, 0] == 0).all() and abs(out[0][head].mean()) < 0.05
    assert (out[1, 5:8] == 0).all() and abs(out[1][8:][head[8:]].std() - 1) < 0.05


def scan(spacing: tuple[float, float, float], shape=(16, 20, 6)) -> MetaTensor:
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])[[1, 0, 2, 3]]
    affine[:3, 3] = [40, 30, -7]
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32))
    return MetaTensor(values, affine=torch.from_numpy(affine))


def test_a_field_of_view_is_cut_and_filled_without_interpolation():
    image = scan((2.0, 2.0, 5.0))
    out = ScanGridd("image", field_of_view=36.0)({"image": image, "release": ""})["image"]
    # 18 x 18 of 16 x 20 pixels: one row of 0 on either side, one column less
    assert out.shape == (1, 18, 18, 6)
    torch.testing.assert_close(out[0, 1:17].as_tensor(), image[0, :, 1:19].as_tensor(), atol=1e-5, rtol=0)
    assert (out[0, [0, 17]] == 0).all()
    back = ScanGridd("image", field_of_view=36.0)
    there = back({"image": image.clone(), "release": ""})
    again = back.inverse(there)["image"]
    assert again.shape == image.shape and torch.allclose(again.affine, image.affine)
    torch.testing.assert_close(again[0, :, 1:19].as_tensor(), image[0, :, 1:19].as_tensor(), atol=1e-5, rtol=0)


def test_the_scale_is_that_asked_for():
    """A straight edge 30 mm from the centre stays 30 mm from the centre."""
    image = scan((0.5, 2.0, 4.0), (120, 40, 8))
    index = torch.arange(120, dtype=torch.float32)[:, None, None].expand(120, 40, 8)
    image[0] = (index - 59.5) * 0.5
    out = ScanGridd("image", 50.0, [1.0, 1.0, 2.0])({"image": image, "release": ""})["image"]
    assert out.shape == (1, 50, 50, 16)
    assert np.allclose(np.linalg.norm(np.asarray(out.affine)[:3, :3], axis=0), [1, 1, 2])
    expected = torch.arange(50) - 24.5
    torch.testing.assert_close(out[0, :, 20, 8].as_tensor(), expected, atol=1e-2, rtol=0)


def test_brats_cases_pass_unchanged():
    image = scan((2.0, 3.0, 5.0))
    grid = ScanGridd("image", 240.0, [1.0, 1.0, 1.0])
    out = grid({"image": image.clone(), "release": "2023"})
    assert torch.equal(out["image"].as_tensor(), image.as_tensor())
    assert torch.equal(grid.inverse(out)["image"].as_tensor(), image.as_tensor())


def test_lengths_must_be_positive():
    with pytest.raises(ValueError, match="field_of_view must be positive or null, and spacing three such numbers"):
        ScanGridd("image", 0)
    with pytest.raises(ValueError, match="spacing three such numbers"):
        ScanGridd("image", None, [1.0, 1.0])


def test_what_was_made_smaller_by_means_comes_back_smooth():
    chain = Compose([Resized("image", [8, 8, -1], mode="area")])
    ramp = torch.arange(16, dtype=torch.float32)[None, :, None, None].expand(1, 16, 16, 3).clone()
    item = chain({"image": MetaTensor(ramp)})
    invert = Invertd("pred", chain, "image", nearest_interp=False)
    blocks = invert({**item, "pred": item["image"].clone()})["pred"]
    assert torch.equal(blocks[0, 0, 0], blocks[0, 1, 0])
    smooth = invert({**SmoothInversed("image")(item), "pred": item["image"].clone()})["pred"]
    assert smooth.shape == ramp.shape
    torch.testing.assert_close(smooth[0, 1:-1].as_tensor(), ramp[0, 1:-1])
