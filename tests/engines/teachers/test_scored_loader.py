"""What cross-fitted teachers are scored on: the training's samples as the validation prepares its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import CacheDataset, DataLoader, Dataset
from monai.transforms import Compose, Lambdad, RandFlipd
from torch.utils.data import Subset, TensorDataset

from ckdmed.data import cached_dataset
from ckdmed.engines.teachers.scored_loader import scored_loader

ITEMS = [{"id": str(n), "image": torch.full((1, 2, 2), float(n))} for n in range(4)]
VALIDATION = DataLoader(Dataset(ITEMS[:1], Compose([Compose([Lambdad("image", lambda x: x + 10)])])), batch_size=3)


def changed(item: Any) -> Any:
    raise AssertionError("the training's own transform was used")


@pytest.mark.parametrize("training", [Dataset(ITEMS, changed), CacheDataset(ITEMS, Lambdad("image", changed), 0)])
def test_samples_in_order_without_random_changes(training: Dataset) -> None:
    loader = DataLoader(Subset(training, [3, 1]), batch_size=2, shuffle=True)
    found = scored_loader(loader, VALIDATION)
    assert found.batch_size == 3
    (batch,) = list(found)
    assert batch["id"] == ["3", "1"] and batch["image"][:, 0, 0, 0].tolist() == [13, 11]
    assert [item["id"] for item in scored_loader(DataLoader(training), VALIDATION).dataset] == list("0123")


def test_a_training_on_the_disk_is_scored_from_the_disk(tmp_path: Path) -> None:
    items = [{"id": "a", "image": str(tmp_path / "a")}]
    (tmp_path / "a").write_text("5", encoding="utf-8")
    training = cached_dataset(items, Compose([RandFlipd("image")]), "disk", tmp_path / "cache")
    read = Lambdad("image", lambda path: torch.full((1, 2, 2), float(Path(path).read_text(encoding="utf-8"))))
    found = scored_loader(DataLoader(training), DataLoader(Dataset(items, read), batch_size=1))
    assert next(iter(found))["image"].unique().tolist() == [5] and any((tmp_path / "cache").iterdir())


def test_a_validation_that_says_nothing_of_its_preparation() -> None:
    with pytest.raises(ValueError, match="TensorDataset has no transform"):
        scored_loader(DataLoader(Dataset(ITEMS)), DataLoader(TensorDataset(torch.zeros(2))))
