"""A teacher out of any MONAI bundle: its network and weights, its channels by name, its own intensities."""

from __future__ import annotations

from ckdmed.zoo_teacher.bundle_layout import ZooBundle, open_bundle
from ckdmed.zoo_teacher.channel_names import match_modalities, match_outputs, match_regions
from ckdmed.zoo_teacher.decoder_taps import decoder_taps
from ckdmed.zoo_teacher.intensities import own_intensities
from ckdmed.zoo_teacher.slice_teachers import class_taps_of, class_teacher_of, slice_teacher_of
from ckdmed.zoo_teacher.teacher import ZooTeacher, segmentation_teacher_of, taps_of, zoo_teacher
from ckdmed.zoo_teacher.view_teachers import teacher_ensemble_of

__all__ = [
    "ZooBundle",
    "ZooTeacher",
    "class_taps_of",
    "class_teacher_of",
    "decoder_taps",
    "match_modalities",
    "match_outputs",
    "match_regions",
    "open_bundle",
    "own_intensities",
    "segmentation_teacher_of",
    "slice_teacher_of",
    "taps_of",
    "teacher_ensemble_of",
    "zoo_teacher",
]
