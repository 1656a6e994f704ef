from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from monai.data import Dataset

from ckdmed.handlers import RegionTrainingPictures


def item(shape: tuple[int, ...], number: int) -> dict:
    label = torch.zeros(3, *shape)
    label[:, : shape[0] // 2] = 1
    return {"image": torch.rand(2, *shape), "label": label, "id": f"case:{number}"}


def pictures(folder: Path, dataset: Dataset, dims: int = 2, **kwargs) -> RegionTrainingPictures:
    network = torch.nn.Conv2d(2, 3, 1) if dims == 2 else torch.nn.Conv3d(2, 3, 1)
    return RegionTrainingPictures(str(folder), str(folder / "none.jsonl"), dataset, network, **kwargs)


def test_a_row_for_each_sample_and_a_column_for_each_region(tmp_path: Path):
    heights = []
    for count in (1, 3):
        dataset = Dataset([item((12, 12), n) for n in range(5)])
        made = pictures(tmp_path, dataset, count=count)
        made.draw(made._items(), tmp_path / "predictions.png")
        picture = plt.imread(tmp_path / "predictions.png")
        assert picture[..., :3].std() > 0
        heights.append(picture.shape[0])
    assert heights[1] > 2 * heights[0]


def test_volumes_of_different_sizes(tmp_path: Path):
    dataset = Dataset([item((8, 10, 6), 0), item((10, 8, 7), 1)])
    made = pictures(tmp_path, dataset, dims=3)
    made.draw(made._items(), tmp_path / "predictions.png")
    assert plt.imread(tmp_path / "predictions.png").shape[0] > 100


def test_slices_with_tumour_are_shown(tmp_path: Path):
    dataset = Dataset([item((4, 4), n) for n in range(8)])
    dataset.categories = np.array([0, 0, 3, 1, 0, 2, 0, 0])
    assert [i["id"] for i in pictures(tmp_path, dataset, count=9)._items()] == ["case:2", "case:3", "case:5"]
    assert [i["id"] for i in pictures(tmp_path, dataset, count=2)._items()] == ["case:2", "case:5"]
    dataset.categories = np.zeros(8)
    assert len(pictures(tmp_path, dataset, count=4)._items()) == 4
