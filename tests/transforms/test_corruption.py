from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Resized
from PIL import Image

from ckdmed.engines import TeacherImages
from ckdmed.recipes import check_corruption, class_preprocessing, corrupted
from ckdmed.transforms.corruption import CORRUPTIONS, Corruptiond, parse_corruption

WAYS = [f"{kind}-{severity}" for kind in CORRUPTIONS for severity in (1, 2, 3)]


def image(shape: tuple[int, ...] = (1, 32, 24)) -> torch.Tensor:
    # waves, so that a coarser grid loses more of them
    axes = torch.meshgrid(*(torch.arange(size) / 4.0 for size in shape[1:]), indexing="ij")
    values = (100 + 50 * torch.stack([axis.sin() for axis in axes]).prod(dim=0)).expand(shape).clone()
    values[:, :6] = 0
    return values


@pytest.mark.parametrize("corruption", WAYS)
@pytest.mark.parametrize("shape", [(1, 32, 24), (2, 24, 20, 16)])
def test_each_changes_the_image_and_not_its_background(corruption: str, shape: tuple[int, ...]) -> None:
    x = image(shape)
    first, again = (Corruptiond("image", corruption)({"image": MetaTensor(x), "id": "a"})["image"] for _ in range(2))
    assert torch.equal(first, again) and first.shape == x.shape and first.dtype == torch.float32
    assert torch.isfinite(first).all() and not torch.equal(first.as_tensor(), x)
    assert not first.as_tensor()[x == 0].any()


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_higher_severity_is_further_from_the_image(kind: str) -> None:
    x = image()
    made = [Corruptiond("image", f"{kind}-{severity}")({"image": x, "id": "a"})["image"] for severity in (1, 2, 3)]
    distances = [float((one - x).abs().mean()) for one in made]
    assert 0 < distances[0] < distances[1] < distances[2]


@pytest.mark.parametrize("kind, gammas", [("brighter", (0.85, 0.7, 0.5)), ("darker", (1.2, 1.5, 2.0))])
def test_gamma_works_within_each_channels_own_range(kind: str, gammas: tuple[float, ...]) -> None:
    x = torch.tensor([[[0.0, 0.25, 0.5, 1.0]], [[0.0, 100.0, 200.0, 400.0]]])
    for severity, gamma in enumerate(gammas, start=1):
        made = Corruptiond("image", f"{kind}-{severity}")({"image": x, "id": "a"})["image"]
        expected = torch.tensor([0.0, 0.25, 0.5, 1.0]) ** gamma
        torch.testing.assert_close(made, torch.stack([expected, 400 * expected])[:, None])


def test_noise_follows_from_the_item() -> None:
    noise = Corruptiond("image", "noise-1")
    names = [{"image": image(), "id": name} for name in ("a", "b", "a")]
    one, other, same = (noise(item)["image"] for item in names)
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_a_mask_is_brought_back_as_without_it() -> None:
    steps = Compose([Resized("image", (16, 16))])
    worse = corrupted(steps, "noise-2")
    assert corrupted(steps, None) is steps and isinstance(worse.transforms[0], Corruptiond)
    made = worse({"image": MetaTensor(image()), "id": "a"})
    made["pred"] = MetaTensor(torch.ones(1, 16, 16))
    assert Invertd("pred", steps, orig_keys="image")(made)["pred"].shape == (1, 32, 24)


def test_it_comes_after_the_reading_and_leaves_a_teachers_image(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(image()[0].numpy().astype("uint8")).save(path)
    teacher = TeacherImages(class_preprocessing(32), 16, 32, checkpoint="teacher.pt")
    item = {"image": str(path), "id": "a"}
    clean, worse = (corrupted(teacher.added_to(class_preprocessing(16)), how)(item) for how in (None, "noise-3"))
    alone = corrupted(class_preprocessing(16), "noise-3")(item)
    assert torch.equal(worse["image"], alone["image"]) and not torch.equal(worse["image"], clean["image"])
    assert torch.equal(worse["teacher_image"], clean["teacher_image"])


def test_slices_that_are_scaled_already_are_refused() -> None:
    cut = class_preprocessing(16, "volume", task="brats_type")
    assert corrupted(cut, None) is cut
    with pytest.raises(
        ValueError, match="corruption noise-2 cannot be made: .* already scaled to .0, 1..* Leave corruption out"
    ):
        corrupted(cut, "noise-2")
    check_corruption("figshare", "noise-2")
    check_corruption("brats_slice", None)
    with pytest.raises(ValueError, match="task brats_slice: corruption noise-2 cannot be made"):
        check_corruption("brats_slice", "noise-2")


@pytest.mark.parametrize("text", ["noise", "noise-4", "fog-1", "-1"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match="low_resolution, noise, bias_field, missing_field, brighter, darker.*such as noise-2; got"
    ):
        parse_corruption(text)
