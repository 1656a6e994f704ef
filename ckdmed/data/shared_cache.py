"""A cache of prepared images that all datasets of a process share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from monai.data import CacheDataset
from monai.utils import CommonKeys

__all__ = ["SharedCacheDataset"]


class SharedCacheDataset(CacheDataset):
    """MONAI's ``CacheDataset``, with the prepared images kept for the other datasets of the process.

    For a process that trains several times on one set of images: each image is read and prepared once. Everything else
    of an item (label, patient) comes from the item itself, so that datasets may differ in it.

    Args:
        data: items with ``image``, a file.
        transform: its steps before the first random one must treat the image by itself, alone and always alike.
        scope: name of these steps and their settings; datasets with one scope share.
        kwargs: as ``CacheDataset``.
    """

    _shared: ClassVar[dict[tuple[str, str], Any]] = {}

    def __init__(self, data: Sequence[dict], transform: Callable, scope: str, **kwargs: Any) -> None:
        self.scope = scope
        super().__init__(data, transform, **kwargs)

    def _load_cache_item(self, idx: int) -> Any:
        item = self.data[idx]
        key = (self.scope, str(item[CommonKeys.IMAGE]))
        if key not in self._shared:
            self._shared[key] = super()._load_cache_item(idx)[CommonKeys.IMAGE]
        return {**item, CommonKeys.IMAGE: self._shared[key]}

    @classmethod
    def clear(cls) -> None:
        """Forget all images."""
        cls._shared.clear()
