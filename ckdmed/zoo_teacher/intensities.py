"""The intensities that a bundle's network was made for, from those that the student sees."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ckdmed.zoo_teacher.bundle_layout import ZooBundle
from ckdmed.zoo_teacher.errors import TeacherBundleError

__all__ = ["NonzeroScaling", "UndoneNormalisation", "own_intensities", "slice_intensities"]

_NORMALISE = "NormalizeIntensityd"
# arguments of a step that say nothing of its scale
_OF_ALL_STEPS = ("_target_", "keys", "channel_wise", "nonzero", "allow_missing_keys", "dtype")
# scales of the student that are linear over the brain
_LINEAR = ("zscore", "unit")
# of a step's name: it changes intensities, may do so, or is an expression
_CHANGES_INTENSITIES = re.compile(r"Intensity|Histogram|Lambda|Gaussian|Smooth|Sharpen|Filter|Noise|Contrast|[$@%{]")
# levels of augmentation after which the background is still 0
_BACKGROUND_KEPT = ("none", "horizontal", "flips")
_OWN_CASES = ("region_preprocessing", "case_preprocessing")
_OWN_SLICES = ("slice_preprocessing", "class_preprocessing", "class_slices")


class NonzeroScaling(nn.Module):
    """Mean 0 and deviation 1 over the voxels that are not 0, in each image and channel, as MONAI's NormalizeIntensity.

    The student's channels are scaled over the brain, 0 outside. Another linear scale of the same voxels leads to the
    same values, so it does not matter that they are not the scan's own any more; of a patch they are the patch's.

    Shape: (B, C, *spatial) to the same.
    """

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        axes = list(range(2, image.dim()))
        inside = image != 0
        count = inside.sum(dim=axes, keepdim=True).clamp_min(1)
        mean = image.sum(dim=axes, keepdim=True) / count
        variance = ((image - mean).square() * inside).sum(dim=axes, keepdim=True) / count
        deviation = torch.where(variance > 0, variance.sqrt(), torch.ones_like(variance))
        return torch.where(inside, (image - mean) / deviation, image)


def own_intensities(
    bundle: ZooBundle, scaling: str = "zscore", clahe: bool | str = False, augmentation: str = "flips"
) -> nn.Module:
    """What brings the student's images to the scale of the bundle's preprocessing.

    Args:
        bundle: opened.
        scaling, clahe: of the student's images, see :class:`~ckdmed.transforms.BrainIntensity`.
        augmentation: level of the random changes that the teacher sees too, see
            :func:`~ckdmed.transforms.segmentation_augmentation`.

    Raises:
        TeacherBundleError: a preprocessing whose scale cannot be had from the student's: one of absolute values, one
            that the background takes part in, or none at all; a bundle of this package with other intensities;
            student's intensities that are cut off, rounded or equalised.
    """
    if _is_own(bundle, _OWN_CASES, "zscore", scaling, clahe):
        return nn.Identity()
    if scaling not in _LINEAR or clahe:
        raise TeacherBundleError(
            f"the intensities of '{bundle.config}' cannot be computed from --scaling {scaling} --clahe "
            f"{str(clahe).lower()}, which cuts off, rounds or equalises them: give the student --scaling "
            f"{' or '.join(_LINEAR)} without --clahe."
        )
    steps = _scaling_steps(bundle)
    names = [name for name, _ in steps]
    if names == [_NORMALISE]:
        ((_, step),) = steps
        given = {key: value for key, value in step.items() if key in ("subtrahend", "divisor") and value is not None}
        if step.get("nonzero") is True and step.get("channel_wise") is True and not given:
            if augmentation not in _BACKGROUND_KEPT:
                raise TeacherBundleError(
                    f"the input of '{bundle.folder}' is scaled by the voxels that are not 0, but --augmentation "
                    f"{augmentation} adds noise to the background and changes its value: set it to "
                    f"{', '.join(_BACKGROUND_KEPT[:-1])} or {_BACKGROUND_KEPT[-1]}. Where there is a student_view, it "
                    "changes only what the student sees."
                )
            return NonzeroScaling()
    found = ", ".join(names) or "none"
    raise TeacherBundleError(
        f"the intensities of '{bundle.config}' ({found}) cannot be computed from the values of the brain that the "
        f"student sees: that needs one {_NORMALISE} with nonzero and channel_wise true, as for BraTS in the Model "
        "Zoo, or a bundle of this package."
    )


class UndoneNormalisation(nn.Module):
    """What an image was before ImageNet's mean was subtracted and its deviation divided by; one pair for each channel.

    Shape: (B, C, *spatial) to the same.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        shape = [1, -1] + [1] * (image.dim() - 2)
        return image * self.deviation.reshape(shape) + self.mean.reshape(shape)


def slice_intensities(bundle: ZooBundle, scaling: str = "percentiles", clahe: bool | str = False) -> bool:
    """Whether a bundle of slices is one of this package, whose input is the student's; its intensities are equal.

    A bundle of the zoo sees the student's images before ImageNet's normalisation: these must have been scaled as its
    own preprocessing does.

    Args:
        bundle: opened.
        scaling, clahe: of the student's images, see :class:`~ckdmed.transforms.SliceIntensity`.

    Raises:
        TeacherBundleError: the student's intensities are others; names those that fit, where there are some.
    """
    if _is_own(bundle, _OWN_SLICES, "percentiles", scaling, clahe):
        return True
    steps = _scaling_steps(bundle)
    alone = len(bundle.channel_names("inputs", "image")) == 1
    words = [_slice_scaling(name, step, alone) for name, step in steps]
    if len(words) == 1 and words[0] == scaling and clahe is False:
        return False
    found = ", ".join(name for name, _ in steps) or "none"
    remedy = (
        f"give the student --scaling {words[0]} --clahe false"
        if len(words) == 1 and words[0]
        else "that needs one NormalizeIntensityd, ScaleIntensityd or ScaleIntensityRangePercentilesd (0.5 to 99.5) of "
        "each channel by itself, or a bundle of this package"
    )
    raise TeacherBundleError(
        f"the intensities of '{bundle.config}' ({found}) are not those of --scaling {scaling} --clahe "
        f"{str(clahe).lower()}: {remedy}."
    )


def _slice_scaling(name: str, step: Mapping[str, Any], alone: bool) -> str | None:
    """The word of ``SliceIntensity`` that does what a step does, channel by channel or of the one there is."""
    if not (alone or step.get("channel_wise", False) is True) or step.get("nonzero", False):
        return None
    plain = {key: value for key, value in step.items() if value is not None and key not in _OF_ALL_STEPS}
    known: dict[str, tuple[str, list[dict[str, Any]]]] = {
        _NORMALISE: ("zscore", [{}]),
        "ScaleIntensityd": ("unit", [{}, {"minv": 0, "maxv": 1}]),
        "ScaleIntensityRangePercentilesd": (
            "percentiles",
            [{"lower": 0.5, "upper": 99.5, "b_min": 0, "b_max": 1, "clip": True}],
        ),
    }
    word, values = known.get(name, (None, []))
    return word if plain in values else None


def _scaling_steps(bundle: ZooBundle) -> list[tuple[str, dict[str, Any]]]:
    """Name and arguments of the steps of its preprocessing that change intensities, or of which nobody knows it."""
    found = [(name, step) for name, step in preprocessing_steps(bundle) if _CHANGES_INTENSITIES.search(name)]
    return [(name, step) for name, step in found if step.get("_disabled_") is not True]


def preprocessing_steps(bundle: ZooBundle) -> list[tuple[str, dict[str, Any]]]:
    """Class name and arguments of each step of its preprocessing; of an expression the expression alone."""
    config: dict[str, Any] = bundle.parser.get()
    preprocessing = _preprocessing(bundle)
    steps = preprocessing.get("transforms", []) if isinstance(preprocessing, dict) else preprocessing
    found = []
    for step in steps if isinstance(steps, list) else []:
        # a step may stand elsewhere in the configuration
        step = config.get(step[1:], step) if isinstance(step, str) and step.startswith("@") else step
        made = isinstance(step, dict) and "_target_" in step
        found.append((str(step["_target_"]).rsplit(".", 1)[-1], step) if made else (str(step), {}))
    return found


def _preprocessing(bundle: ZooBundle) -> Any:
    config: dict[str, Any] = bundle.parser.get()
    return config.get("preprocessing", config.get("preprocess"))


def _is_own(bundle: ZooBundle, names: Sequence[str], usual: str, scaling: str, clahe: bool | str) -> bool:
    """Whether it has a preprocessing of this package, which must scale as the student's does."""
    preprocessing = _preprocessing(bundle)
    if not isinstance(preprocessing, dict) or str(preprocessing.get("_target_", "")).rsplit(".", 1)[-1] not in names:
        return False
    config = bundle.parser.get()
    own = {key: bundle.parser.get_parsed_content(key) for key in ("scaling", "clahe") if key in config}
    if (own.get("scaling", usual), own.get("clahe", False)) != (scaling, clahe):
        given = " ".join(f"--{key} {str(value).lower()}" for key, value in own.items())
        raise TeacherBundleError(
            f"the network of '{bundle.folder}' was trained with {given or f'--scaling {usual}'}, the student with "
            f"--scaling {scaling} --clahe {str(clahe).lower()}: give the student the bundle's."
        )
    return True
