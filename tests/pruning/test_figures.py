"""The images that figures before and after a pruning are of."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ckdmed.metrics import segmentation_scores
from ckdmed.pruning import prune
from ckdmed.pruning.prune import _dice, _figures
from tests.deploy.test_verdict import data, squares


def test_a_few_images_are_of_all_patients() -> None:
    items = [{**item, "patient_group": "ab"[number // 6]} for number, item in enumerate(squares(12))]
    for item in items[6:]:
        item["image"] = -item["image"]
    network = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.ones_(network.weight)
    source: Any = SimpleNamespace(description=SimpleNamespace(input_shape=(1, 20, 20)))
    (size,) = _figures(source, data(items), {"whole": network}, images=4, rounds=1, progress=False)
    assert size.dice == pytest.approx(0.5)


def test_no_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="images must be at least 1, got 0"):
        prune("seg_kd", tmp_path, ratio=0.5, images=0)
    assert not list(tmp_path.iterdir())


def test_the_dice_is_that_of_an_evaluation() -> None:
    rng = np.random.default_rng(0)
    items: list[dict[str, Any]] = []
    for sizes in ((400, 3), (200, 0), (0, 0)):
        label, image = torch.zeros(2, 400), torch.full((2, 400), -4.0)
        for region, size in enumerate(sizes):
            label[region, :size] = 1
            # half of the region is found
            image[region, : size // 2] = 4
        order = torch.from_numpy(rng.permutation(400))
        items.append({key: value[:, order].reshape(2, 20, 20) for key, value in (("image", image), ("label", label))})
    found = _dice(data(items), nn.Identity(), items)
    each = [
        segmentation_scores(image > 0, true)["dice"]
        for item in items
        for image, true in zip(item["image"], item["label"], strict=True)
    ]
    assert found == pytest.approx(np.mean(each))
    # the small region counts as much as the large one, and one that is rightly empty is right
    assert found == pytest.approx((2 / 3 + 2 / 4 + 2 / 3 + 1 + 1 + 1) / 6)
