"""Teachers out of a bundle for the bundles of single slices: segmentation and classification."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ckdmed.counted import counted
from ckdmed.networks.classifier_teacher import classification_teacher, classification_teacher_taps
from ckdmed.networks.no_teacher import NoTeacher
from ckdmed.networks.segmentation_teacher import segmentation_teacher
from ckdmed.transforms.classification import imagenet_statistics
from ckdmed.zoo_teacher.bundle_layout import ZooBundle, open_bundle
from ckdmed.zoo_teacher.channel_names import match_modalities, match_outputs, sequences
from ckdmed.zoo_teacher.errors import TeacherBundleError
from ckdmed.zoo_teacher.intensities import UndoneNormalisation, slice_intensities
from ckdmed.zoo_teacher.teacher import ZooTeacher, check_alone, teacher_of_parts

__all__ = ["class_taps_of", "class_teacher_of", "slice_teacher_of"]

logger = logging.getLogger(__name__)
# the stage that methods of classification read lies on a sixteenth of the image's grid
_CLASS_STAGES = {"msgff": 16}


def slice_teacher_of(
    bundle: str | None = None,
    trusted: bool = False,
    images: Sequence[str] | None = None,
    regions: Sequence[str] = (),
    size: Sequence[int] = (),
    taps: Mapping[str, str] | None = None,
    scaling: str = "percentiles",
    clahe: bool | str = False,
    checkpoint: str | None = None,
    folds: int = 1,
    needed: bool = True,
    **settings: Any,
) -> nn.Module:
    """A teacher of a bundle for slices, or without one that of :func:`~ckdmed.networks.segmentation_teacher`.

    Args:
        bundle, trusted, taps, scaling, clahe: see :func:`~ckdmed.zoo_teacher.zoo_teacher`.
        images: sequences of the student's input, in its order; a bundle asks for them.
        regions: that the student learns, in its order.
        size: of its images.
        checkpoint, folds: what the other settings say of a teacher, which a bundle contradicts.
        needed: whether anything learns from it; :class:`~ckdmed.networks.no_teacher.NoTeacher` takes its place else.
        settings: of ``segmentation_teacher``.

    Raises:
        TeacherBundleError: a bundle beside a checkpoint or folds; images of which nothing tells what they are; as
            ``zoo_teacher``.
    """
    if not needed:
        return NoTeacher(settings["out_channels"])
    if not bundle:
        return segmentation_teacher(**settings)
    check_alone(checkpoint, folds)
    opened = open_bundle(bundle, trusted)
    channels = opened.channel_names("inputs", "image")
    from_batch = _images(channels, images or (), int(settings.get("in_channels", 1)), str(opened.folder))
    numbers = match_outputs(opened.channel_names("outputs", "pred"), regions, "region")
    # the student's images are not normalised further, so that both see the same
    slice_intensities(opened, scaling, clahe)
    outputs = dict(zip(regions, numbers, strict=True))
    # the student has a sigmoid for each region
    softmax = opened.softmax_outputs()
    return teacher_of_parts(opened, from_batch, outputs, nn.Identity(), size, taps, softmax=softmax)


def class_teacher_of(
    bundle: str | None = None,
    trusted: bool = False,
    modalities: Sequence[str] = ("t1c",),
    class_names: Sequence[str] = (),
    size: Sequence[int] = (),
    taps: Mapping[str, str] | None = None,
    scaling: str = "percentiles",
    clahe: bool | str = False,
    checkpoint: str | None = None,
    folds: int = 1,
    needed: bool = True,
    **settings: Any,
) -> nn.Module:
    """A classifier of a bundle, or without one that of :func:`~ckdmed.networks.classification_teacher`.

    Args:
        bundle, trusted, scaling, clahe: see :func:`~ckdmed.zoo_teacher.zoo_teacher`.
        modalities: of the student's input; one stands in three equal channels there.
        class_names: of the student's classes, in its order.
        size: of its images.
        taps: "msgff" -> path in the bundle's network; found by :func:`~ckdmed.zoo_teacher.decoder_taps` without.
        checkpoint, folds: what the other settings say of a teacher, which a bundle contradicts.
        needed: whether anything learns from it; :class:`~ckdmed.networks.no_teacher.NoTeacher` takes its place else.
        settings: of ``classification_teacher``.

    Raises:
        TeacherBundleError: a bundle beside a checkpoint or folds; channels of other sequences; as ``zoo_teacher``.
    """
    if not needed:
        return NoTeacher(settings["num_classes"], dense=False)
    if not bundle:
        return classification_teacher(**settings)
    check_alone(checkpoint, folds)
    opened = open_bundle(bundle, trusted)
    channels = opened.channel_names("inputs", "image")
    own = slice_intensities(opened, scaling, clahe)
    from_batch = _classifier_channels(opened, channels, modalities, own)
    intensities: nn.Module = nn.Identity()
    if not own:
        mean, deviation = imagenet_statistics(len(modalities), scaling)
        intensities = UndoneNormalisation([mean[i] for i in from_batch], [deviation[i] for i in from_batch])
    numbers = match_outputs(opened.channel_names("outputs", "pred"), class_names, "class")
    outputs = dict(zip(class_names, numbers, strict=True))
    return teacher_of_parts(opened, from_batch, outputs, intensities, size, taps, _CLASS_STAGES)


def class_taps_of(teacher: nn.Module) -> dict[str, str]:
    """Paths of a teacher's stages: those of its bundle, else :func:`~ckdmed.networks.classification_teacher_taps`."""
    return dict(teacher.decoder_taps) if isinstance(teacher, ZooTeacher) else classification_teacher_taps(teacher)


def _images(channels: Mapping[int, str], images: Sequence[str], count: int, folder: str) -> list[int]:
    if len(images) != count:
        listed = ", ".join(f"{number}: '{words}'" for number, words in sorted(channels.items()))
        raise TeacherBundleError(
            f"'{folder}' names its channels {listed}; say which of them the student sees "
            f"({counted(count, 'image')}), such as "
            "--teacher_bundle_images \"['t1c']\": which is which is never assumed."
        )
    found = match_modalities(channels, images)
    for number, position in enumerate(found):
        logger.info(f"its channel {number} ('{channels[number]}') is the student's {images[position]}")
    return found


def _classifier_channels(
    opened: ZooBundle, channels: Mapping[int, str], modalities: Sequence[str], own: bool
) -> list[int]:
    """Which of the student's channels each of the bundle's is."""
    if len(modalities) > 1:
        found = match_modalities(channels, modalities)
    else:
        # one sequence stands in all of the student's channels, and may in all of the bundle's
        if other := [words for words, name in zip(channels.values(), sequences(channels)) if name != modalities[0]]:
            raise TeacherBundleError(
                f"channels {other} of '{opened.folder}' read as none of the modalities {modalities[0]}: add theirs to "
                "--modalities, or name them in its metadata (channel_def)."
            )
        found = list(range(len(channels))) if own else [0] * len(channels)
    for number, position in enumerate(found):
        name = modalities[position] if len(modalities) > 1 else modalities[0]
        logger.info(f"its channel {number} ('{channels[number]}') is the student's {name}")
    return found
