"""Sampling that puts slices with tumour into every batch, as nnU-Net does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from ckdmed.data.brats.slice_sampler import drawn_in_rounds

__all__ = ["ForegroundSliceSampler", "oversampled"]


def oversampled(batch_size: int, share: float) -> int:
    """How many samples of a batch show tumour by force: batch_size - round(batch_size (1 - share))."""
    return batch_size - round(batch_size * (1 - share))


class ForegroundSliceSampler(Sampler[int]):
    """Positions of an epoch of which, in every batch, a share shows tumour and the rest is any slice.

    Of a batch of n the last n - round(n (1 - share)) are drawn among the slices with tumour, the others among all.
    Within an epoch either pool is gone through in a random order; when all were drawn, a new order begins. Where the
    rule gives none of a batch, as of a batch of one, a batch has one by chance, with the probability n share.

    Args:
        categories: as in `BalancedSliceSampler`; slices without a mask are among all.
        batch_size: of the loader.
        share: of each batch, in (0, 1].
        num_samples: slices of an epoch over all replicas; None for as many as there are.
        seed: 0 or more.
        num_replicas, rank: of distributed training; every replica draws the same number of slices by itself.

    Raises:
        ValueError: a share out of range, no slice with tumour, numbers out of range.

    Source: the rule is that of nnU-Net's loader, Isensee et al. 2021 (Nature Methods 18).
    """

    def __init__(
        self,
        categories: Sequence[int] | np.ndarray,
        batch_size: int,
        share: float = 0.33,
        num_samples: int | None = None,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"the share of a batch that shows tumour must be above 0, up to 1, got {share}.")
        if batch_size < 1 or (num_samples is not None and num_samples < 1):
            raise ValueError(f"batch_size and num_samples must be at least 1, got {batch_size} and {num_samples}.")
        if not 0 <= rank < num_replicas:
            raise ValueError(f"rank must be from 0 to num_replicas - 1, got {rank} of {num_replicas}.")
        if seed < 0:
            raise ValueError(f"seed must be 0 or more, got {seed}.")
        self.categories = np.asarray(categories)
        self.tumour = np.flatnonzero(self.categories > 0)
        if not self.tumour.size:
            raise ValueError(f"a share of {share:.2g} with tumour needs slices with tumour; there are none.")
        self.batch_size, self.share, self.asked, self.seed = int(batch_size), float(share), num_samples, int(seed)
        self.total = len(self.categories) if num_samples is None else int(num_samples)
        self.num_replicas, self.rank, self.epoch = int(num_replicas), int(rank), 0

    def within(self, positions: Sequence[int]) -> ForegroundSliceSampler:
        """The same sampling restricted to some of the slices, with positions renumbered from 0."""
        part = self.categories[np.asarray(positions, dtype=np.int64)]
        return ForegroundSliceSampler(
            part, self.batch_size, self.share, self.asked, self.seed, self.num_replicas, self.rank
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose slices come next; equal epochs give equal slices."""
        self.epoch = int(epoch)

    def __len__(self) -> int:
        return -(-self.total // self.num_replicas)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch, self.rank])
        sizes = [min(self.batch_size, len(self) - first) for first in range(0, len(self), self.batch_size)]
        forced = [self._forced(size, rng) for size in sizes]
        tumour = iter(drawn_in_rounds(self.tumour, sum(forced), rng))
        any_slice = iter(drawn_in_rounds(np.arange(len(self.categories)), len(self) - sum(forced), rng))
        for size, by_force in zip(sizes, forced):
            for place in range(size):
                yield int(next(any_slice if place < size - by_force else tumour))

    def _forced(self, size: int, rng: np.random.Generator) -> int:
        return oversampled(size, self.share) or int(rng.random() < size * self.share)
