"""Where the brain, or at least the head, is in images of one grid."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform
from monai.utils import convert_data_type, convert_to_dst_type
from scipy import ndimage
from skimage.filters import threshold_otsu

__all__ = ["BrainMaskd", "brain_mask"]

BRAIN_METHODS = ("auto", "nonzero", "tissue")
# A skull-stripped image is exactly 0 in most of the field of view; air in a scan is noise, or 0 in places.
_STRIPPED_SHARE = 0.4


def brain_mask(images: Sequence[np.ndarray], method: str = "auto") -> np.ndarray:
    """Find the brain in images of one grid.

    Args:
        images: arrays of one shape, 2D or 3D, one per modality.
        method: ``"nonzero"``: where any image differs from 0; right for skull-stripped images, whose brain may hold
            negative values. ``"tissue"``: above half of Otsu's threshold in any image, the largest piece, holes
            filled; this is the head with its skull, since no brain extraction is done. ``"auto"`` (default):
            ``"nonzero"`` where the first image is 0 in 40 % of its voxels or more and the outermost layer of
            voxels is 0 as well, else ``"tissue"``.

    Returns:
        bool array of the images' shape.

    Raises:
        ValueError: no images, different shapes, an unknown method, or nothing is found (constant images).
    """
    if method not in BRAIN_METHODS:
        raise ValueError(f"a brain mask's method must be one of {', '.join(BRAIN_METHODS)}, got {method!r}.")
    if not images or any(image.shape != images[0].shape for image in images):
        raise ValueError(f"a brain mask needs images of one shape, got {[tuple(image.shape) for image in images]}.")
    if method == "auto":
        method = "nonzero" if _is_stripped(images[0]) else "tissue"
    if method == "nonzero":
        found = np.logical_or.reduce([image != 0 for image in images])
    else:
        found = _largest_filled(np.logical_or.reduce([_bright(image) for image in images]))
    if not found.any():
        raise ValueError("no brain is found: the images are constant.")
    return np.asarray(found)


def _is_stripped(image: np.ndarray) -> bool:
    inner = image[tuple(slice(1, -1) for _ in image.shape)]
    shell = np.count_nonzero(image) - np.count_nonzero(inner)
    shell_size = image.size - inner.size
    return bool(np.mean(image == 0) >= _STRIPPED_SHARE and shell <= 0.05 * shell_size)


def _bright(image: np.ndarray) -> np.ndarray:
    if image.min() == image.max():
        return np.zeros(image.shape, bool)
    # Half of the threshold: Otsu's own separates bright from dark tissue where fat is much brighter than the brain.
    low = float(np.percentile(image, 1))
    return np.asarray(image > low + 0.5 * (threshold_otsu(image) - low))


def _largest_filled(mask: np.ndarray) -> np.ndarray:
    pieces, count = ndimage.label(mask)
    if count > 1:
        mask = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    filled = ndimage.binary_closing(np.pad(mask, 2), iterations=2)[tuple(slice(2, -2) for _ in mask.shape)]
    # Slice by slice along the last axis: a head that is cut by the field of view is open at the neck.
    layers = filled[..., None] if filled.ndim == 2 else filled
    return np.stack([ndimage.binary_fill_holes(layers[..., k]) for k in range(layers.shape[-1])], -1).reshape(
        mask.shape
    )


class BrainMaskd(MapTransform):
    """Add the brain mask of one-channel or many-channel images of one grid; see :func:`brain_mask`.

    Args:
        keys: keys of the images, channel first; all their channels are looked at together.
        mask_key: key of the result. Default "brain".
        method: see :func:`brain_mask`.
        overwrite: whether to replace a mask that is there already. Default False: a given mask is kept.
        allow_missing_keys: do not raise if a key is missing.

    Shape:
        new: ``[1, *S]``, uint8.

    Raises:
        ValueError: as :func:`brain_mask`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str = "brain",
        method: str = "auto",
        overwrite: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if method not in BRAIN_METHODS:
            raise ValueError(f"a brain mask's method must be one of {', '.join(BRAIN_METHODS)}, got {method!r}.")
        self.mask_key, self.method, self.overwrite = mask_key, method, overwrite

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        d = dict(data)
        if self.mask_key in d and not self.overwrite:
            return d
        images = [d[key] for key in self.key_iterator(d)]
        arrays: list[np.ndarray] = [channel for image in images for channel in convert_data_type(image, np.ndarray)[0]]
        mask = brain_mask(arrays, self.method)[None].astype(np.uint8)
        d[self.mask_key] = convert_to_dst_type(mask, dst=images[0], dtype=np.uint8)[0]
        return d
