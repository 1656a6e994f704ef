"""One seed gives one training, also when it was interrupted and resumed."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events

__all__ = ["ReproducibleEpochs"]


class ReproducibleEpochs:
    """Seed everything random anew at the start of each epoch, from the run's seed and the epoch's number.

    A run that is resumed after epoch e then draws in epoch e + 1 what the unbroken run drew: nothing random has to be
    saved. Seeds Python, NumPy, torch (dropout, shuffling, workers' base seed) and the random transforms of the dataset,
    and tells a distributed sampler the epoch.

    Args:
        seed: of the run.
        data_loader: the training loader, whose dataset's ``transform`` and whose sampler are seeded.
        rank: of this process; dropout and augmentation differ between ranks, the order of the data must not, and a
            distributed sampler draws it from its own seed and the epoch.
    """

    def __init__(self, seed: int, data_loader: Any = None, rank: int = 0) -> None:
        self.seed = int(seed)
        self.data_loader = data_loader
        self.rank = rank

    def attach(self, engine: Engine) -> None:
        """Register on ``EPOCH_STARTED``."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        sequence = np.random.SeedSequence([self.seed, engine.state.epoch, self.rank])
        state = int(sequence.generate_state(1, np.uint32)[0])
        random.seed(state)
        np.random.seed(state)
        torch.manual_seed(state)
        transform = _transform_of(getattr(self.data_loader, "dataset", None))
        if transform is not None:
            transform.set_random_state(seed=state)
        for name in ("sampler", "batch_sampler"):
            sampler: Any = getattr(self.data_loader, name, None)
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(engine.state.epoch)


def _transform_of(dataset: Any) -> Any:
    """The transform whose random state can be set, of a dataset or of the one that it is a part of (``Subset``)."""
    while dataset is not None:
        transform = getattr(dataset, "transform", None)
        if hasattr(transform, "set_random_state"):
            return transform
        dataset = getattr(dataset, "dataset", None)
    return None
