"""A data loader for networks that cannot be trained on a single sample."""

from __future__ import annotations

import logging
from typing import Any

from monai.data import DataLoader
from torch.utils.data import Dataset

__all__ = ["TrainingDataLoader"]

logger = logging.getLogger(__name__)


class TrainingDataLoader(DataLoader):
    """MONAI's ``DataLoader`` without a last batch of one sample.

    Batch normalisation of a classifier's vector of features needs two samples: PyTorch raises "Expected more than 1
    value per channel when training" for one. Where the number of samples leaves a last batch of one, that sample is
    left out of the epoch; with a shuffled order it is another one in each epoch.

    Args:
        dataset, batch_size, options: as of MONAI's.

    Raises:
        ValueError: there is one sample only, and larger batches are requested.
    """

    def __init__(self, dataset: Dataset, batch_size: int = 1, **options: Any) -> None:
        sampler = options.get("sampler")
        count = len(sampler if sampler is not None else dataset)  # type: ignore[arg-type]
        if count == 1 and batch_size > 1:
            raise ValueError(
                "an epoch has only one training image, but batch normalisation needs two in a batch: give more "
                "training images."
            )
        if count % batch_size == 1 and batch_size > 1 and not options.get("drop_last"):
            logger.info(
                f"{count} training images in batches of {batch_size} leave a last batch of one, on which batch "
                "normalisation cannot be trained: one image is left out of each epoch"
            )
            options["drop_last"] = True
        super().__init__(dataset, batch_size=batch_size, **options)
