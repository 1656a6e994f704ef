"""Eight-bit rescaling and grey to three channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, EnsureTyped, NormalizeIntensityd, ScaleIntensityRanged

from ckdmed.transforms import IMAGENET_MEAN, IMAGENET_STD, EightBit, EightBitd, GreyToRGB, GreyToRGBd

SHAPES = [(1, 7, 9), (2, 5, 6, 4)]


def _image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-50, 2000, shape).astype(np.int16)


def test_eight_bit_by_hand() -> None:
    image = np.array([[[-10, 0, 10], [20, 30, 41]]], dtype=np.int16)  # 255 / 51 = 5 per unit
    out = EightBit()(image)
    assert out.dtype == torch.uint8
    np.testing.assert_array_equal(out, [[[0, 50, 100], [150, 200, 255]]])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channel_wise", [False, True])
def test_eight_bit_inverse_is_right_to_half_a_step(shape: tuple[int, ...], channel_wise: bool) -> None:
    image = MetaTensor(_image(*shape), meta={"patient": "p"})
    transform = EightBit(channel_wise=channel_wise)
    out = transform(image)
    back = transform.inverse(out)
    assert out.meta["patient"] == back.meta["patient"] == "p" and back.applied_operations == []
    assert back.dtype == torch.float32
    step = float(image.max() - image.min()) / 255
    assert np.abs(np.asarray(back) - np.asarray(image)).max() <= 0.5 * step + 1e-3


def test_eight_bit_channels() -> None:
    image = np.stack([np.arange(4), 10 * np.arange(4)])[:, None].astype(np.float32)
    np.testing.assert_array_equal(EightBit(channel_wise=True)(image), np.stack([85 * np.arange(4)] * 2)[:, None])
    np.testing.assert_array_equal(EightBit()(image)[0, 0], np.round(255 * np.arange(4) / 30))


def test_eight_bit_constant_and_types() -> None:
    transform = EightBit(dtype=np.float32)
    out = transform(np.full((1, 3, 3), 7.0))
    assert out.dtype == torch.float32 and (out == 0).all()
    assert (transform.inverse(out) == 7).all()
    image = _image(1, 6, 6)
    for other in (torch.as_tensor(image), MetaTensor(image), image.astype(np.float64)):
        np.testing.assert_array_equal(EightBit()(other), EightBit()(image))
    with pytest.raises(ValueError, match="NaN or infinite"):
        EightBit()(np.array([[[0.0, np.inf]]]))


@pytest.mark.parametrize("shape", [(1, 7, 9), (1, 5, 6, 4)])
def test_grey_to_rgb_and_back(shape: tuple[int, ...]) -> None:
    image = MetaTensor(_image(*shape), meta={"patient": "p"}, affine=torch.eye(4) * 3)
    transform = GreyToRGB()
    out = transform(image)
    assert out.shape == (3, *shape[1:]) and out.dtype == image.dtype and out.meta["patient"] == "p"
    assert all((out[i] == image[0]).all() for i in range(3))
    back = transform.inverse(out)
    assert back.dtype == image.dtype and back.applied_operations == []
    np.testing.assert_array_equal(back, image)
    torch.testing.assert_close(back.affine, image.affine)


def test_grey_to_rgb_inverse_of_different_channels_is_their_mean() -> None:
    transform = GreyToRGB()
    out = transform(MetaTensor(torch.zeros(1, 2, 2)))
    out += torch.tensor([1.0, 2.0, 6.0])[:, None, None]
    np.testing.assert_allclose(transform.inverse(out), np.full((1, 2, 2), 3.0))


def test_grey_to_rgb_refuses_modalities() -> None:
    with pytest.raises(ValueError, match=r"one channel first, got shape \(4, 8, 8\)"):
        GreyToRGB()(np.zeros((4, 8, 8)))
    with pytest.raises(RuntimeError, match="GreyToRGB"):
        GreyToRGB().inverse(GreyToRGB()(np.zeros((1, 2, 2))))


def test_imagenet_chain_of_the_docstring() -> None:
    chain = Compose(
        [
            EnsureTyped("image"),
            EightBitd("image"),
            GreyToRGBd("image"),
            ScaleIntensityRanged("image", a_min=0, a_max=255, b_min=0, b_max=1),
            NormalizeIntensityd("image", subtrahend=IMAGENET_MEAN, divisor=IMAGENET_STD, channel_wise=True),
        ]
    )
    images = [_image(1, 6, 6, seed=i) for i in range(2)]
    batch = next(iter(DataLoader(Dataset([{"image": i} for i in images], chain), batch_size=2)))
    for image, out in zip(images, batch["image"]):
        unit = np.round(255.0 * (image[0] - image.min()) / (image.max() - image.min())) / 255
        for channel, mean, std in zip(np.asarray(out), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)):
            np.testing.assert_allclose(channel, (unit - mean) / std, atol=1e-5)


def test_dictionary_twins_invert_and_skip_missing_keys() -> None:
    image = _image(1, 6, 6)
    chain = Compose([EightBitd(("image", "no"), allow_missing_keys=True), GreyToRGBd("image")])
    out = chain({"image": image})
    assert out["image"].shape == (3, 6, 6) and set(out) == {"image"}
    np.testing.assert_allclose(chain.inverse(out)["image"], image, atol=0.5 * 2050 / 255)
    assert GreyToRGBd("no", allow_missing_keys=True)({"image": image}).keys() == {"image"}
    with pytest.raises(KeyError, match="no"):
        EightBitd("no")({"image": image})
