"""Contrast limited adaptive histogram equalisation (CLAHE) for 2D and 3D images."""

from __future__ import annotations

import numbers
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import MapTransform, Transform
from monai.utils import convert_data_type, convert_to_dst_type, convert_to_tensor
from monai.utils.enums import TransformBackends

from ckdmed.tile_equalisation import equalise_tiles

__all__ = ["CLAHE", "CLAHEd"]


class CLAHE(Transform):
    """Equalise the histogram of each tile of an image, with limited contrast, and blend between tiles.

    Every channel is treated by itself. Its values are first stretched from their own minimum and maximum
    to 0..1 (in ``mode="slice"``: those of each slice), so the result does not depend on the scale or offset
    of the input, and absolute intensities of different images are no longer comparable afterwards. A
    constant channel or slice carries no contrast: it becomes the lower end of ``output_range``, or stays
    as it is for ``output_range="input"``.

    Args:
        clip_limit: largest share of a tile's pixels that one histogram bin may hold, in [0, 1]; what is
            above it is spread over all bins. Higher gives more contrast; 0 means no limit (plain adaptive
            equalisation). OpenCV's ``clipLimit=c`` corresponds to ``c / nbins``. Default 0.01, as in
            scikit-image: 2.56 times the flat histogram at 256 bins. A bin may always hold one pixel, so
            values below ``1 / (pixels of a tile)`` do no more: with 8 tiles per axis, 0.016 at 64 pixels
            and 0.004 at 128.
        tile_grid: number of tiles, one number for all axes or one per equalised axis (two in slice mode).
            Default 8, used when ``kernel_size`` is not given.
        kernel_size: size of a tile in pixels instead of ``tile_grid``; a number or one per equalised axis.
        nbins: bins of each histogram, 2 to 16384. Default 256.
        mode: ``"slice"`` (each 2D slice of a volume by itself) or ``"volume"`` (tiles are blocks). For 2D
            images both are the same. Default ``"slice"``: anisotropic volumes and slice-wise networks.
        slice_axis: spatial axis of a volume that counts its slices in ``mode="slice"``, 0 to 2 or negative.
            Default -1.
        output_range: (low, high) of the result, or ``"input"`` for the minimum and maximum that were
            found. Default (0, 1).

    Shape:
        ``[C, H, W]`` or ``[C, H, W, D]`` to the same, float32.

    Raises:
        ValueError: if ``clip_limit`` is outside [0, 1], ``nbins`` outside [2, 16384], ``mode`` unknown,
            both ``tile_grid`` and ``kernel_size`` are given, one of them is below 1 or has a wrong number of
            entries, ``output_range`` is not increasing; if the input is not 2D or 3D with a channel axis,
            is complex or bfloat16, or holds NaN or infinite values.

    Source:
        K. Zuiderveld, "Contrast Limited Adaptive Histogram Equalization", Graphics Gems IV, 1994. The values
        are those of ``skimage.exposure.equalize_adapthist``, bit for bit; ``benchmarks/clahe.py`` compares the
        times.

    Example::

        CLAHE(clip_limit=0.02, tile_grid=8)(image)  # image [1, 512, 512]
    """

    backend = [TransformBackends.NUMPY]

    def __init__(
        self,
        clip_limit: float = 0.01,
        tile_grid: int | Sequence[int] | None = None,
        kernel_size: int | Sequence[int] | None = None,
        nbins: int = 256,
        mode: str = "slice",
        slice_axis: int = -1,
        output_range: tuple[float, float] | str = (0.0, 1.0),
    ) -> None:
        if not 0 <= clip_limit <= 1:
            raise ValueError(f"clip_limit must be in [0, 1] (OpenCV's clipLimit divided by nbins), got {clip_limit}.")
        if not 2 <= nbins <= 2**14:
            raise ValueError(f"nbins must be in [2, 16384], got {nbins}.")
        if mode not in ("slice", "volume"):
            raise ValueError(f"mode must be 'slice' or 'volume', got {mode!r}.")
        if tile_grid is not None and kernel_size is not None:
            raise ValueError("Give tile_grid (number of tiles) or kernel_size (pixels of a tile), not both.")
        for name, value in (("tile_grid", tile_grid), ("kernel_size", kernel_size)):
            if value is not None and np.min(value) < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if isinstance(output_range, str):
            if output_range != "input":
                raise ValueError(f"output_range must be (low, high) or 'input', got {output_range!r}.")
        elif len(output_range) != 2 or not output_range[0] < output_range[1]:
            raise ValueError(f"output_range must be (low, high) with low < high, got {output_range}.")
        self.clip_limit = clip_limit
        self.tile_grid = 8 if tile_grid is None and kernel_size is None else tile_grid
        self.kernel_size = kernel_size
        self.nbins = nbins
        self.mode = mode
        self.slice_axis = slice_axis
        self.output_range = output_range

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        """Equalise a channel-first image."""
        img = convert_to_tensor(img, track_meta=get_track_meta())
        if torch.is_complex(torch.as_tensor(img)) or img.dtype == torch.bfloat16:
            raise ValueError(f"CLAHE expects real numbers NumPy knows, got {img.dtype}; call abs() or float().")
        array, *_ = convert_data_type(img, np.ndarray)
        if array.ndim not in (3, 4):
            raise ValueError(f"CLAHE expects [C, H, W] or [C, H, W, D], got an array of shape {array.shape}.")
        if not np.isfinite(array).all():
            raise ValueError("CLAHE got NaN or infinite values; replace them first, for example by numpy.nan_to_num.")
        out = np.empty(array.shape, np.float32)
        if array.ndim == 4 and self.mode == "slice":
            if not -3 <= self.slice_axis < 3:
                raise ValueError(f"slice_axis must be a spatial axis of the volume, -3 to 2, got {self.slice_axis}.")
            axis = self.slice_axis % 3 + 1
            by_slice = np.moveaxis(array, axis, 1)
            for channel, plane in np.ndindex(by_slice.shape[:2]):
                self._equalise(by_slice[channel, plane], np.moveaxis(out, axis, 1)[channel, plane])
        else:
            for channel in range(len(array)):
                self._equalise(array[channel], out[channel])
        return convert_to_dst_type(out, dst=img, dtype=np.float32)[0]

    def _equalise(self, image: np.ndarray, out: np.ndarray) -> None:
        low, high = float(image.min()), float(image.max())
        out_low, out_high = (low, high) if isinstance(self.output_range, str) else self.output_range
        if low == high:
            out[...] = out_low
        else:
            equalise_tiles(image, self._tile_size(image.shape), self.clip_limit, self.nbins, out_low, out_high, out)

    def _tile_size(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        name, given = ("tile_grid", self.tile_grid) if self.kernel_size is None else ("kernel_size", self.kernel_size)
        values = (given,) * len(shape) if isinstance(given, numbers.Integral) else tuple(given)  # type: ignore
        if len(values) != len(shape):
            raise ValueError(f"{name} has {len(values)} entries but {len(shape)} axes are equalised: {values}.")
        if self.kernel_size is not None:
            return tuple(int(v) for v in values)
        return tuple(-(-size // int(tiles)) for size, tiles in zip(shape, values))


class CLAHEd(MapTransform):
    """Dictionary twin of :class:`CLAHE`.

    Args:
        keys: keys of the images.
        clip_limit, tile_grid, kernel_size, nbins, mode, slice_axis, output_range: see :class:`CLAHE`.
        allow_missing_keys: do not raise if a key is missing.
    """

    backend = CLAHE.backend

    def __init__(
        self,
        keys: KeysCollection,
        clip_limit: float = 0.01,
        tile_grid: int | Sequence[int] | None = None,
        kernel_size: int | Sequence[int] | None = None,
        nbins: int = 256,
        mode: str = "slice",
        slice_axis: int = -1,
        output_range: tuple[float, float] | str = (0.0, 1.0),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = CLAHE(clip_limit, tile_grid, kernel_size, nbins, mode, slice_axis, output_range)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.transform(d[key])
        return d
