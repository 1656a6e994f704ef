"""Z-score over the brain."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Compose, EnsureTyped, Flipd, NormalizeIntensity

from ckdmed.transforms import BrainZScore, BrainZScored


def _head(*shape: int, seed: int = 0) -> np.ndarray:
    """Zeros around a brain that holds some negative values, as skull-stripped volumes do."""
    image = np.random.default_rng(seed).normal(50, 40, shape).astype(np.float32)
    image[image == 0] = 1
    image[:, :2] = 0
    return image


def test_by_hand() -> None:
    image = np.array([[[0, 0, 2], [4, 6, 0]]], dtype=np.float32)  # brain 2, 4, 6: mean 4, variance 8/3
    s = np.sqrt(8 / 3)
    out = np.asarray(BrainZScore(background=-9)(image))
    np.testing.assert_allclose(out, [[[-9, -9, -2 / s], [0, 2 / s, -9]]], rtol=1e-6)
    scaled = np.asarray(BrainZScore(background=None)(image))
    np.testing.assert_allclose(scaled, (image - 4) / s, rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 9, 8), (2, 9, 8, 4)])
def test_nonzero_agrees_with_monai(shape: tuple[int, ...]) -> None:
    image = _head(*shape)
    expected = NormalizeIntensity(nonzero=True, channel_wise=True)(image)
    np.testing.assert_allclose(BrainZScore()(image), expected, atol=2e-6)


def test_nonzero_and_positive_differ_on_negative_values() -> None:
    image = np.array([[[0, -2, 2], [4, 6, 0]]], dtype=np.float32)
    nonzero, positive = np.asarray(BrainZScore()(image)), np.asarray(BrainZScore("positive")(image))
    assert nonzero[0, 0, 1] == pytest.approx((-2 - 2.5) / np.std([-2, 2, 4, 6]))
    assert positive[0, 0, 1] == 0 and positive[0, 1, 1] == pytest.approx(2 / np.sqrt(8 / 3))


def test_otsu_takes_the_bright_part() -> None:
    image = np.full((1, 8, 8), 10.0, dtype=np.float32)
    image[0, 2:6, 2:6] = 100 + np.arange(16).reshape(4, 4)
    out = np.asarray(BrainZScore("otsu", background=-5)(image))
    assert (out[0, :2] == -5).all() and out[0, 2:6, 2:6].mean() == pytest.approx(0, abs=1e-6)


def test_channels_apart_or_together() -> None:
    image = _head(2, 12, 12)
    image[1] *= 10
    apart = np.asarray(BrainZScore()(image))
    for channel, before in zip(apart, image):
        assert channel[before != 0].mean() == pytest.approx(0, abs=1e-5)
        assert channel[before != 0].std() == pytest.approx(1, abs=1e-5)
    together = np.asarray(BrainZScore(channel_wise=False)(image))
    assert together[image != 0].std() == pytest.approx(1, abs=1e-5)
    assert together[1][image[1] != 0].std() > 5 * together[0][image[0] != 0].std()


@pytest.mark.parametrize("form", ["plain", "one", "each"])
def test_given_mask(form: str) -> None:
    image = _head(2, 6, 6) + 500
    brain = np.zeros((6, 6), dtype=bool)
    brain[1:4, 2:5] = True
    mask = {"plain": brain, "one": brain[None], "each": np.stack([brain, brain])}[form]
    out = np.asarray(BrainZScore()(image, mask=mask))
    assert (out[:, ~brain] == 0).all()
    np.testing.assert_allclose(out[:, brain].mean(1), 0, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 9, 8), (2, 9, 8, 4)])
@pytest.mark.parametrize("background", [0.0, -4.0, None])
def test_inverse_restores(shape: tuple[int, ...], background: float | None) -> None:
    image = MetaTensor(_head(*shape), affine=torch.eye(4) * 2, meta={"patient": "p"})
    transform = BrainZScore(background=background)
    out = transform(image)
    assert len(out.applied_operations) == 1 and out.meta["patient"] == "p"
    back = transform.inverse(out)
    np.testing.assert_allclose(back, image, atol=2e-4)
    assert back.meta["patient"] == "p" and back.applied_operations == []
    if background is not None:
        assert ((back == 0) == (image == 0)).all()


def test_brain_value_at_the_mean_is_not_taken_for_background() -> None:
    image = MetaTensor(torch.tensor([[[0.0, 2.0, 4.0, 6.0]]]))
    transform = BrainZScore()
    out = transform(image)
    assert ((out != 0) == (image != 0)).all()
    np.testing.assert_allclose(transform.inverse(out), image, atol=1e-5)


def test_inverse_through_a_chain_and_a_loader() -> None:
    items = [{"image": _head(1, 6, 5, seed=i)} for i in range(3)]
    chain = Compose([EnsureTyped("image"), BrainZScored("image"), Flipd("image", spatial_axis=0)])
    batch = next(iter(DataLoader(Dataset(items, chain), batch_size=3)))
    assert batch["image"].shape == (3, 1, 6, 5)
    for item, out in zip(items, decollate_batch(batch)):
        np.testing.assert_allclose(chain.inverse(out)["image"], item["image"], atol=1e-4)


def test_degenerate_brains() -> None:
    flat = np.zeros((1, 4, 4), dtype=np.float32)
    flat[0, 1:3] = 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = np.asarray(BrainZScore(background=-1)(flat))
    np.testing.assert_allclose(out[0, 1:3], 0, atol=1e-6)
    assert (out[0, 0] == -1).all()
    empty = np.zeros((1, 4, 4), dtype=np.float32)
    with pytest.warns(UserWarning, match="no brain voxel in channel 0"):
        assert (np.asarray(BrainZScore(background=-1)(empty)) == -1).all()
    with pytest.warns(UserWarning, match="no brain voxel in channel 0"):
        assert (np.asarray(BrainZScore("otsu", background=None)(empty + 3)) == 3).all()
    with pytest.warns(UserWarning, match="no brain voxel in the image"):
        BrainZScore(channel_wise=False)(empty)


def test_kinds_of_input_agree() -> None:
    image = np.round(_head(1, 8, 8))
    expected = BrainZScore()(image)
    assert isinstance(expected, MetaTensor) and expected.dtype == torch.float32
    for other in (torch.as_tensor(image), MetaTensor(image), image.astype(np.int16), torch.as_tensor(image).double()):
        np.testing.assert_array_equal(BrainZScore()(other), expected)


def test_dictionary_twin() -> None:
    image, brain = _head(2, 6, 6) + 500, np.zeros((1, 6, 6), dtype=np.uint8)
    brain[0, 2:5, 1:4] = 1
    data = {"t1": image, "t2": 2 * image, "brain": brain}
    out = BrainZScored(("t1", "t2"), mask_key="brain", background=-3)(data)
    for key in ("t1", "t2"):
        np.testing.assert_array_equal(out[key], BrainZScore(background=-3)(data[key], brain))
    np.testing.assert_array_equal(out["brain"], brain)
    assert BrainZScored("absent", allow_missing_keys=True)(data).keys() == data.keys()
    with pytest.raises(KeyError, match="needs the mask under the key 'skull'"):
        BrainZScored("t1", mask_key="skull")(data)


def test_errors() -> None:
    with pytest.raises(ValueError, match="nonzero, positive, otsu, got 'brain'"):
        BrainZScore("brain")
    with pytest.raises(ValueError, match=r"mask of shape \(3, 6, 6\) does not fit the image of shape \(2, 6, 6\)"):
        BrainZScore()(_head(2, 6, 6), mask=np.ones((3, 6, 6)))
    with pytest.raises(ValueError, match="NaN or infinite"):
        BrainZScore()(np.full((1, 4, 4), np.nan))
