"""The images that figures before and after a pruning are of."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from ckdmed.pruning import prune
from ckdmed.pruning.prune import _figures
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
