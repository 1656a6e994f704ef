"""A dataset that reads and prepares each sample once and keeps it, in memory or on the disk."""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from monai.config import PathLike
from monai.data import CacheDataset, Dataset, PersistentDataset
from monai.utils import convert_to_tensor

from ckdmed.checked_entries import DamagedEntry, read_entry, write_entry
from ckdmed.data.fingerprints import (
    deterministic_part,
    fingerprint,
    flat_chain,
    item_fingerprint,
    transforms_fingerprint,
)

__all__ = ["DiskCacheDataset", "cached_dataset"]

STORAGES = ("memory", "disk")
#: of an entry's content; in the first one a nested chain left its items as they were
_LAYOUT = 2


class DiskCacheDataset(PersistentDataset):
    """MONAI's ``PersistentDataset`` whose files depend on the item, on its source files and on the preprocessing.

    A changed setting of a transform before the first random one, or another file in the place of an item's, gives
    another cached file, and none is ever read that was made otherwise. Each carries a checksum of what it holds and
    was made from; one that was changed, cut or exchanged for another is made anew, with a warning.

    Args:
        data: items with paths ``image`` and ``label``.
        transform: the whole chain. One within it is flattened: MONAI takes any ``Compose`` for random, and keeps no
            result from there on.
        cache_dir: made where it does not exist; may be shared by runs and processes.
    """

    def __init__(self, data: Sequence[Any], transform: Callable | Sequence[Callable], cache_dir: PathLike) -> None:
        chain = flat_chain(transform)
        self.preparation = fingerprint(_LAYOUT, transforms_fingerprint(deterministic_part(chain)))
        super().__init__(data, chain, Path(cache_dir), hash_func=self._name)

    def _name(self, item: Mapping[str, Any]) -> bytes:
        return f"{item_fingerprint(item)}-{self.preparation}".encode()

    def _cachecheck(self, item_transformed: Any) -> Any:
        name = self._name(item_transformed).decode()
        file = Path(str(self.cache_dir)) / f"{name}.entry"
        try:
            return torch.load(io.BytesIO(read_entry(file, name).data), weights_only=True)
        except FileNotFoundError:
            pass
        # whole, but with objects that are not loaded: a transform left something else than tensors and plain values
        except (DamagedEntry, pickle.UnpicklingError) as error:
            warnings.warn(f"{str(error).splitlines()[0]} ({file.name}); making it again.", stacklevel=2)
        prepared = self._pre_transform(deepcopy(item_transformed))
        content = io.BytesIO()
        torch.save(convert_to_tensor(prepared, convert_numeric=False, track_meta=self.track_meta), content)
        write_entry(file, name, [content.getbuffer()])
        return prepared


def cached_dataset(
    data: Sequence[Any],
    transform: Callable | Sequence[Callable],
    cache: str = "memory",
    cache_dir: PathLike | None = None,
    cache_rate: float = 1.0,
    num_workers: int | None = None,
) -> Dataset:
    """The dataset of a bundle, of which everything before the first random transform is computed once.

    Args:
        data: items.
        transform: the whole chain; nested ones are flattened.
        cache: "memory" for MONAI's ``CacheDataset`` (filled before the training, gone afterwards), "disk" for
            :class:`DiskCacheDataset` (filled in the first epoch, found again by later runs; memory is left alone).
        cache_dir: for "disk".
        cache_rate: share of the items that "memory" keeps.
        num_workers: threads that fill the memory.

    Raises:
        ValueError: an unknown ``cache``, or "disk" without ``cache_dir``.
    """
    if cache not in STORAGES:
        raise ValueError(f"cache must be one of {STORAGES}, got {cache!r}.")
    if cache == "memory":
        return CacheDataset(data, flat_chain(transform), cache_rate=cache_rate, num_workers=num_workers)
    if not cache_dir:
        raise ValueError("cache='disk' needs a folder: give cache_dir.")
    return DiskCacheDataset(data, transform, cache_dir)
