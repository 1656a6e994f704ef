"""A dataset that reads and prepares each sample once and keeps it, in memory or on the disk."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.config import PathLike
from monai.data import CacheDataset, Dataset, PersistentDataset
from monai.transforms import Compose

from ckdmed.data.fingerprint import deterministic_part, item_fingerprint, transforms_fingerprint

__all__ = ["DiskCacheDataset", "cached_dataset"]

STORAGES = ("memory", "disk")


class DiskCacheDataset(PersistentDataset):
    """MONAI's ``PersistentDataset`` whose files depend on the item, on its source files and on the preprocessing.

    A changed setting of a transform before the first random one, or another file in the place of an item's, gives
    another cached file, and none is ever read that was made otherwise. A cached file that was cut short is made anew.

    Args:
        data: items with paths ``image`` and ``label``.
        transform: the whole chain; a nested ``Compose`` must be flattened, for MONAI takes it as random.
        cache_dir: made where it does not exist; may be shared by runs and processes.
    """

    def __init__(self, data: Sequence[Any], transform: Callable | Sequence[Callable], cache_dir: PathLike) -> None:
        chain = transform if isinstance(transform, Compose) else Compose(transform)
        self.preparation = transforms_fingerprint(deterministic_part(chain))
        super().__init__(data, chain, Path(cache_dir), hash_func=self._name)

    def _name(self, item: Mapping[str, Any]) -> bytes:
        return f"{item_fingerprint(item)}-{self.preparation}".encode()

    def _cachecheck(self, item_transformed: Any) -> Any:
        try:
            return super()._cachecheck(item_transformed)
        # torch's zip reader on a file that was cut short; MONAI deletes other damaged files itself
        except (RuntimeError, EOFError) as error:
            file = Path(str(self.cache_dir)) / f"{self._name(item_transformed).decode()}.pt"
            if not file.is_file():
                raise
            # an empty file's error has no message at all
            cause = str(error).split("\n")[0][:120] or type(error).__name__
            warnings.warn(f"{file} cannot be read ({cause}); making it anew.", stacklevel=2)
            file.unlink(missing_ok=True)
            return super()._cachecheck(item_transformed)


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
        transform: the whole chain, flat.
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
        return CacheDataset(data, transform, cache_rate=cache_rate, num_workers=num_workers)
    if not cache_dir:
        raise ValueError("cache='disk' needs a folder: give cache_dir.")
    return DiskCacheDataset(data, transform, cache_dir)
