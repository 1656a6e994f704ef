from __future__ import annotations

import pytest
import torch

from ckdmed.engines import MixupPrepareBatch


def batch(count: int = 6) -> dict[str, torch.Tensor]:
    label = torch.arange(count) % 3
    # each image is constant, so that the weights can be read from it
    return {"image": label.float().view(-1, 1, 1, 1).expand(-1, 1, 2, 2) * 10, "label": label}


def test_image_and_label_are_mixed_alike():
    torch.manual_seed(3)
    image, target = MixupPrepareBatch(3, alpha=1.0)(batch())
    assert image.shape == (6, 1, 2, 2) and target.shape == (6, 3)
    torch.testing.assert_close(target.sum(1), torch.ones(6))
    torch.testing.assert_close(image[:, 0, 0, 0], 10 * (target[:, 1] + 2 * target[:, 2]))
    assert ((target > 0.01) & (target < 0.99)).any()


def test_off_hands_over_class_indices():
    given = batch()
    image, target = MixupPrepareBatch(3, alpha=0.0)(given)
    assert torch.equal(image, given["image"]) and torch.equal(target, given["label"])


def test_torchs_seed_decides_and_batches_may_shrink():
    prepare = MixupPrepareBatch(3, alpha=0.4)
    torch.manual_seed(5)
    first = prepare(batch()), prepare(batch(2))
    torch.manual_seed(5)
    again = prepare(batch()), prepare(batch(2))
    for one, two in zip(first, again):
        assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])
    assert not torch.equal(first[0][0], prepare(batch())[0])


def test_a_mixture_is_labelled_when_both_parts_are():
    given = {**batch(), "labelled": torch.tensor([True, False, False, False, False, False])}
    torch.manual_seed(0)
    _, target = MixupPrepareBatch(3, alpha=1.0)(given)
    assert given["labelled"].sum() <= 1
    given = {**batch(), "labelled": torch.ones(6, dtype=torch.bool)}
    MixupPrepareBatch(3, alpha=1.0)(given)
    assert given["labelled"].all()


@pytest.mark.parametrize("settings", [{"num_classes": 3, "alpha": -0.1}, {"num_classes": 1, "alpha": 0.2}])
def test_refusals(settings: dict):
    with pytest.raises(ValueError, match="alpha >= 0 and two classes or more"):
        MixupPrepareBatch(**settings)


def test_masks_are_mixed_like_their_images():
    torch.manual_seed(0)
    masks = (torch.rand(4, 2, 6, 6) > 0.5).to(torch.uint8)
    image, label = MixupPrepareBatch(None, 1.0)({"image": masks[:, :1].float(), "label": masks})
    # the image is the first mask, so it stays so
    torch.testing.assert_close(image, label[:, :1])
    assert label.dtype == torch.float32 and 0 < float(((label > 0) & (label < 1)).float().mean())
