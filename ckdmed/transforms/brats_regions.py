"""BraTS masks to channels of regions or labels, and back."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import ConvertToMultiChannelBasedOnBratsClasses, MapTransform, Transform
from monai.utils import convert_data_type, convert_to_dst_type
from monai.utils.enums import TransformBackends

from ckdmed.labels import REGIONS, BratsLabels, brats_labels, checked_regions

__all__ = [
    "BratsLabelsToOneHot",
    "BratsLabelsToOneHotd",
    "BratsLabelsToRegions",
    "BratsLabelsToRegionsd",
    "RegionsToBratsLabels",
    "RegionsToBratsLabelsd",
]

# What MONAI's conversion knows: core 1, oedema 2, and the enhancing label that it is told.
_MONAI_TABLE = brats_labels(2023)


def _as_array(mask: NdarrayOrTensor) -> np.ndarray:
    array: np.ndarray = convert_data_type(mask, np.ndarray)[0]
    return array


def _one_channel(mask: NdarrayOrTensor) -> np.ndarray:
    array = _as_array(mask)
    if array.ndim not in (3, 4) or array.shape[0] != 1:
        raise ValueError(f"a mask of labels must have the shape [1, H, W] or [1, H, W, D], got {array.shape}.")
    return array[0]


def _check_known(table: BratsLabels, array: np.ndarray) -> None:
    if unknown := table.unknown(np.unique(array)):
        known = ", ".join(f"{value} {name}" for value, name in table.names.items())
        raise ValueError(
            f"the mask holds {', '.join(f'{v:g}' for v in unknown[:5])}, not among the labels of BraTS "
            f"{table.release} ({known}); give the release that it belongs to."
        )


class BratsLabelsToRegions(Transform):
    """Mask of labels to one channel of 0 and 1 per region, which overlap: ET lies in TC, TC in WT.

    MONAI's ``ConvertToMultiChannelBasedOnBratsClasses`` does it; this makes the label table a release's, refuses
    labels that the release does not have, takes 2D slices, chooses the channels, and gives floats, as losses want.

    Args:
        release: see :func:`ckdmed.labels.brats_labels`. Default 2023 (ET is 3).
        tumour_type: see there.
        regions: channels, of TC, WT, ET. Default: these, MONAI's order.

    Shape:
        ``[1, H, W]`` or ``[1, H, W, D]`` to ``[len(regions), ...]``, float32.

    Raises:
        ValueError: for an unknown release, type or region; if the mask has several channels or holds a value that is
            no label of the release.

    Example::

        BratsLabelsToRegions(2018)(mask)  # mask [1, 240, 240, 155] of 0, 1, 2, 4
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, release: int | str = 2023, tumour_type: str = "GLI", regions: Sequence[str] = REGIONS) -> None:
        self.table = brats_labels(release, tumour_type)
        self.regions = checked_regions(regions)
        self._convert = ConvertToMultiChannelBasedOnBratsClasses(et_label=_MONAI_TABLE.et)

    def __call__(self, mask: NdarrayOrTensor) -> NdarrayOrTensor:
        array = _one_channel(mask)
        _check_known(self.table, array)
        channels = _as_array(self._convert(self.table.convert(array, _MONAI_TABLE)))
        chosen = channels[[REGIONS.index(region) for region in self.regions]].astype(np.float32)
        return convert_to_dst_type(chosen, dst=mask, dtype=np.float32)[0]


class RegionsToBratsLabels(Transform):
    """Channels of regions to a mask of labels; the inverse of :class:`BratsLabelsToRegions` for nested channels.

    Where channels contradict each other, ET goes before TC and TC before WT. A region without a channel is nowhere, so
    that WT alone becomes oedema.

    Args:
        release: see :func:`ckdmed.labels.brats_labels`. Default 2023.
        tumour_type: see there.
        regions: what the channels are, of TC, WT and ET.
        threshold: a voxel is inside where its channel is above this. Default 0.5, for probabilities and 0/1; use 0
            for logits.

    Shape:
        ``[len(regions), *S]`` to ``[1, *S]``, uint8.

    Raises:
        ValueError: for an unknown release or type, other regions, or another number of channels.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(
        self,
        release: int | str = 2023,
        tumour_type: str = "GLI",
        regions: Sequence[str] = REGIONS,
        threshold: float = 0.5,
    ) -> None:
        self.table = brats_labels(release, tumour_type)
        self.regions = checked_regions(regions)
        self.threshold = float(threshold)

    def __call__(self, channels: NdarrayOrTensor) -> NdarrayOrTensor:
        mask = self.table.from_regions(_as_array(channels) > self.threshold, self.regions)
        return convert_to_dst_type(mask[None], dst=channels, dtype=np.uint8)[0]


class BratsLabelsToOneHot(Transform):
    """Mask of labels to exclusive channels background, NCR, ED, ET, in this order whatever the release's numbers.

    Labels of no region (a resection cavity) count as background.

    Args:
        release, tumour_type: see :func:`ckdmed.labels.brats_labels`.

    Shape:
        ``[1, *S]`` to ``[4, *S]``, float32; the channels sum to 1.

    Raises:
        ValueError: as :class:`BratsLabelsToRegions`.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, release: int | str = 2023, tumour_type: str = "GLI") -> None:
        self.table = brats_labels(release, tumour_type)

    def __call__(self, mask: NdarrayOrTensor) -> NdarrayOrTensor:
        array = _one_channel(mask)
        _check_known(self.table, array)
        tumour = np.stack([array == value for value in (self.table.ncr, self.table.ed, self.table.et)])
        channels = np.concatenate([~tumour.any(axis=0, keepdims=True), tumour]).astype(np.float32)
        return convert_to_dst_type(channels, dst=mask, dtype=np.float32)[0]


class _Mapped(MapTransform):
    """Applies ``self.transform`` to each key."""

    transform: Transform

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.transform(d[key])
        return d


class BratsLabelsToRegionsd(_Mapped):
    """Dictionary twin of :class:`BratsLabelsToRegions`.

    Args:
        keys: keys of the masks.
        release, tumour_type, regions: see :class:`BratsLabelsToRegions`.
        allow_missing_keys: do not raise if a key is missing.
    """

    backend = BratsLabelsToRegions.backend

    def __init__(
        self,
        keys: KeysCollection,
        release: int | str = 2023,
        tumour_type: str = "GLI",
        regions: Sequence[str] = REGIONS,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = BratsLabelsToRegions(release, tumour_type, regions)


class RegionsToBratsLabelsd(_Mapped):
    """Dictionary twin of :class:`RegionsToBratsLabels`.

    Args:
        keys: keys of the channels.
        release, tumour_type, regions, threshold: see :class:`RegionsToBratsLabels`.
        allow_missing_keys: do not raise if a key is missing.
    """

    backend = RegionsToBratsLabels.backend

    def __init__(
        self,
        keys: KeysCollection,
        release: int | str = 2023,
        tumour_type: str = "GLI",
        regions: Sequence[str] = REGIONS,
        threshold: float = 0.5,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = RegionsToBratsLabels(release, tumour_type, regions, threshold)


class BratsLabelsToOneHotd(_Mapped):
    """Dictionary twin of :class:`BratsLabelsToOneHot`.

    Args:
        keys: keys of the masks.
        release, tumour_type: see :class:`BratsLabelsToOneHot`.
        allow_missing_keys: do not raise if a key is missing.
    """

    backend = BratsLabelsToOneHot.backend

    def __init__(
        self,
        keys: KeysCollection,
        release: int | str = 2023,
        tumour_type: str = "GLI",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = BratsLabelsToOneHot(release, tumour_type)
