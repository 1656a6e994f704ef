"""Loading one slice and its label from files of any supported kind."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import LoadImage, MapTransform
from monai.utils import MetaKeys, ensure_tuple

from ckdmed.checked_entries import file_stamps
from ckdmed.counted import counted
from ckdmed.data.figshare import FigshareMatReader
from ckdmed.data.label_files import read_label_slices
from ckdmed.data.slice_files import InputFileError, check_same_grid, file_kind, read_slices
from ckdmed.data.slice_geometry import SliceGeometry

__all__ = ["BACKGROUND", "LoadSliced", "TUMOUR", "check_named", "region_names"]

#: One region: everything in the label that is not 0.
TUMOUR: Mapping[str, Sequence[int] | None] = {"tumour": None}
#: Under this name stand label values that are in no region.
BACKGROUND = "background"


def region_names(regions: Mapping[str, Sequence[int] | None] | None) -> list[str]:
    """Names of the channels of a label; see `LoadSliced`."""
    return [name for name in (TUMOUR if regions is None else regions) if name != BACKGROUND]


def check_named(there: Collection[int], regions: Mapping[str, Collection[int] | None], file: str) -> None:
    """Refuse a label with a value that neither a region nor the background has.

    Args:
        there: the values of the label, without 0.
        regions: as of `LoadSliced`.
        file: of the label.

    Raises:
        InputFileError: names the file and the values.
    """
    named = {value for name, listed in regions.items() for value in _values(name, listed, there)}
    if unnamed := sorted(set(there) - named):
        told = {name: None if listed is None else sorted(listed) for name, listed in regions.items() if listed != []}
        raise InputFileError(
            f"{file}: the label has the value{'s' * (len(unnamed) > 1)} {', '.join(map(str, unnamed))}, which no "
            f"region contains ({told}); add {'them' if len(unnamed) > 1 else 'it'} to a region, or to '{BACKGROUND}'."
        )


def _values(name: str, listed: Collection[int] | None, there: Collection[int]) -> Collection[int]:
    # a background of None holds nothing, a region of None everything
    return listed if listed is not None else () if name == BACKGROUND else there


class LoadSliced(MapTransform):
    """Load the slice of an item, and its label as one channel for each region.

    A Figshare ``.mat`` that is its own label is read by
    :class:`~ckdmed.data.figshare.FigshareMatReader`; other images by
    :func:`~ckdmed.data.slice_files.read_slices`, labels by :func:`~ckdmed.data.label_files.read_label_slices`. An item
    without a label (``""``) gets an empty one, and counts as unlabelled by its key ``labelled``. The label of an item
    with the key ``soft`` holds the probabilities of its one region, which stay as they are.

    Args:
        keys: "image", or "image" and "label".
        regions: name -> values of the label that are in it; None for every value but 0. Regions may overlap, and
            become channels in this order. A value that is in no region is an error; values that are to count as
            background are listed under the name "background".
        slice_axis: of volumes; the item's key ``slice`` says which slice is meant.

    Shape:
        ``image`` [C, H, W] float32, one channel for each file of the item; ``label`` [R, H, W] float32, 0 and 1;
        MetaTensors without an affine (the identity).

    Raises:
        ValueError: other keys, no region.
        InputFileError: when called, a file that cannot be used, channels or a label of another size or place than the
            (first) image, a label value that is in no region.
    """

    def __init__(
        self,
        keys: KeysCollection = ("image", "label"),
        regions: Mapping[str, Sequence[int] | None] | None = None,
        slice_axis: int | str = -1,
    ) -> None:
        super().__init__(keys)
        regions = dict(TUMOUR if regions is None else regions)
        if self.keys not in (("image",), ("image", "label")):
            raise ValueError(f"keys must be 'image', or 'image' and 'label', got {self.keys}.")
        self.background = [int(value) for value in regions.pop(BACKGROUND, None) or ()]
        if not regions:
            raise ValueError("regions must name at least one region.")
        self.regions = {name: None if values is None else [int(v) for v in values] for name, values in regions.items()}
        self.slice_axis = slice_axis

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        files = [str(file) for file in ensure_tuple(item["image"])]
        number = int(item.get("slice", 0))
        label_file = str(item.get("label", "")) if "label" in self.keys else None
        if len(files) == 1 and label_file in (None, files[0]) and _is_figshare(item, files[0]):
            item["image"] = _figshare_image(files[0])
            if label_file is not None:
                mask = _figshare_mask(files[0])
                item["label"] = self._channels(mask, mask[0].numpy().astype(np.int32), label_file)
            return item
        image, geometry, shape = self._image(files, number)
        item["image"] = image
        if label_file is not None:
            load = self._soft_label if item.get("soft") else self._label
            item["label"] = load(label_file, image, (files[0], geometry, shape), number)
        return item

    def _image(self, files: Sequence[str], number: int) -> tuple[MetaTensor, SliceGeometry, tuple[int, ...]]:
        parts = [_slices(file, self.slice_axis) for file in files]
        first, geometry = parts[0]
        for file, (slices, other) in zip(files[1:], parts[1:]):
            check_same_grid(files[0], geometry, first.shape, file, other, slices.shape)
        if number >= len(first):
            raise InputFileError(f"{files[0]}: has {counted(len(first), 'slice')}, but slice {number} was requested.")
        array = np.stack([slices[number] for slices, _ in parts])
        return _meta_tensor(array, files[0]), geometry, first.shape

    def _label(
        self, file: str, image: MetaTensor, first: tuple[str, SliceGeometry, tuple[int, ...]], number: int
    ) -> MetaTensor:
        if not file:
            return _meta_tensor(np.zeros((len(self.regions), *image.shape[1:]), dtype=np.float32), first[0])
        slices, place = _label_slices(file, self.slice_axis)
        check_same_grid(*first, file, place, slices.shape)
        return self._channels(image, slices[number], file)

    def _soft_label(
        self, file: str, image: MetaTensor, first: tuple[str, SliceGeometry, tuple[int, ...]], number: int
    ) -> MetaTensor:
        slices, place = _label_slices(file, self.slice_axis, soft=True)
        check_same_grid(*first, file, place, slices.shape)
        if len(self.regions) != 1:
            raise InputFileError(
                f"{file}: a label of probabilities takes one region, but there are {len(self.regions)}."
            )
        values = slices[number]
        return MetaTensor(torch.from_numpy(values[None].copy()), meta=dict(image.meta))

    def _channels(self, like: MetaTensor, values: np.ndarray, file: str) -> MetaTensor:
        there = {int(value) for value in np.unique(values)} - {0}
        check_named(there, {**self.regions, BACKGROUND: self.background}, file)
        channels = [
            (values != 0) & ~np.isin(values, self.background) if listed is None else np.isin(values, listed)
            for listed in self.regions.values()
        ]
        return MetaTensor(torch.from_numpy(np.stack(channels).astype(np.float32)), meta=dict(like.meta))


def _is_figshare(item: Mapping[Hashable, Any], file: str) -> bool:
    # an item of a user's own datalist has the number of its slice
    return "slice" not in item and file_kind(file) == "mat"


def _figshare_image(file: str) -> MetaTensor:
    return LoadImage(FigshareMatReader("image"), ensure_channel_first=True)(file)  # type: ignore[return-value]


def _figshare_mask(file: str) -> MetaTensor:
    return LoadImage(FigshareMatReader("mask"), ensure_channel_first=True)(file)  # type: ignore[return-value]


def _meta_tensor(array: np.ndarray, file: str) -> MetaTensor:
    meta = {
        MetaKeys.AFFINE.value: torch.eye(4, dtype=torch.float64),
        MetaKeys.ORIGINAL_CHANNEL_DIM.value: 0,
        "filename_or_obj": file,
    }
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(array)), meta=meta)


# Items of a volume follow one another, and each asks for one slice of it.
def _slices(file: str, slice_axis: int | str) -> tuple[np.ndarray, SliceGeometry]:
    return _kept_slices(file, str(file_stamps([Path(file)])), slice_axis)


def _label_slices(file: str, slice_axis: int | str, soft: bool = False) -> tuple[np.ndarray, SliceGeometry]:
    return _kept_label_slices(file, str(file_stamps([Path(file)])), slice_axis, soft)


@lru_cache(maxsize=8)
def _kept_slices(file: str, stamp: str, slice_axis: int | str) -> tuple[np.ndarray, SliceGeometry]:
    return read_slices(file, slice_axis)


@lru_cache(maxsize=4)
def _kept_label_slices(file: str, stamp: str, slice_axis: int | str, soft: bool) -> tuple[np.ndarray, SliceGeometry]:
    return read_label_slices(file, slice_axis, soft)
