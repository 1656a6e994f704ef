"""MONAI's augmentation on our items, and the ready-made chains of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import CacheDataset, DataLoader, MetaTensor
from monai.transforms import (
    Compose,
    EnsureTyped,
    NormalizeIntensityd,
    Rand2DElasticd,
    Rand3DElasticd,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandRotated,
    RandScaleIntensityd,
    Resized,
)

from ckdmed.transforms import IMAGENET_MEAN, IMAGENET_STD, FlipStated, GreyToRGBd, segmentation_augmentation

KEYS = ("image", "label")
MODES: dict[str, Any] = {"mode": ("bilinear", "nearest"), "padding_mode": ("border", "zeros")}


def _checkerboard(spatial_dims: int = 2, size: int = 48, square: int = 12) -> dict[str, Any]:
    """An image that is its own mask: whatever moves one and not the other shows."""
    board = (np.indices((size,) * spatial_dims) // square).sum(0) % 2
    board[:square, :square] = 1  # no symmetry that would hide a flip
    return {
        "image": MetaTensor(board[None].astype(np.float32)),
        "label": MetaTensor(torch.as_tensor(board[None].astype(np.uint8)), meta={"patient": "p"}),
    }


def _agreement(out: dict[str, Any]) -> float:
    image, label = np.asarray(out["image"])[0] > 0.5, np.asarray(out["label"])[0] > 0
    margin = image.shape[0] // 6
    inside = (slice(margin, -margin),) * image.ndim  # at the rim, a border is repeated in the image and 0 in the mask
    return float((image == label)[inside].mean())


MOVERS_2D = {
    "flip": RandFlipd(KEYS, prob=1.0, spatial_axis=0),
    "rotate": RandRotated(KEYS, prob=1.0, range_x=0.4, **MODES),
    "affine": RandAffined(KEYS, prob=1.0, rotate_range=0.3, shear_range=(0.1, 0.1), scale_range=(0.1, 0.1), **MODES),
    "elastic": Rand2DElasticd(KEYS, prob=1.0, spacing=(8, 8), magnitude_range=(1, 2), **MODES),
}


@pytest.mark.parametrize("name", MOVERS_2D)
def test_monai_moves_image_and_mask_alike(name: str) -> None:
    item, mover = _checkerboard(), MOVERS_2D[name]
    for seed in range(3):
        out = mover.set_random_state(seed)(dict(item))
        assert _agreement(out) > 0.97
        assert not np.allclose(out["image"], item["image"])
        assert set(np.unique(out["label"])) <= {0, 1}
    if name == "flip":
        assert out["label"].dtype == torch.uint8 and _agreement(out) == 1


def test_monai_moves_volumes_alike() -> None:
    item = _checkerboard(3, size=24, square=6)
    for mover in (
        RandFlipd(KEYS, prob=1.0, spatial_axis=2),
        RandAffined(KEYS, prob=1.0, rotate_range=(0.2, 0.2, 0.2), **MODES),
        Rand3DElasticd(KEYS, prob=1.0, sigma_range=(3, 4), magnitude_range=(20, 30), **MODES),
    ):
        out = mover.set_random_state(0)(dict(item))
        assert _agreement(out) > 0.9 and not np.allclose(out["image"], item["image"])


@pytest.mark.parametrize(
    "changer",
    [
        RandGaussianNoised("image", prob=1.0, std=0.1),
        RandAdjustContrastd("image", prob=1.0, gamma=(1.5, 2.0)),
        RandScaleIntensityd("image", prob=1.0, factors=(0.1, 0.2)),
    ],
)
def test_intensity_leaves_the_mask(changer: Any) -> None:
    item = _checkerboard()
    item["image"] = 0.2 + 0.5 * item["image"] * torch.linspace(0.5, 1, 48)
    out = changer.set_random_state(0)(dict(item))
    assert not np.allclose(out["image"], item["image"])
    assert torch.equal(out["label"], item["label"]) and out["label"].dtype == torch.uint8


def test_resize_keeps_masks_binary() -> None:
    out = Resized(KEYS, spatial_size=(20, 20), mode=("bilinear", "nearest"))(_checkerboard())
    assert out["image"].shape == out["label"].shape == (1, 20, 20)
    assert set(np.unique(out["label"])) == {0, 1}
    assert out["label"].meta["patient"] == "p"


def test_imagenet_statistics() -> None:
    chain = Compose(
        [
            GreyToRGBd("image"),
            NormalizeIntensityd("image", subtrahend=IMAGENET_MEAN, divisor=IMAGENET_STD, channel_wise=True),
        ]
    )
    out = chain({"image": np.full((1, 4, 4), 0.5, dtype=np.float32)})["image"]
    expected = [(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225]
    np.testing.assert_allclose(out[:, 0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("level", ["flips", "report", "strong"])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_levels_move_image_and_mask_alike(level: str, spatial_dims: int) -> None:
    size = 48 if spatial_dims == 2 else 24
    item = _checkerboard(spatial_dims, size, size // 4)
    chain = segmentation_augmentation(level, spatial_dims=spatial_dims, img_size=size).set_random_state(0)
    n = 24 if spatial_dims == 2 else 8
    outs = [chain(dict(item)) for _ in range(n)]
    assert len({np.asarray(out["label"]).tobytes() for out in outs}) > (3 if level == "flips" else n // 3)
    for out in outs:
        assert out["image"].shape == item["image"].shape and out["image"].dtype == torch.float32
        assert out["label"].dtype == torch.uint8 and set(np.unique(out["label"])) <= {0, 1}
        assert torch.isfinite(out["image"]).all() and out["label"].meta["patient"] == "p"
        assert level != "flips" or _agreement(out) == 1
    # Noise, contrast and brightness may push a grey value past the threshold; most pixels must agree.
    assert np.mean([_agreement(out) for out in outs]) > (0.95 if spatial_dims == 2 else 0.85)


@pytest.mark.parametrize("level", ["none", "flips", "report"])
@pytest.mark.parametrize("track_meta", [True, False])
def test_types_do_not_depend_on_the_level(level: str, track_meta: bool) -> None:
    item = {"image": np.zeros((1, 16, 16), dtype=np.uint8), "label": np.zeros((1, 16, 16), dtype=np.float32)}
    out = segmentation_augmentation(level, img_size=16, track_meta=track_meta).set_random_state(0)(item)
    kind = MetaTensor if track_meta else torch.Tensor
    assert type(out["image"]) is type(out["label"]) is kind
    assert (out["image"].dtype, out["label"].dtype) == (torch.float32, torch.uint8)


@pytest.mark.parametrize(("spatial_dims", "axis"), [(2, 2), (3, 1)])
def test_horizontal_flips_alone(spatial_dims: int, axis: int) -> None:
    item = _checkerboard(spatial_dims, 16, 4)
    item["image"] = item["image"] + torch.arange(16.0**spatial_dims).reshape(1, *(16,) * spatial_dims) / 1e4
    chain = segmentation_augmentation("horizontal", spatial_dims=spatial_dims, img_size=16).set_random_state(0)
    outs = [chain(dict(item)) for _ in range(40)]
    flipped = [not np.allclose(out["image"], item["image"]) for out in outs]
    assert 10 < sum(flipped) < 30
    for out, was in zip(outs, flipped):
        expected = item["image"].flip(axis) if was else item["image"]
        assert np.allclose(out["image"], expected) and out["flips"] == (1 << (axis - 1)) * was


def test_flips_happen_in_half_of_the_samples_per_axis() -> None:
    chain = segmentation_augmentation("flips").set_random_state(0)
    item = {"image": torch.arange(16.0).reshape(1, 4, 4), "label": torch.zeros(1, 4, 4, dtype=torch.uint8)}
    corners = [int(chain(dict(item))["image"][0, 0, 0]) for _ in range(400)]
    for corner in (0, 3, 12, 15):  # binomial with n 400, p 1/4: sd 8.7
        assert 65 < corners.count(corner) < 135


def test_equal_seeds_give_equal_samples() -> None:
    item = _checkerboard()
    first, second, other = (
        segmentation_augmentation("strong", img_size=48).set_random_state(seed)(dict(item))["image"]
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_none_and_missing_masks() -> None:
    item = _checkerboard()
    out = segmentation_augmentation("none")(dict(item))
    assert torch.equal(out["image"], item["image"]) and torch.equal(out["label"], item["label"])
    unlabelled = segmentation_augmentation("report", allow_missing_keys=True, img_size=48).set_random_state(0)
    for _ in range(5):
        assert set(unlabelled({"image": item["image"]})) == {"image"}
    assert set(segmentation_augmentation("report", keys=("image",), img_size=48)({"image": item["image"]})) == {"image"}
    with pytest.raises(RuntimeError, match="RandFlipd") as caught:
        segmentation_augmentation("flips")({"image": item["image"]})
    assert "label" in str(caught.value.__cause__)


def test_in_a_cached_chain_from_a_config() -> None:
    parser = ConfigParser(
        {"augment": {"_target_": "ckdmed.transforms.segmentation_augmentation", "level": "report", "img_size": 48}}
    )
    chain = Compose([EnsureTyped(KEYS), parser.get_parsed_content("augment")]).set_random_state(0)
    data = CacheDataset([_checkerboard() for _ in range(2)], chain, progress=False)
    draws = [next(iter(DataLoader(data, batch_size=2))) for _ in range(6)]
    assert draws[0]["image"].shape == (2, 1, 48, 48)
    assert len({np.asarray(batch["image"]).tobytes() for batch in draws}) > 1  # nothing random is in the cache


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"level": "wild"}, "none, horizontal, flips, report, strong, got 'wild'"),
        ({"keys": "image"}, "keys must be a sequence"),
        ({"keys": ()}, "keys must be a sequence"),
        ({"spatial_dims": 1}, "2 or 3, got 1"),
        ({"img_size": 4}, "at least 8 pixels, got 4"),
    ],
)
def test_errors(options: dict, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        segmentation_augmentation(**options)


def test_the_batch_tells_how_a_sample_was_flipped() -> None:
    chain = segmentation_augmentation("flips", img_size=16, track_meta=False).set_random_state(3)
    image = torch.arange(256.0).reshape(1, 16, 16)
    seen = set()
    for _ in range(30):
        out = chain({"image": image, "label": image > 99})
        axes = [dim for bit, dim in ((1, 1), (2, 2)) if out["flips"] & bit]
        assert torch.equal(out["image"], image.flip(axes))
        seen.add(out["flips"])
    assert seen == {0, 1, 2, 3}
    assert "flips" not in segmentation_augmentation("none")({"image": image, "label": image > 99})


@pytest.mark.parametrize("axis", [None, (0, 1), -1])
def test_only_flips_of_one_named_axis_are_told(axis: Any) -> None:
    with pytest.raises(ValueError, match="one spatial axis"):
        FlipStated([RandFlipd("image", spatial_axis=axis)])
