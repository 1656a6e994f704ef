"""A drawn tumour border made into a mask."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import MapTransform, Transform
from monai.utils import convert_data_type, ensure_tuple
from monai.utils.enums import TransformBackends

from ckdmed.geometry import polygon_mask

__all__ = ["BorderToMask", "BorderToMaskd"]


class BorderToMask(Transform):
    """Fill a tumour border on the grid of its image.

    A pixel belongs to the mask when its centre lies inside the polygon or on its edge; the polygon is
    closed if it is not, and cut off at the image.

    The border counts the pixels of the image as it was stored: apply this before anything that resizes,
    flips or crops the image.

    Args:
        one_based: the coordinates count from 1, as MATLAB's do (default); else from 0, the centre of the
            first pixel being (0, 0). On the Figshare slices, the wrong choice costs about a tenth of overlap.
        transposed: the image is transposed, as h5py shows MATLAB arrays, so x counts its rows. Default
            False: the image is upright, x counts columns and y rows.

    Shape:
        border ``[2n]``, ``[1, 2n]`` or ``[2n, 1]`` as x1, y1, x2, y2, ..., or ``[n, 2]`` as (x, y); image
        ``[C, H, W]``. Mask ``[1, H, W]``, uint8, 1 inside. The mask has the meta of the image, affine
        included, where the image is a MetaTensor.

    Raises:
        ValueError: if the border has an odd number of values, another shape, fewer than three points, or NaN or
            infinite values; if the image is not ``[C, H, W]``.

    Example::

        BorderToMask()(border, image)  # border [1, 2n] and image [1, 512, 512] of a Figshare file
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, one_based: bool = True, transposed: bool = False) -> None:
        self.one_based = one_based
        self.transposed = transposed

    def __call__(self, border: NdarrayOrTensor, img: NdarrayOrTensor) -> torch.Tensor:  # type: ignore[override]
        """Draw ``border`` on the grid of the channel-first ``img``."""
        points = _points(convert_data_type(border, np.ndarray, dtype=np.float64)[0])
        if img.ndim != 3:
            raise ValueError(f"A border is drawn on a 2D image [C, H, W], got an image of shape {tuple(img.shape)}.")
        if self.transposed:
            points = points[:, ::-1]
        shape = (int(img.shape[1]), int(img.shape[2]))
        mask = torch.from_numpy(polygon_mask(points, shape, self.one_based)[None])
        if isinstance(img, torch.Tensor):
            mask = mask.to(img.device)
        if not get_track_meta():
            return mask
        if not isinstance(img, MetaTensor):
            return MetaTensor(mask)
        out = MetaTensor(mask).copy_meta_from(img)
        # The mask was never through the operations of the image: there is nothing of them to undo.
        out.applied_operations = []
        return out


def _points(border: np.ndarray) -> np.ndarray:
    if border.ndim == 2 and border.shape[1] == 2 and border.shape[0] != 1:
        return border
    if border.ndim == 1 or (border.ndim == 2 and 1 in border.shape):
        if border.size % 2:
            raise ValueError(f"A border lists pairs x, y but has an odd number of values: {border.size}.")
        return border.reshape(-1, 2)
    raise ValueError(f"A border is [2n], [1, 2n], [2n, 1] or [n, 2], got an array of shape {border.shape}.")


class BorderToMaskd(MapTransform):
    """Dictionary twin of :class:`BorderToMask`.

    Args:
        keys: keys of the borders.
        image_key: key of the image on whose grid they are drawn. Default ``"image"``.
        mask_keys: keys under which the masks are put, one for each of ``keys``. Default: the mask replaces
            the border.
        one_based, transposed: see :class:`BorderToMask`.
        allow_missing_keys: do not raise if a key is missing.

    Raises:
        KeyError: if the data lack ``image_key``.
        ValueError: if ``mask_keys`` and ``keys`` differ in number.

    Example::

        BorderToMaskd(keys="border", image_key="image", mask_keys="label")
    """

    backend = BorderToMask.backend

    def __init__(
        self,
        keys: KeysCollection,
        image_key: str = "image",
        mask_keys: KeysCollection | None = None,
        one_based: bool = True,
        transposed: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.mask_keys = self.keys if mask_keys is None else ensure_tuple(mask_keys)
        if len(self.mask_keys) != len(self.keys):
            raise ValueError(f"mask_keys must be one for each of keys, got {self.mask_keys} for {self.keys}.")
        self.transform = BorderToMask(one_based, transposed)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        d = dict(data)
        for key, mask_key in self.key_iterator(d, self.mask_keys):
            if self.image_key not in d:
                raise KeyError(
                    f"BorderToMaskd needs the image under the key {self.image_key!r}; the data have {list(d)}."
                )
            d[mask_key] = self.transform(d[key], d[self.image_key])
        return d
