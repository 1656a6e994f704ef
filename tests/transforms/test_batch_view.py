from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.transforms import AdjustContrast, Affine
from scipy.ndimage import center_of_mass

from ckdmed.transforms import BatchView, DrawnView


def still(count: int, axes: int = 2, **changed: torch.Tensor) -> DrawnView:
    """A view that leaves everything as it is, but for what is given."""
    parts = {
        "theta": torch.eye(axes, axes + 1).repeat(count, 1, 1),
        "gain": torch.ones(count),
        "exponent": torch.ones(count),
        "noise": torch.zeros(count),
    }
    return DrawnView(**{**parts, **changed})


@pytest.mark.parametrize("shape", [(2, 3, 16, 24), (2, 1, 8, 10, 12)])
def test_a_still_view_changes_nothing(shape: tuple[int, ...]):
    images = torch.rand(shape)
    view = still(2, len(shape) - 2)
    assert torch.allclose(view.image(images), images, atol=1e-6)
    assert torch.allclose(view.warp(images), images, atol=1e-6)
    labels = (images > 0.5).to(torch.uint8)
    assert view.mask(labels).dtype == torch.uint8 and torch.equal(view.mask(labels), labels)


def test_a_quarter_turn_is_the_array_turned():
    quarter = torch.tensor([[[0.0, -1, 0], [1, 0, 0]]])
    image = torch.arange(16.0).view(1, 1, 4, 4)
    turned = still(1, theta=quarter).warp(image)
    assert any(torch.allclose(turned, torch.rot90(image, k, (2, 3)), atol=1e-5) for k in (1, 3))


def test_the_intensity_is_monais_contrast_and_a_factor():
    image = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    view = still(2, exponent=torch.tensor([0.5, 2.0]), gain=torch.tensor([1.0, 0.8]))
    made = view.image(image)
    for row, (gamma, gain) in enumerate([(0.5, 1.0), (2.0, 0.8)]):
        expected = torch.as_tensor(AdjustContrast(gamma=gamma)(image[row])) * gain
        assert torch.allclose(made[row], expected, atol=1e-4)


def test_noise_has_the_deviation_drawn():
    torch.manual_seed(0)
    made = still(1, noise=torch.tensor([0.1])).image(torch.zeros(1, 1, 128, 128))
    assert math.isclose(float(made.std()), 0.1, rel_tol=0.03)


def test_image_mask_and_features_of_half_the_size_move_together():
    torch.manual_seed(3)
    grid = torch.stack(torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij"))
    blob = torch.exp(-((grid[0] - 24) ** 2 + (grid[1] - 36) ** 2) / 50)[None, None].repeat(8, 1, 1, 1)
    view = BatchView("strong")(blob)
    moved, mask = view.warp(blob), view.mask((blob > 0.5).float())
    half = view.warp(torch.nn.functional.avg_pool2d(blob, 2))
    displaced = 0.0
    for row in range(8):
        at = np.array(center_of_mass(moved[row, 0].numpy()))
        assert np.allclose(at, center_of_mass(mask[row, 0].numpy()), atol=0.5)
        assert np.allclose(at, 2 * np.array(center_of_mass(half[row, 0].numpy())) + 0.5, atol=0.5)
        displaced = max(displaced, float(np.abs(at - [24, 36]).max()))
    assert displaced > 3


@pytest.mark.parametrize("level", ["report", "strong"])
def test_a_rotation_keeps_shapes_on_images_that_are_not_square(level: str):
    # a disc stays a disc: its second moments stay equal, up to the zoom
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(80.0), indexing="ij")
    disc = (((rows - 20) ** 2 + (columns - 40) ** 2) < 100).float()[None, None].repeat(6, 1, 1, 1)
    torch.manual_seed(1)
    view = BatchView(level)(disc)
    for one in view.warp(disc)[:, 0]:
        where = torch.nonzero(one > 0.5).float()
        spread = where.std(0)
        if where[:, 0].min() > 0 and where[:, 0].max() < 39:
            assert math.isclose(float(spread[0]), float(spread[1]), rel_tol=0.05)


def test_it_turns_as_monais_affine_does():
    angle = 0.3
    image = torch.rand(1, 1, 33, 33, generator=torch.Generator().manual_seed(0))
    image = torch.nn.functional.avg_pool2d(image, 5, 1, 2)
    theta = torch.tensor([[[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]]])
    ours = still(1, theta=theta).warp(image)[0]
    theirs = [
        torch.as_tensor(Affine(rotate_params=sign * angle, padding_mode="border", image_only=True)(image[0]))
        for sign in (1, -1)
    ]
    assert min(float((ours - other).abs().max()) for other in theirs) < 1e-3


def test_one_seed_gives_one_view_and_another_seed_another():
    images = torch.rand(4, 1, 32, 32)
    made = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        made.append(BatchView("report")(images).image(images))
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])


def test_volumes_move_by_no_more_than_the_level_says():
    torch.manual_seed(0)
    view = BatchView("report")(torch.rand(64, 1, 12, 12, 12))
    size = torch.linalg.det(view.theta[:, :, :3]) ** (1 / 3)
    assert float(size.min()) > math.exp(-0.101) and float(size.max()) < math.exp(0.101)
    assert float(view.theta[:, :, 3].abs().max()) <= 0.121
    assert 0.5 < float((size != 1).float().mean()) <= 0.95


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match="report, strong, affine, masked, got 'none'"):
        BatchView("none")
    with pytest.raises(ValueError, match=r"two or three axes, got shape \(2, 3\)"):
        BatchView("report")(torch.rand(2, 3))


def test_an_offset_shifts_all_intensities_of_an_image_and_no_other_level_draws_one():
    image = torch.rand(2, 1, 8, 8)
    made = still(2, offset=torch.tensor([0.2, -0.1])).image(image)
    torch.testing.assert_close(made, image + torch.tensor([0.2, -0.1])[:, None, None, None])
    drawn = {level: BatchView(level)(torch.zeros(4, 1, 8, 8)) for level in ("report", "strong", "affine")}
    assert drawn["report"].offset is None and drawn["strong"].offset is None
    offset = drawn["affine"].offset
    assert offset is not None and len(set(offset.tolist())) == 4 and float(offset.abs().max()) <= 0.2
    # in every image, not in some, and neither noise nor gamma
    assert not torch.equal(drawn["affine"].theta, torch.eye(2, 3).repeat(4, 1, 1)) and (drawn["affine"].gain != 1).all()
    assert not drawn["affine"].noise.any() and (drawn["affine"].exponent == 1).all()


def test_a_masked_view_hides_patches_and_moves_nothing():
    torch.manual_seed(0)
    images = 0.5 + 0.5 * torch.rand(40, 1, 32, 32)
    drawn = BatchView("masked")(images)
    shown = drawn.image(images)
    torch.testing.assert_close(drawn.warp(images), images, atol=1e-5, rtol=0)
    hidden = shown == images.flatten(1).amin(1).view(-1, 1, 1, 1)
    # half of the images, a quarter of their patches; a patch is hidden as a whole
    assert 0.05 < float(hidden.float().mean()) < 0.2
    patches = hidden.unfold(2, 4, 4).unfold(3, 4, 4).float().mean(dim=(4, 5))
    assert float((patches > 0.5).float().mean()) == pytest.approx(float(hidden.float().mean()), abs=0.02)
