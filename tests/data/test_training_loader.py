"""No training batch of one sample, and nothing else changed."""

from __future__ import annotations

import logging

import pytest
import torch
from monai.data import DataLoader, Dataset

from ckdmed.data.training_loader import TrainingDataLoader


def sizes(count: int, batch_size: int, **options) -> list[int]:
    return [len(batch) for batch in TrainingDataLoader(Dataset(list(range(count))), batch_size, **options)]


def test_a_last_batch_of_one_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert sizes(9, 4) == [4, 4]
    assert "9 training images in batches of 4 leave a last batch of one" in caplog.text
    assert len(TrainingDataLoader(Dataset(list(range(9))), 4)) == 2


@pytest.mark.parametrize(
    ("count", "batch_size", "expected"), [(10, 4, [4, 4, 2]), (8, 4, [4, 4]), (3, 1, [1, 1, 1]), (1, 1, [1])]
)
def test_other_batches_stay(count: int, batch_size: int, expected: list[int]) -> None:
    assert sizes(count, batch_size) == expected


def test_the_sampler_counts_not_the_data() -> None:
    assert sizes(8, 4, sampler=[0, 1, 2, 3, 4]) == [4]
    assert sizes(9, 4, sampler=[0, 1, 2, 3, 4, 5]) == [4, 2]


def test_the_order_is_monais() -> None:
    data = Dataset(list(range(11)))
    orders = []
    for loader in (TrainingDataLoader, DataLoader):
        torch.manual_seed(0)
        orders.append([batch.tolist() for batch in loader(data, batch_size=4, shuffle=True)])
    assert orders[0] == orders[1]


def test_one_image_is_no_training_set() -> None:
    with pytest.raises(ValueError, match="only one training image"):
        TrainingDataLoader(Dataset([1]), 4)
