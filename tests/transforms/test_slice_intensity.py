from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Resized
from skimage.exposure import equalize_adapthist, equalize_hist

from ckdmed.transforms import SliceIntensity, SliceIntensityd, classification_scaling, imagenet_input, imagenet_slices
from ckdmed.transforms.slice_intensity import SLICE_SCALINGS


def slices(seed: int = 0, count: int = 2, size: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 4000, (count, size, size), generator=generator).float()


def test_each_kind_by_its_formula() -> None:
    x = slices()
    flat = x.flatten(1).double()
    low, high = (torch.from_numpy(np.percentile(flat.numpy(), q, axis=1))[:, None, None] for q in (0.5, 99.5))
    expected = {
        "percentiles": ((x - low) / (high - low)).clamp(0, 1),
        "unit": (x - flat.amin(1)[:, None, None]) / (flat.amax(1) - flat.amin(1))[:, None, None],
        "zscore": (x - flat.mean(1)[:, None, None]) / flat.std(1, unbiased=False)[:, None, None],
    }
    expected["report"] = ((255 * expected["unit"]).round() / 255 - 0.449) / 0.226
    assert set(expected) == set(SLICE_SCALINGS)
    for kind, value in expected.items():
        found = SliceIntensity(kind)(x)
        tolerance = 0.02 if kind == "report" else 1e-5  # a half step of rounding
        torch.testing.assert_close(torch.as_tensor(found).double(), value, rtol=0, atol=tolerance)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(SLICE_SCALINGS), st.sampled_from([False, True, "global"]), st.integers(0, 99))
def test_a_slice_is_scaled_alike_alone_and_among_others(kind: str, clahe: bool | str, seed: int) -> None:
    x = slices(seed, 3)
    x[1] = 7.0  # a constant one gives no NaN and does not touch its neighbours
    together = torch.as_tensor(SliceIntensity(kind, clahe)(x))
    assert torch.isfinite(together).all()
    for index in range(3):
        alone = torch.as_tensor(SliceIntensity(kind, clahe)(x[index : index + 1]))
        torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("clahe", [False, True, "global"])
def test_percentiles_stay_in_their_range_where_next_to_nothing_is_shown(clahe: bool | str) -> None:
    # the top of a skull-stripped head: both percentiles are the background's 0
    x = torch.zeros(2, 100, 100)
    x[0, 40:46, 40:46] = 1500.0
    x[1] = 900.0
    x[1, 40:43, 40:43] = 3.0
    classified = classification_scaling("percentiles", 100, clahe=clahe)({"image": x})["image"]
    for found in (SliceIntensity("percentiles", clahe)(x), classified):
        assert found.min() >= 0 and found.max() <= 1
    shown = torch.as_tensor(SliceIntensity("percentiles")(x))
    assert torch.equal(shown[0], (x[0] > 0).float()) and torch.equal(shown[1], torch.zeros(100, 100))


def test_equalisation_is_scikit_images() -> None:
    x = slices(3, 1, 64)
    unit = (x[0] - x.min()) / (x.max() - x.min())
    tiles = torch.as_tensor(SliceIntensity("unit", True)(x))[0].numpy()
    reference = equalize_adapthist(unit.numpy(), kernel_size=8, clip_limit=0.01)
    reference = (reference - reference.min()) / (reference.max() - reference.min())
    np.testing.assert_allclose(tiles, reference, atol=1e-4)
    whole = torch.as_tensor(SliceIntensity("unit", "global")(x))[0].numpy()
    order = np.argsort(x[0].numpy().ravel())
    assert (np.diff(whole.ravel()[order]) >= -1e-6).all()
    assert np.abs(np.quantile(whole, [0.25, 0.5, 0.75]) - [0.25, 0.5, 0.75]).max() < 0.03
    assert np.abs(equalize_hist(unit.numpy()).mean() - whole.mean()) < 0.03


@pytest.mark.parametrize("kind", SLICE_SCALINGS)
def test_intensities_are_not_undone_with_the_grid(kind: str) -> None:
    data = {"image": MetaTensor(slices(count=1))}
    chain = Compose([SliceIntensityd("image", kind), Resized("image", (20, 20))])
    made = chain(data)
    made["pred"] = MetaTensor(torch.full((1, 20, 20), 0.25))
    back = Invertd("pred", chain, orig_keys="image", nearest_interp=False)(made)["pred"]
    assert back.shape == (1, 40, 40) and torch.allclose(back, torch.tensor(0.25))


def test_z_scores_are_standardised_once() -> None:
    x = classification_scaling("zscore", 32)({"image": slices(count=1)})["image"]
    network_input = imagenet_input(scaling="zscore")({"image": x})["image"]
    torch.testing.assert_close(network_input, x.repeat(3, 1, 1))
    torch.testing.assert_close(imagenet_slices(x, scaling="zscore")[0], network_input)
    assert not torch.allclose(imagenet_input()({"image": x})["image"], network_input)


@pytest.mark.parametrize("kind", SLICE_SCALINGS)
@pytest.mark.parametrize("clahe", [False, True])
def test_the_given_image_stays_as_it_is(kind: str, clahe: bool) -> None:
    image = np.random.default_rng(0).uniform(1, 200, (1, 16, 16)).astype(np.float32)
    for shown in (image.copy(), torch.from_numpy(image.copy())):
        SliceIntensity(kind, clahe)(shown)
        assert np.array_equal(np.asarray(shown), image)


def test_unknown_words() -> None:
    with pytest.raises(ValueError, match="percentiles, unit, zscore, report, got 'minmax'"):
        SliceIntensity("minmax")
    with pytest.raises(ValueError, match="true, false or 'global', got 'local'"):
        SliceIntensity("unit", "local")
