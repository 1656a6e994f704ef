from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from ckdmed.transforms import (
    BrainMaskd,
    BrainUnitRange,
    MultiResolutiond,
    SelectModalitiesd,
    brain_mask,
    volume_preparation,
)

LPS = np.diag([-1.0, -1, 1, 1])


def tensor(array: np.ndarray, affine: np.ndarray = LPS) -> MetaTensor:
    values = torch.from_numpy(np.ascontiguousarray(array, np.float32))
    return MetaTensor(values[None], affine=torch.from_numpy(affine))


def stripped(shape=(10, 12, 8), seed=0) -> np.ndarray:
    image = np.zeros(shape, np.float32)
    image[2:-2, 2:-2, 2:-2] = np.random.default_rng(seed).uniform(5, 50, tuple(s - 4 for s in shape))
    return image


def test_a_volume_on_the_grid_is_not_resampled():
    image, seg = stripped(), (stripped() > 30).astype(np.float32)
    out = volume_preparation(["t1n"], "label", normalise="none")({"t1n": tensor(image), "label": tensor(seg)})
    assert np.array_equal(out["image"][0], image) and np.array_equal(out["label"][0], seg)
    assert np.array_equal(out["brain"][0], image != 0)
    assert out["image"].dtype == torch.float32 and out["label"].dtype == out["brain"].dtype == torch.uint8
    assert "t1n" not in out


def test_orientation_turns_by_whole_quarters():
    image = stripped()
    ras = np.array([[1.0, 0, 0, -9], [0, 1, 0, -11], [0, 0, 1, 0], [0, 0, 0, 1]])
    out = volume_preparation(["t1n"], normalise="none")({"t1n": tensor(image[::-1, ::-1], ras)})
    assert np.array_equal(out["image"][0], image)
    assert np.allclose(out["image"].affine, LPS)


def test_volumes_on_other_grids_come_to_the_same_places():
    """A linear function of the place in millimetres is sampled exactly by linear interpolation, on whatever grid."""
    tilt = np.deg2rad(10)
    rotation = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    thick = np.eye(4)
    thick[:3, :3] = rotation @ np.diag([-0.9, -0.9, 5.0])
    thick[:3, 3] = (22, 26, -18)

    def ramp(shape, affine):
        places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij") + (np.ones(shape),), -1) @ affine.T
        return 100 + places[..., :3] @ np.array([1.0, 2.0, 3.0])

    fine = np.diag([-1.0, -1, 1, 1])
    fine[:3, 3] = (8, 8, 0)
    data = {"t1n": tensor(ramp((12, 12, 10), fine), fine), "t2w": tensor(ramp((50, 60, 10), thick), thick)}
    out = volume_preparation(["t1n", "t2w"], brain_method="nonzero", normalise="none")(data)
    assert out["image"].shape == (2, 12, 12, 10)
    assert np.abs(out["image"][0] - out["image"][1]).max() < 0.01
    flipped = volume_preparation(
        ["t1n", "t2w"], reference="t2w", spacing=None, brain_method="nonzero", normalise="none"
    )(data)
    assert flipped["image"].shape == (2, 50, 60, 10)


def test_spacing_and_size():
    thick = np.diag([-2.0, -2, 4, 1])
    image = np.full((10, 10, 5), 7.0)
    out = volume_preparation(["t1c"], brain_method="nonzero", normalise="none", size=(24, 16, 20))(
        {"t1c": tensor(image, thick)}
    )
    assert out["image"].shape == (1, 24, 16, 20)
    assert np.allclose(np.linalg.norm(out["image"].affine[:3, :3], axis=0), 1)
    inside = out["image"][0, 4:-4, 2:-2, 3:-3]
    assert np.allclose(inside, 7)


def test_masks_stay_whole_numbers():
    labels = np.random.default_rng(0).choice([0, 1, 2, 4], (8, 8, 4))
    data = {"t1n": tensor(stripped((8, 8, 4)) + 1, np.diag([-1.0, -1, 2, 1])), "label": None}
    data["label"] = tensor(labels, np.diag([-1.0, -1, 2, 1]))
    out = volume_preparation(["t1n"], "label", brain_method="nonzero")(data)
    assert out["label"].shape[-1] in (7, 8) and set(np.unique(out["label"])) == {0, 1, 2, 4}


def test_normalisation_is_over_the_brain():
    image = stripped()
    z = volume_preparation(["t1n"])({"t1n": tensor(image)})["image"][0].numpy()
    assert abs(z[image != 0].mean()) < 1e-5 and abs(z[image != 0].std() - 1) < 1e-4 and not z[image == 0].any()
    unit = volume_preparation(["t1n"], normalise="unit")({"t1n": tensor(image)})["image"][0].numpy()
    assert unit.min() == 0 and unit.max() == 1 and not unit[image == 0].any()
    plain = volume_preparation(["t1n"], normalise="none", clahe=True)({"t1n": tensor(image)})["image"][0].numpy()
    assert 0 <= plain.min() and plain.max() <= 1 and not plain[image == 0].any()
    assert not np.allclose(plain[image != 0], image[image != 0])


def test_a_given_brain_mask_is_used():
    image = stripped() + 1
    half = np.zeros(image.shape)
    half[5:] = 1
    out = volume_preparation(["t1n"], given_brain=True)({"t1n": tensor(image), "brain": tensor(half)})
    assert np.array_equal(out["brain"][0], half) and not out["image"][0, :5].any()


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"modalities": []}, "at least one modality"),
        ({"normalise": "minmax"}, "normalise must be one of"),
        ({"orientation": "LPX"}, "an orientation must be three letters"),
        ({"orientation": "LRS"}, "an orientation must be three letters"),
        ({"spacing": (1, 1)}, "spacing must be three positive"),
        ({"size": (8, 8, 0)}, "size must be three positive"),
        ({"reference": "t2w"}, "the reference must be one of t1n"),
    ],
)
def test_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        volume_preparation(**{"modalities": ["t1n"], **kwargs})


def test_brain_of_stripped_images_holds_negative_values():
    image = stripped()
    image[4, 4, 4] = -3
    other = np.zeros_like(image)
    other[1, 1, 1] = 5
    assert np.array_equal(brain_mask([image, other]), (image != 0) | (other != 0))


def test_tissue_is_the_filled_head_without_noise():
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in (40, 40, 12)], indexing="ij")
    radius = np.sqrt(x**2 + y**2 + 0.2 * z**2)
    image = np.where(radius < 0.7, 100.0, 0) * np.where(radius < 0.3, 0.05, 1) + np.abs(rng.normal(0, 3, x.shape))
    image[0, 0, 0] = 120  # a bright voxel in the air
    found = brain_mask([image.astype(np.float32)])
    truth = radius < 0.7
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.97
    assert found[20, 20, 6] and not found[0, 0, 0]


def test_brain_mask_errors():
    with pytest.raises(ValueError, match="the images are constant"):
        brain_mask([np.zeros((4, 4, 4))])
    with pytest.raises(ValueError, match="one of auto, nonzero, tissue"):
        brain_mask([stripped()], "bet")
    with pytest.raises(ValueError, match="images of one shape"):
        brain_mask([np.ones((3, 3)), np.ones((4, 4))])
    with pytest.raises(ValueError, match="one of auto"):
        BrainMaskd("image", method="bet")


def test_unit_range_by_hand():
    image = np.array([[[0.0, 10, 20, 30, 40, 1000]]])
    brain = (image > 0) & (image < 1000)
    out = BrainUnitRange(0, 100)(image, brain)
    assert np.allclose(out, [[[0, 0, 1 / 3, 2 / 3, 1, 0]]])
    assert not BrainUnitRange()(np.full((1, 3, 3), 5.0), np.ones((1, 3, 3))).any()
    with pytest.raises(ValueError, match="does not fit"):
        BrainUnitRange()(image, np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match="NaN"):
        BrainUnitRange()(np.array([[[np.nan, 1]]]))
    with pytest.raises(ValueError, match="0 <= lower < upper"):
        BrainUnitRange(5, 5)


def test_select_modalities():
    data = {"image": torch.arange(4)[:, None, None], "modalities": ["t2f", "t1n", "t1c", "t2w"]}
    out = SelectModalitiesd("image", ["t1c", "t2f"])(data)
    assert out["image"].flatten().tolist() == [2, 0] and out["modalities"] == ["t1c", "t2f"]
    assert data["modalities"][0] == "t2f"
    with pytest.raises(ValueError, match="not ct"):
        SelectModalitiesd("image", ["ct"])(data)
    with pytest.raises(ValueError, match="4 channels, 'modalities' 1 names"):
        SelectModalitiesd("image", ["t1c"])({**data, "modalities": ["t1c"]})
    with pytest.raises(ValueError, match="each once"):
        SelectModalitiesd("image", ["t1c", "t1c"])


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_multi_resolution(spatial_dims):
    image = torch.rand(2, *(16,) * spatial_dims)
    label = (image[:1] > 0.5).to(torch.uint8) * 4
    out = MultiResolutiond(["image", "label"], (8, 16, 24), ("bilinear", "nearest"))({"image": image, "label": label})
    for size in (8, 16, 24):
        assert out[f"image_{size}"].shape == (2, *(size,) * spatial_dims)
        assert set(np.unique(out[f"label_{size}"])) == {0, 4}
    assert torch.equal(out["image"], image)
    assert torch.allclose(torch.as_tensor(out["image_16"]), image)
    # Smoothed before shrinking: less spread than every second pixel has.
    assert out["image_8"].std() < image[(slice(None),) + (slice(None, None, 2),) * spatial_dims].std()


def test_multi_resolution_errors():
    with pytest.raises(ValueError, match="each once, got"):
        MultiResolutiond("image", (8, 8))
    with pytest.raises(ValueError, match="'bilinear' or 'nearest'"):
        MultiResolutiond("image", mode="cubic")
    with pytest.raises(ValueError, match="already have 'image_8'"):
        MultiResolutiond("image", (8,))({"image": torch.rand(1, 4, 4), "image_8": 0})
