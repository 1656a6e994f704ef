"""Array transforms and their dictionary twins that MONAI lacks."""

from __future__ import annotations

from .augmentation import segmentation_augmentation
from .border_mask import BorderToMask, BorderToMaskd
from .brain_zscore import BrainZScore, BrainZScored
from .clahe import CLAHE, CLAHEd
from .classification import classification_augmentation, classification_scaling, imagenet_input
from .eight_bit import EightBit, EightBitd
from .grey_to_rgb import IMAGENET_MEAN, IMAGENET_STD, GreyToRGB, GreyToRGBd

__all__ = [
    "BorderToMask",
    "BorderToMaskd",
    "BrainZScore",
    "BrainZScored",
    "CLAHE",
    "CLAHEd",
    "EightBit",
    "EightBitd",
    "GreyToRGB",
    "GreyToRGBd",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "classification_augmentation",
    "classification_scaling",
    "imagenet_input",
    "segmentation_augmentation",
]
