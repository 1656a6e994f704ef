from __future__ import annotations

import pytest
import torch

from ckdmed.recipes import region_augmentation
from ckdmed.transforms import ForegroundPatchesd


def volume() -> dict[str, torch.Tensor]:
    label = torch.zeros(1, 20, 20, 20)
    label[0, 9, 10, 11] = 1
    return {"image": torch.arange(8000.0).reshape(1, 20, 20, 20), "label": label}


@pytest.mark.parametrize(("patches", "forced"), [(2, 1), (3, 1), (6, 2), (8, 3)])
def test_a_third_of_the_patches_is_centred_on_the_label(patches: int, forced: int) -> None:
    data = volume()
    transform = ForegroundPatchesd(["image", "label"], "label", [4, 4, 4], patches).set_random_state(0)
    made = transform(data)
    assert len(made) == patches
    for patch in made[-forced:]:
        assert patch["image"].shape == (1, 4, 4, 4) and patch["label"][0, 2, 2, 2] == 1
    # one voxel of 8000: a patch from anywhere hardly meets it
    assert sum(bool(patch["label"].any()) for patch in made) == forced
    for patch in made:
        # image and label are of one place
        corner = int(patch["image"][0, 0, 0, 0])
        z, y, x = corner // 400, corner // 20 % 20, corner % 20
        assert torch.equal(patch["label"], data["label"][:, z : z + 4, y : y + 4, x : x + 4])
    again = ForegroundPatchesd(["image", "label"], "label", [4, 4, 4], patches).set_random_state(0)(data)
    assert all(torch.equal(one["image"], other["image"]) for one, other in zip(made, again))


def test_one_patch_is_on_the_label_by_chance() -> None:
    transform = ForegroundPatchesd(["image", "label"], "label", [2, 2, 2], 1).set_random_state(1)
    data = volume()
    share = sum(bool(transform(data)[0]["label"].any()) for _ in range(120)) / 120
    assert share == pytest.approx(0.33, abs=0.12)


def test_without_label_all_patches_are_from_anywhere() -> None:
    data = volume()
    data["label"] = torch.zeros_like(data["label"])
    made = ForegroundPatchesd(["image", "label"], "label", [4, 4, 4], 4).set_random_state(0)(data)
    assert len({int(patch["image"][0, 0, 0, 0]) for patch in made}) > 1


@pytest.mark.parametrize("recipe", ["adamw", "nnunet"])
@pytest.mark.parametrize("first", [True, False])
def test_a_region_counts_whichever_channel_it_is(recipe: str, first: bool) -> None:
    # MONAI takes the first of several channels for the background
    voxel, empty = torch.zeros(2, 1, 40, 40, 40)
    voxel[0, 9, 10, 11] = 1
    label = torch.cat([voxel, empty] if first else [empty, voxel])
    data = {"image": torch.rand(1, 40, 40, 40), "label": label}
    sizes = {"spatial_dims": 3, "image_size": 8, "roi_size": [8, 8, 8], "patches_per_volume": 24}
    chain = region_augmentation("none", recipe=recipe, **sizes).set_random_state(0)
    made: list[dict[str, torch.Tensor]] = chain(data)  # type: ignore[assignment]
    assert len(made) == 24 and set(made[0]) == {"image", "label"}
    # a patch from anywhere meets it once in 70
    assert sum(bool(patch["label"].any()) for patch in made) >= 6


def test_the_recipe_chooses_them() -> None:
    sizes = {"spatial_dims": 3, "image_size": 8, "roi_size": [8, 8, 8], "patches_per_volume": 3}
    chosen = region_augmentation("none", recipe="nnunet", tumour_share=0.5, **sizes).transforms[0]
    assert isinstance(chosen, ForegroundPatchesd) and (chosen.num_samples, chosen.share) == (3, 0.5)
    assert not isinstance(region_augmentation("none", **sizes).transforms[0], ForegroundPatchesd)
    with pytest.raises(ValueError, match="above 0, up to 1, got 0"):
        ForegroundPatchesd("image", "label", [2, 2, 2], share=0)
