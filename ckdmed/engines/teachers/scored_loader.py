"""A training's labelled samples as its validation prepares its own: what cross-fitted teachers are scored on."""

from __future__ import annotations

from copy import copy
from typing import Any

from monai.data import DataLoader, Dataset
from monai.transforms import Compose
from torch.utils.data import Subset

from ckdmed.data.brats import BratsSliceDataset
from ckdmed.data.cached import DiskCacheDataset

__all__ = ["scored_loader"]


def scored_loader(training: DataLoader, validation: Any) -> DataLoader:
    """A loader of the samples of ``training`` without its random changes, in the order of the dataset.

    Args:
        training: of labelled samples: slices of cases, or items of a dataset, or some of these (``Subset``).
        validation: the loader whose transform, batch size and workers it gets.

    Raises:
        ValueError: the validation's dataset has no transform.
    """
    if not hasattr(validation.dataset, "transform"):
        raise ValueError(
            f"the validation's {type(validation.dataset).__name__} has no transform, which scoring training samples "
            "needs: set teacher_folds to 1, or use a MONAI dataset for validation."
        )
    return DataLoader(
        _prepared(training.dataset, Compose(validation.dataset.transform).flatten()),
        batch_size=validation.batch_size,
        shuffle=False,
        num_workers=validation.num_workers,
    )


def _prepared(dataset: Any, transform: Compose) -> Any:
    if isinstance(dataset, BratsSliceDataset):
        dataset = copy(dataset)
        dataset.transform = transform
        return dataset
    inner: Any = dataset.dataset if isinstance(dataset, Subset) else dataset
    items = [inner.data[number] for number in dataset.indices] if isinstance(dataset, Subset) else inner.data
    if isinstance(inner, DiskCacheDataset):
        return DiskCacheDataset(items, transform, str(inner.cache_dir))
    return Dataset(items, transform)
