"""One image at several resolutions."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Resize
from monai.utils import ensure_tuple_rep

__all__ = ["MultiResolutiond"]


class MultiResolutiond(MapTransform):
    """Add each image resized to every size of a list, under ``<key>_<size>``.

    Each copy is made from the image itself, not from another copy. An image that has the size already is passed on
    as it is. Shrinking smooths first, so that thin structures do not vanish between the samples; masks are not
    smoothed.

    Args:
        keys: keys of the images and masks, channel first, 2D or 3D.
        sizes: edges in pixels, each at least 1; an edge is that of all axes. Default (112, 224, 448).
        mode: ``"bilinear"`` (default; trilinear in 3D) or ``"nearest"`` for masks; one for all keys or one per key.
        allow_missing_keys: do not raise if a key is missing.

    Shape:
        ``[C, *S]`` stays; new: ``[C, size, size]`` (or ``[C, size, size, size]``).

    Raises:
        ValueError: if ``sizes`` is empty, repeats a size or has one below 1; if ``mode`` is unknown; if a new key is in
            the data already.

    Example::

        MultiResolutiond(["image", "label"], (112, 224), mode=("bilinear", "nearest"))
    """

    def __init__(
        self,
        keys: KeysCollection,
        sizes: Sequence[int] = (112, 224, 448),
        mode: str | Sequence[str] = "bilinear",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.sizes = tuple(int(size) for size in sizes)
        if not self.sizes or min(self.sizes) < 1 or len(set(self.sizes)) != len(self.sizes):
            raise ValueError(f"sizes must be numbers of 1 or more, each once, got {tuple(sizes)}.")
        self.modes = ensure_tuple_rep(mode, len(self.keys))
        if not set(self.modes) <= {"bilinear", "nearest"}:
            raise ValueError(f"mode must be 'bilinear' or 'nearest', got {mode!r}.")

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        d = dict(data)
        for key, mode in self.key_iterator(d, self.modes):
            image = d[key]
            linear = "bilinear" if image.ndim == 3 else "trilinear"
            for size in self.sizes:
                name = f"{key}_{size}"
                if name in d:
                    raise ValueError(f"the data already have '{name}'; rename it or leave {size} out of sizes.")
                spatial = (size,) * (image.ndim - 1)
                if mode == "nearest":
                    d[name] = Resize(spatial, mode="nearest")(image)
                else:
                    d[name] = Resize(spatial, mode=linear, anti_aliasing=size < max(image.shape[1:]))(image)
        return d
