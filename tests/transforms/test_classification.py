from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import NormalizeIntensity

from ckdmed.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    classification_augmentation,
    classification_scaling,
    imagenet_input,
    imagenet_slices,
)
from ckdmed.transforms.classification import imagenet_statistics


def ramp(size: int = 32) -> torch.Tensor:
    values = torch.arange(size * size, dtype=torch.float32).reshape(1, size, size)
    return MetaTensor(values[:, torch.randperm(size)])


def test_percentiles_end_with_minimum_0_and_maximum_1_whatever_the_raw_range():
    image = ramp()
    first = classification_scaling("percentiles", 16)({"image": image})["image"]
    other = classification_scaling("percentiles", 16)({"image": 37.0 * image + 1200})["image"]
    assert first.shape == (1, 16, 16) and (float(first.min()), float(first.max())) == (0.0, 1.0)
    torch.testing.assert_close(first, other, atol=1e-4, rtol=0)


def test_percentiles_are_not_moved_by_one_bright_pixel():
    image = ramp()
    spiked = image.clone()
    spiked[0, 5, 5] = 1e6
    first, other = (classification_scaling("percentiles", 32)({"image": x})["image"] for x in (image, spiked))
    assert float((first - other).abs().median()) < 0.01
    literal = classification_scaling("report", 32)({"image": spiked})["image"]
    assert float(literal.median()) < 0.01


def test_report_is_eight_bits_then_resized():
    image = ramp(8)
    got = classification_scaling("report", 8)({"image": image})["image"]
    expected = np.round(255 * np.asarray(image) / 63) / 255
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)
    # averaging 2 x 2 pixels lowers the brightest: each image keeps a maximum of its own
    noisy = classification_scaling("report", 8)({"image": MetaTensor(torch.rand(1, 16, 16))})["image"]
    assert 0.6 < float(noisy.max()) < 0.999


@pytest.mark.parametrize("scaling", ["percentiles", "report"])
def test_slices_are_scaled_each_by_itself(scaling: str):
    one, two = ramp(), ramp()
    chain = classification_scaling(scaling, 16)
    together = chain({"image": MetaTensor(torch.cat([one, 1000 + 3 * two]))})["image"]
    for got, image in zip(together, (one, two)):
        torch.testing.assert_close(got[None], chain({"image": image})["image"], atol=1e-4, rtol=0)


def test_imagenet_input_by_hand():
    image = torch.rand(1, 4, 4)
    got = imagenet_input()({"image": image})["image"]
    for channel in range(3):
        torch.testing.assert_close(got[channel], (image[0] - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel])
    torch.testing.assert_close(imagenet_slices(image)[0], got)
    assert imagenet_slices(torch.rand(5, 4, 4)).shape == (5, 3, 4, 4)


@pytest.mark.parametrize("scaling", ["percentiles", "zscore"])
@pytest.mark.parametrize("modalities", [1, 2])
def test_imagenet_input_is_what_monai_makes(scaling: str, modalities: int) -> None:
    image = MetaTensor(torch.rand(modalities, 5, 4, generator=torch.Generator().manual_seed(0)) * 3)
    mean, std = imagenet_statistics(modalities, scaling)
    normalise = NormalizeIntensity(torch.tensor(mean), torch.tensor(std), channel_wise=True)
    got = imagenet_input(modalities=modalities, scaling=scaling)({"image": image})["image"]
    assert torch.equal(got, normalise(image.as_tensor().expand(len(mean), -1, -1).clone()).as_tensor())
    assert type(got) is torch.Tensor and got.dtype == torch.float32
    (step,) = imagenet_input(modalities=modalities, scaling=scaling).transforms
    with pytest.raises(ValueError, match=r"'image' must have (one channel|2 channels) first, got shape \(3, 5, 4\)"):
        step({"image": torch.rand(3, 5, 4)})


def test_flip_exchanges_left_and_right_in_half_of_the_samples():
    chain = classification_augmentation("flips", 8)
    chain.set_random_state(seed=0)
    image = torch.rand(1, 8, 8)
    seen = [chain({"image": image})["image"] for _ in range(200)]
    flipped = sum(bool(torch.equal(x, image.flip(-1))) for x in seen)
    assert flipped + sum(bool(torch.equal(x, image)) for x in seen) == 200
    assert 70 < flipped < 130


def test_levels():
    image = torch.rand(1, 32, 32)
    assert torch.equal(classification_augmentation("none", 32)({"image": image})["image"], image)
    strong = classification_augmentation("strong", 32).set_random_state(seed=1)({"image": image})["image"]
    assert strong.shape == image.shape and not torch.equal(strong, image)


def test_refusals():
    with pytest.raises(
        ValueError, match="scaling must be one of percentiles, unit, zscore, report, volume, got 'mine'"
    ):
        classification_scaling("mine")
    with pytest.raises(ValueError, match="at least 8 pixels, got 4"):
        classification_scaling("percentiles", 4)
    with pytest.raises(
        ValueError, match="augmentation must be one of none, horizontal, flips, report, strong, got 'flip'"
    ):
        classification_augmentation("flip")


def test_several_modalities_keep_their_channels_and_share_one_scale() -> None:
    image = torch.rand(3, 2, 8, 8)
    mean, std = (0.485 + 0.456 + 0.406) / 3, (0.229 + 0.224 + 0.225) / 3
    expected = (image - mean) / std
    got = imagenet_slices(image.flatten(0, 1), 2)
    torch.testing.assert_close(got, expected)
    for one, wanted in zip(image, expected):
        torch.testing.assert_close(imagenet_input(modalities=2)({"image": one})["image"], wanted)
    assert imagenet_slices(torch.rand(5, 8, 8)).shape == (5, 3, 8, 8)
    with pytest.raises(ValueError, match="at least one modality is needed, got 0"):
        imagenet_input(modalities=0)


def test_scaling_by_the_volume_leaves_the_values_of_a_slice() -> None:
    image = torch.rand(2, 16, 16) * 0.5
    got = classification_scaling("volume", 16)({"image": image})["image"]
    torch.testing.assert_close(got, image)
    assert classification_scaling("volume", 8)({"image": image})["image"].shape == (2, 8, 8)
