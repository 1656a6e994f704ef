"""Array transforms and their dictionary twins that MONAI lacks."""

from __future__ import annotations

from .augmentation import segmentation_augmentation
from .batch_view import BatchView, DrawnView, batch_view
from .border_mask import BorderToMask, BorderToMaskd
from .brain_intensity import BrainIntensity, BrainIntensityd
from .brain_mask import BrainMaskd, brain_mask
from .brain_unit_range import BrainUnitRange, BrainUnitRanged
from .brain_zscore import BrainZScore, BrainZScored
from .brats_regions import (
    BratsLabelsToOneHot,
    BratsLabelsToOneHotd,
    BratsLabelsToRegions,
    BratsLabelsToRegionsd,
    RegionsToBratsLabels,
    RegionsToBratsLabelsd,
)
from .case_regions import CaseLabelsToRegionsd
from .clahe import CLAHE, CLAHEd
from .classification import classification_augmentation, classification_scaling, imagenet_input, imagenet_slices
from .eight_bit import EightBit, EightBitd
from .flip_state import FLIPS, FlipStated
from .foreground_patches import ForegroundPatchesd
from .grey_to_rgb import IMAGENET_MEAN, IMAGENET_STD, GreyToRGB, GreyToRGBd, colour_copies
from .multi_resolution import MultiResolutiond
from .region_patches import RegionPatchesd
from .select_modalities import SelectModalitiesd
from .slice_intensity import SliceIntensity, SliceIntensityd
from .teacher_image import TEACHER_IMAGE, TeacherImaged
from .volume_preparation import volume_preparation

__all__ = [
    "BatchView",
    "BorderToMask",
    "BorderToMaskd",
    "BrainIntensity",
    "BrainIntensityd",
    "BrainMaskd",
    "BrainUnitRange",
    "BrainUnitRanged",
    "BrainZScore",
    "BrainZScored",
    "BratsLabelsToOneHot",
    "BratsLabelsToOneHotd",
    "BratsLabelsToRegions",
    "BratsLabelsToRegionsd",
    "CLAHE",
    "CLAHEd",
    "CaseLabelsToRegionsd",
    "DrawnView",
    "EightBit",
    "EightBitd",
    "FLIPS",
    "FlipStated",
    "ForegroundPatchesd",
    "GreyToRGB",
    "GreyToRGBd",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "MultiResolutiond",
    "RegionPatchesd",
    "RegionsToBratsLabels",
    "RegionsToBratsLabelsd",
    "SelectModalitiesd",
    "SliceIntensity",
    "SliceIntensityd",
    "TEACHER_IMAGE",
    "TeacherImaged",
    "batch_view",
    "brain_mask",
    "classification_augmentation",
    "classification_scaling",
    "colour_copies",
    "imagenet_input",
    "imagenet_slices",
    "segmentation_augmentation",
    "volume_preparation",
]
