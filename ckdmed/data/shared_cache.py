"""A cache of prepared images that all datasets of a process share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from monai.data import CacheDataset
from monai.utils import CommonKeys

from ckdmed.data.fingerprints import deterministic_part, flat_chain, item_fingerprint, transforms_fingerprint

__all__ = ["SharedCacheDataset"]


class SharedCacheDataset(CacheDataset):
    """MONAI's ``CacheDataset``, with the prepared images kept for the other datasets of the process.

    For a process that trains several times on one set of images: each image is read and prepared once for each chain of
    transforms. Everything else of an item (label, patient) comes from the item itself, so that datasets may differ
    in it. It takes the arguments of :func:`~ckdmed.data.cached_dataset` and can stand in its place.

    Args:
        data: items with ``image``, a file.
        transform: the whole chain, which is flattened; its steps before the first random one must change the image
            alone.
        cache_rate, num_workers: as ``CacheDataset``.
        settings: others of ``cached_dataset``, which mean nothing here.
    """

    _shared: ClassVar[dict[tuple[str, str], Any]] = {}

    def __init__(
        self,
        data: Sequence[dict],
        transform: Callable | Sequence[Callable],
        cache_rate: float = 1.0,
        num_workers: int | None = None,
        **settings: Any,
    ) -> None:
        chain = flat_chain(transform)
        self.preparation = transforms_fingerprint(deterministic_part(chain))
        super().__init__(data, chain, cache_rate=cache_rate, num_workers=num_workers, progress=False)

    def _load_cache_item(self, idx: int) -> Any:
        item = self.data[idx]
        # one file may hold several slices
        place = {CommonKeys.IMAGE: item[CommonKeys.IMAGE], **{name: item[name] for name in ("slice",) if name in item}}
        key = (self.preparation, item_fingerprint(place, (CommonKeys.IMAGE,)))
        if key not in self._shared:
            self._shared[key] = super()._load_cache_item(idx)[CommonKeys.IMAGE]
        return {**item, CommonKeys.IMAGE: self._shared[key]}

    @classmethod
    def clear(cls) -> None:
        """Forget all images."""
        cls._shared.clear()
