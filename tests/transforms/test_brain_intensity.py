"""Intensities of a volume over its brain."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from ckdmed.transforms import CLAHE, BrainIntensity, BrainIntensityd, BrainZScore
from ckdmed.transforms.brain_intensity import BRAIN_SCALINGS
from ckdmed.transforms.case_intensity import CaseIntensityd
from ckdmed.transforms.slice_intensity import SLICE_SCALINGS


def head(seed: int = 0) -> torch.Tensor:
    """Two channels of whole numbers, 0 outside a box."""
    image = torch.zeros(2, 18, 16, 5)
    generator = torch.Generator().manual_seed(seed)
    image[:, 3:15, 4:12, 1:4] = torch.randint(5, 900, (2, 12, 8, 3), generator=generator).float()
    return image


def test_each_kind_by_its_formula() -> None:
    assert set(BRAIN_SCALINGS) == set(SLICE_SCALINGS)
    image = head()
    for kind in BRAIN_SCALINGS:
        out = torch.as_tensor(BrainIntensity(kind)(image))
        assert out.dtype == torch.float32
        for channel, values in zip(out, image, strict=True):
            brain = values != 0
            inside = values[brain].double().numpy()
            low, high = np.percentile(inside, (0.5, 99.5)) if kind == "percentiles" else (inside.min(), inside.max())
            expected = np.clip((inside - low) / (high - low), 0, 1)
            if kind == "report":
                expected = (np.round(255 * expected) / 255 - 0.449) / 0.226
            if kind == "zscore":
                expected = (inside - inside.mean()) / inside.std()
            # one step of 8 bits where a value lies half way
            step = 1 / 255 / 0.226 if kind == "report" else 1e-5
            np.testing.assert_allclose(channel[brain].numpy(), expected, atol=1.01 * step)
            # the brain can be told from the background afterwards
            assert torch.equal(channel != 0, brain)


def test_z_scores_are_what_they_were() -> None:
    image = head(1)
    assert torch.equal(torch.as_tensor(BrainIntensity()(image)), torch.as_tensor(BrainZScore()(image)))


@pytest.mark.parametrize("clahe", [True, "global"])
@pytest.mark.parametrize("kind", BRAIN_SCALINGS)
def test_slices_are_equalised_before(kind: str, clahe: bool | str) -> None:
    image = head(2)
    options = {True: {}, "global": {"clip_limit": 0.0, "tile_grid": 1}}[clahe]
    equalised = torch.stack([torch.as_tensor(CLAHE(**options)(image[..., i])) for i in range(5)], -1)
    brain = (image != 0).to(torch.uint8)
    expected = BrainIntensity(kind)(equalised, brain)
    assert torch.equal(torch.as_tensor(BrainIntensity(kind, clahe)(image)), torch.as_tensor(expected))
    assert not torch.equal(torch.as_tensor(BrainIntensity(kind)(image)), torch.as_tensor(expected))


def test_constant_and_absent_brains_give_no_nan() -> None:
    image = torch.zeros(2, 6, 6, 3)
    image[0, 2:4, 2:4] = 7
    for kind in BRAIN_SCALINGS[1:]:
        out = torch.as_tensor(BrainIntensity(kind)(image))
        assert torch.isfinite(out).all() and torch.equal(out != 0, image != 0)


def test_a_scan_with_air_is_scaled_as_its_brain_alone() -> None:
    """What lies outside the brain plays no part, in the histogram either."""
    alone = MetaTensor(head(3))
    air = torch.where(alone != 0, alone, torch.rand(alone.shape) * 3)
    for kind, clahe in (("unit", False), ("report", True)):
        expected = CaseIntensityd("image", kind, clahe)({"image": alone, "release": "2023"})["image"]
        intensity = BrainIntensity(kind, clahe)
        assert torch.equal(torch.as_tensor(intensity(air, alone != 0)), torch.as_tensor(expected))


def test_words_and_keys() -> None:
    with pytest.raises(ValueError, match="zscore, percentiles, unit, report, got 'volume'"):
        BrainIntensity("volume")
    with pytest.raises(ValueError, match="clahe must be true, false or 'global', got 'local'"):
        BrainIntensity(clahe="local")
    data = BrainIntensityd(("a", "b"), "unit", allow_missing_keys=True)({"a": head()})
    assert torch.equal(torch.as_tensor(data["a"]), torch.as_tensor(BrainIntensity("unit")(head())))
