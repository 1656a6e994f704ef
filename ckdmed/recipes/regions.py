"""Preprocessing of BraTS cases, as slices or volumes: one part for training, evaluation and inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.data.image_reader import ImageReader
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    Compose,
    CopyItemsd,
    CropForegroundd,
    EnsureChannelFirstd,
    EnsureTyped,
    Invertd,
    LoadImaged,
    MapTransform,
    Orientationd,
    Resized,
    SpatialPadd,
)
from monai.utils import CommonKeys

from ckdmed.data.volume_reader import VolumeReader
from ckdmed.labels import REGIONS
from ckdmed.transforms import (
    BrainIntensityd,
    BratsLabelsToRegionsd,
    CaseLabelsToRegionsd,
    ForegroundPatchesd,
    SelectModalitiesd,
    segmentation_augmentation,
)
from ckdmed.transforms.brats_regions import RegionsToBratsLabelsd
from ckdmed.transforms.case_intensity import CaseIntensityd
from ckdmed.transforms.flip_state import FlipStated
from ckdmed.transforms.nested_regions import NestRegionsd
from ckdmed.transforms.region_patches import RegionPatchesd
from ckdmed.transforms.scan_grid import ScanGridd
from ckdmed.transforms.smooth_inverse import SmoothInversed

__all__ = [
    "case_loading",
    "case_masks",
    "case_predictions",
    "case_preprocessing",
    "region_augmentation",
    "region_preprocessing",
    "region_shape",
    "whole_regions",
]

IMAGE, LABEL, PRED = CommonKeys.IMAGE, CommonKeys.LABEL, CommonKeys.PRED
_BOTH = (IMAGE, LABEL)
_LABELS = 2023


def region_preprocessing(
    spatial_dims: int,
    image_size: int,
    roi_size: Sequence[int],
    modalities: Sequence[str],
    scaling: str = "zscore",
    clahe: bool | str = False,
    regions: Sequence[str] = REGIONS,
) -> Compose:
    """What becomes of an item of :func:`~ckdmed.bundle.brats_dataset` in training and validation.

    Slices are cut and scaled already: they are resized, and their labels become regions. Of a volume the
    chosen modalities are cropped to the brain and scaled by its values; it keeps half precision until a patch is taken.

    Args:
        spatial_dims: 2 for slices, 3 for volumes.
        image_size: edge of a slice in pixels.
        roi_size: edges of a patch in voxels; smaller volumes are padded.
        modalities: channels, in this order.
        scaling, clahe: of volumes, see :class:`~ckdmed.transforms.BrainIntensity`; slices are cut with theirs.
        regions: channels of the label, of TC (tumour core), WT (whole tumour) and ET (enhancing tumour).

    Shape: image (C, *spatial), label (len(regions), *spatial).
    """
    if spatial_dims == 2:
        return Compose(
            [
                Resized(_BOTH, (image_size, image_size), mode=("area", "nearest-exact")),
                BratsLabelsToRegionsd(LABEL, regions=regions),
                EnsureTyped(_BOTH, dtype=torch.float32, track_meta=False),
            ]
        )
    scale = BrainIntensityd(IMAGE, scaling, clahe)
    # MONAI takes what is above 0 unless told; a brain may hold negative values
    crop = CropForegroundd(_BOTH, source_key=IMAGE, select_fn=_not_zero, allow_smaller=True)
    # whole slices are equalised, as in an evaluation
    scaled = [scale, crop] if clahe else [crop, scale]
    return Compose(
        [
            # MONAI takes a reader itself, whatever the type in its signature
            LoadImaged(
                _BOTH, VolumeReader(), ensure_channel_first=True, allow_missing_keys=True  # type: ignore[arg-type]
            ),
            SelectModalitiesd(IMAGE, modalities=modalities),
            CaseLabelsToRegionsd(LABEL, regions),
            Orientationd(_BOTH, axcodes="RAS", labels=None),
            *scaled,
            SpatialPadd(_BOTH, roi_size),
            EnsureTyped(_BOTH, dtype=(torch.float16, torch.uint8), track_meta=False),
        ]
    )


def region_augmentation(
    level: str,
    spatial_dims: int,
    image_size: int,
    roi_size: Sequence[int],
    patches_per_volume: int,
    recipe: str = "adamw",
    tumour_share: float = 0.33,
) -> Compose:
    """Random changes of a slice, or of patches of a volume that are taken around tumour as often as elsewhere.

    With the recipe nnunet a share of a volume's patches is centred on tumour and the rest is taken anywhere.

    Args:
        level: see :func:`~ckdmed.transforms.segmentation_augmentation`.
        spatial_dims, image_size, roi_size: as in :func:`region_preprocessing`.
        patches_per_volume: in each step.
        recipe: of the training, see :func:`~ckdmed.recipes.recipe_optimizer`.
        tumour_share: of nnunet, see :class:`~ckdmed.transforms.ForegroundPatchesd`.
    """
    img_size = image_size if spatial_dims == 2 else max(roi_size)
    augmentation = segmentation_augmentation(level, spatial_dims=spatial_dims, img_size=img_size, track_meta=False)
    if spatial_dims == 2:
        return augmentation
    patches: MapTransform
    if recipe == "nnunet":
        patches = ForegroundPatchesd(_BOTH, LABEL, roi_size, patches_per_volume, tumour_share)
    else:
        patches = RegionPatchesd(_BOTH, LABEL, roi_size, pos=1, neg=1, num_samples=patches_per_volume)
    # each step goes through all patches of a volume before the next, so that FlipStated would tell of the last one's
    # flips in every patch; nothing asks for them
    steps = Compose([patches, augmentation]).flatten().transforms
    return Compose([step for step in steps if not isinstance(step, FlipStated)])


def whole_regions(preprocessing: Compose) -> Compose:
    """Of a validation: the preprocessing alone, in the types that training has."""
    return Compose([preprocessing, segmentation_augmentation("none", track_meta=False)]).flatten()


def region_shape(channels: int, spatial_dims: int, image_size: int, roi_size: Sequence[int]) -> list[int]:
    """(2, channels, *spatial) of a batch of slices or patches."""
    return [2, channels, *([image_size, image_size] if spatial_dims == 2 else roi_size)]


def case_loading(reader: ImageReader, modalities: Sequence[str]) -> Compose:
    """How an inference reads a case, apart from its preprocessing: an application may bring the image itself.

    Args:
        reader: see :class:`~ckdmed.data.case_reader.CaseReader`.
        modalities: channels that are kept, in this order.

    Shape: image (C, *spatial of the case); ``native`` is the same, as it came.
    """
    # MONAI takes a reader itself, whatever the type in its signature
    load = LoadImaged(IMAGE, reader, ensure_channel_first=True)  # type: ignore[arg-type]
    return Compose([load, SelectModalitiesd(IMAGE, modalities=modalities), CopyItemsd(IMAGE, names="native")])


def case_preprocessing(
    spatial_dims: int,
    image_size: int,
    modalities: Sequence[str],
    loaded: bool = False,
    brain: str = "auto",
    field_of_view: float | None = None,
    spacing: Sequence[float] | None = None,
    scaling: str = "zscore",
    clahe: bool | str = False,
    regions: Sequence[str] = REGIONS,
) -> Compose:
    """What becomes of a whole case before a network sees it, in evaluation and inference; it can be undone.

    The same scaling and grid as in training, of every slice or the whole volume.

    Args:
        spatial_dims, image_size, modalities: as in :func:`region_preprocessing`.
        loaded: of an inference, whose scan was read before (:func:`case_loading`), has no label and may be of any grid;
            False for an evaluation of BraTS cases with their labels.
        brain: how the brain of an inference's scan is found, see
            :class:`~ckdmed.transforms.case_intensity.CaseIntensityd`.
        field_of_view: mm, of a slice of an inference's scan, see :class:`~ckdmed.transforms.scan_grid.ScanGridd`.
        spacing: mm, of a voxel of one.
        scaling, clahe: see :class:`~ckdmed.transforms.BrainIntensity`.
        regions: channels of an evaluation's label.

    Shape: image (C, *spatial of the case).
    """
    steps: list[Any]
    if loaded:
        steps = [EnsureChannelFirstd(IMAGE)]
    else:
        load = LoadImaged(_BOTH, VolumeReader(), ensure_channel_first=True)  # type: ignore[arg-type]
        steps = [load, SelectModalitiesd(IMAGE, modalities=modalities), CaseLabelsToRegionsd(LABEL, regions)]
    scale = CaseIntensityd(IMAGE, scaling, clahe, method=brain)
    # slices are those that `build_slice_cache` cuts
    orient = Orientationd(IMAGE, axcodes="PLS" if spatial_dims == 2 else "RAS", labels=None)
    # what a slice's histogram is equalised by depends on how it lies, a scale does not
    steps += [orient, scale] if clahe else [scale, orient]
    if loaded:
        steps.append(ScanGridd(IMAGE, field_of_view=field_of_view, spacing=spacing))
    if spatial_dims == 3:
        steps.append(CropForegroundd(IMAGE, source_key=IMAGE, select_fn=_not_zero, allow_smaller=True))
    else:
        steps.append(Resized(IMAGE, (image_size, image_size, -1), mode="area"))
    return Compose(steps)


def case_masks(preprocessing: Compose, threshold: float = 0.5, regions: Sequence[str] = REGIONS) -> Compose:
    """From logits to masks on the case's own grid: the probabilities are brought back, then thresholded.

    They stay beside the masks, as ``probability``. The masks are those of the mask of labels that an inference writes:
    ET lies in TC and TC in WT (:class:`~ckdmed.transforms.nested_regions.NestRegionsd`).

    Args:
        preprocessing: of the evaluation (:func:`case_preprocessing`), which is undone.
        threshold: in [0, 1].
        regions: what the channels are.
    """
    undone = Invertd((PRED, IMAGE), preprocessing, orig_keys=IMAGE, nearest_interp=False, to_tensor=True)
    return Compose([Activationsd(PRED, sigmoid=True), SmoothInversed(IMAGE), undone, *_masks(threshold, regions)])


def case_predictions(preprocessing: Compose, threshold: float = 0.5, regions: Sequence[str] = REGIONS) -> Compose:
    """The same of an inference: ``mask`` are the masks of the regions, ``probability`` what they are of.

    ``pred`` becomes one mask of labels (those of BraTS 2023: core 1, oedema 2, enhancing tumour 3), as an application
    takes it; (1, *spatial of the case).

    Args:
        preprocessing, threshold: see :func:`case_masks`.
        regions: what the channels are; without TC and ET all of the tumour has the label of oedema.
    """
    undone = Invertd(PRED, preprocessing, orig_keys=IMAGE, nearest_interp=False, to_tensor=True)
    masks = [*_masks(threshold, regions), CopyItemsd(PRED, names="mask")]
    labels = RegionsToBratsLabelsd(PRED, _LABELS, regions=regions)
    return Compose([Activationsd(PRED, sigmoid=True), SmoothInversed(IMAGE), undone, *masks, labels])


def _masks(threshold: float, regions: Sequence[str]) -> list[Any]:
    """From probabilities, which are kept, to masks."""
    thresholded = AsDiscreted(PRED, threshold=threshold)
    return [CopyItemsd(PRED, names="probability"), thresholded, NestRegionsd(PRED, regions)]


def _not_zero(values: torch.Tensor) -> torch.Tensor:
    return values != 0
