"""Sampling that balances slices with and without tumour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

__all__ = ["BalancedSliceSampler", "drawn_in_rounds"]


class BalancedSliceSampler(Sampler[int]):
    """Positions of an epoch with a chosen share of slices that hold tumour, the same for equal seed and epoch.

    Within an epoch each kind is gone through in a random order; when all were drawn, a new order begins. So no slice
    comes twice before every other one of its kind came once. Each epoch has its own order.

    Args:
        categories: class of each slice, 0 without tumour, above 0 with (see `slice_category`), below 0 where there is
            no mask to tell. `BratsSliceDataset.categories` holds them.
        tumour_share: share of slices with tumour, 0 to 1. Default 0.5.
        num_samples: slices of an epoch over all replicas; None for twice the number of the rarer kind
            (and what `unlabelled_share` adds), at least 1.
        seed: 0 or more.
        by_category: whether the slices with tumour are shared out evenly over the classes 1 to 3 that there are.
            Default False.
        unlabelled_share: share of slices without a mask, 0 to below 1, beside which those with a mask are balanced as
            above. Default 0: none are drawn.
        num_replicas, rank: of distributed training; every replica draws the same number of slices, each its own.

    Raises:
        ValueError: a share out of [0, 1], a requested kind is missing, numbers out of range.

    Example::

        sampler = BalancedSliceSampler(dataset.categories)
        loader = DataLoader(dataset, batch_size=16, sampler=sampler)
        sampler.set_epoch(epoch)
    """

    def __init__(
        self,
        categories: Sequence[int] | np.ndarray,
        tumour_share: float = 0.5,
        num_samples: int | None = None,
        seed: int = 0,
        by_category: bool = False,
        unlabelled_share: float = 0.0,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        if not 0 <= tumour_share <= 1:
            raise ValueError(f"tumour_share must be from 0 to 1, got {tumour_share}.")
        if not 0 <= unlabelled_share < 1:
            raise ValueError(f"unlabelled_share must be from 0 to below 1, got {unlabelled_share}.")
        if num_samples is not None and num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}.")
        if not 0 <= rank < num_replicas:
            raise ValueError(f"rank must be from 0 to num_replicas - 1, got {rank} of {num_replicas}.")
        if seed < 0:
            raise ValueError(f"seed must be 0 or more, got {seed}.")
        values = np.asarray(categories)
        self.categories, self.by_category, self.asked = values, by_category, num_samples
        self.empty = np.flatnonzero(values == 0)
        tumour = np.flatnonzero(values > 0)
        self.unlabelled = np.flatnonzero(values < 0)
        self.tumour = (
            [np.flatnonzero(values == kind) for kind in np.unique(values[tumour])] if by_category else [tumour]
        )
        if (tumour_share > 0 and not tumour.size) or (tumour_share < 1 and not self.empty.size):
            raise ValueError(
                f"a tumour share of {tumour_share} needs slices of both kinds; there are {tumour.size} with and "
                f"{self.empty.size} without tumour."
            )
        if unlabelled_share > 0 and not self.unlabelled.size:
            raise ValueError(f"an unlabelled share of {unlabelled_share} needs slices without a mask; there are none.")
        if num_samples is None:
            kinds = [part.size for part, share in ((tumour, tumour_share), (self.empty, 1 - tumour_share)) if share > 0]
            num_samples = round(len(kinds) * min(kinds) / (1 - unlabelled_share))
        self.unlabelled_share = float(unlabelled_share)
        self.tumour_share, self.total, self.seed = float(tumour_share), int(num_samples), int(seed)
        self.num_replicas, self.rank, self.epoch = int(num_replicas), int(rank), 0

    def within(self, positions: Sequence[int]) -> BalancedSliceSampler:
        """The same sampling restricted to some of the slices, with positions renumbered from 0."""
        part = self.categories[np.asarray(positions, dtype=np.int64)]
        return BalancedSliceSampler(
            part,
            self.tumour_share,
            self.asked,
            self.seed,
            self.by_category,
            self.unlabelled_share,
            self.num_replicas,
            self.rank,
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose slices come next; equal epochs give equal slices."""
        self.epoch = int(epoch)

    def __len__(self) -> int:
        return -(-self.total // self.num_replicas)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        n_unlabelled = round(self.total * self.unlabelled_share)
        n_tumour = round((self.total - n_unlabelled) * self.tumour_share)
        drawn = [drawn_in_rounds(self.empty, self.total - n_unlabelled - n_tumour, rng)]
        for number, kind in enumerate(self.tumour):
            share = n_tumour // len(self.tumour) + (number < n_tumour % len(self.tumour))
            drawn.append(drawn_in_rounds(kind, share, rng))
        drawn.append(drawn_in_rounds(self.unlabelled, n_unlabelled, rng))
        order = rng.permutation(np.concatenate(drawn))
        # Replicas must make the same number of steps.
        padded = np.resize(order, len(self) * self.num_replicas)
        return iter(padded[self.rank :: self.num_replicas].tolist())


def drawn_in_rounds(pool: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` of ``pool`` in random order, none twice before every other one came once."""
    if not count:
        return np.zeros(0, np.int64)
    rounds = [rng.permutation(pool) for _ in range(-(-count // len(pool)))]
    return np.concatenate(rounds)[:count]
