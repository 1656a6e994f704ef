"""Preprocessing of single slices, one part for training, evaluation and inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from monai.data.image_reader import ImageReader
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    Compose,
    CopyItemsd,
    EnsureChannelFirstd,
    EnsureTyped,
    Invertd,
    Lambdad,
    LoadImaged,
    Resized,
)
from monai.utils import CommonKeys

from ckdmed.data.brats import CaseSlicesd, LoadCachedSliced
from ckdmed.data.load_slices import LoadSliced
from ckdmed.transforms import SliceIntensityd, classification_scaling, imagenet_slices
from ckdmed.transforms.restore_slices import RestoreSlicesd
from ckdmed.transforms.select_modalities import SelectModalitiesd
from ckdmed.transforms.slices_to_volume import SlicesToVolumed

__all__ = [
    "class_preprocessing",
    "class_probabilities",
    "class_slices",
    "slice_masks",
    "slice_predictions",
    "slice_preprocessing",
]

IMAGE, LABEL = CommonKeys.IMAGE, CommonKeys.LABEL
_BOTH = (IMAGE, LABEL)
_USES = ("train", "evaluate", "inference")


def slice_preprocessing(
    image_size: int,
    use: str = "train",
    regions: Mapping[str, Sequence[int] | None] | None = None,
    slice_axis: int | str = -1,
    reader: ImageReader | None = None,
    scaling: str = "percentiles",
    clahe: bool | str = False,
) -> Compose:
    """What becomes of a slice before a segmentation network sees it.

    In every use each channel is scaled by its own values, and the image is resized by averaging.

    ========== ============================================================================================
    use        beside that
    ========== ============================================================================================
    train      the label is resized as well (nearest), so that the loss and the validation see the small grid
    evaluate   the label keeps its grid, to which the prediction is brought back (:func:`slice_masks`)
    inference  all slices of an input at once, and no label; ``slices`` keeps the input's own grid
    ========== ============================================================================================

    Args:
        image_size: edge in pixels.
        use: see above.
        regions: of the label, see :class:`~ckdmed.data.load_slices.LoadSliced`; by default one, the tumour.
        slice_axis: of volumes.
        reader: of an inference, see :class:`~ckdmed.data.slice_reader.SliceReader`.
        scaling, clahe: see :class:`~ckdmed.transforms.SliceIntensity`.

    Shape: image (C, image_size, image_size), float32; of an inference (C, image_size, image_size, S).

    Raises:
        ValueError: another use; an inference without a reader; as ``SliceIntensity``.
    """
    _check(use, reader)
    scale = SliceIntensityd(IMAGE, scaling, clahe)
    size = (image_size, image_size)
    if use == "inference":
        images = getattr(reader, "channels", 1)
        # MONAI takes a reader itself, whatever the type in its signature
        read = LoadImaged(IMAGE, reader)  # type: ignore[arg-type]
        load = [read, EnsureChannelFirstd(IMAGE), CopyItemsd(IMAGE, names="slices")]
        # of several images the first is shown, and has the grid to which masks are brought back
        load += [Lambdad("slices", partial(_first, images=images))] if images > 1 else []
        typed = EnsureTyped(IMAGE, dtype=torch.float32, track_meta=False)
        # slices are the channels that each get their own scale; the network takes them as a volume's depth
        return Compose([*load, scale, Resized(IMAGE, size, mode="area"), typed, SlicesToVolumed(IMAGE, images)])
    load_slice = LoadSliced(_BOTH, regions, slice_axis)
    if use == "evaluate":
        return Compose([load_slice, scale, Resized(IMAGE, size, mode="area")])
    resized = Resized(_BOTH, size, mode=("area", "nearest-exact"))
    return Compose([load_slice, scale, resized, EnsureTyped(_BOTH, dtype=torch.float32, track_meta=False)])


def slice_masks(preprocessing: Compose, threshold: float = 0.5) -> Compose:
    """From logits to masks on the slice's own grid: the probabilities are brought back, then thresholded.

    Args:
        preprocessing: of the evaluation, which is undone.
        threshold: in [0, 1].
    """
    pred = CommonKeys.PRED
    undone = Invertd((pred, IMAGE), preprocessing, orig_keys=IMAGE, nearest_interp=False, to_tensor=True)
    return Compose([Activationsd(pred, sigmoid=True), undone, AsDiscreted(pred, threshold=threshold)])


def slice_predictions(threshold: float = 0.5) -> Compose:
    """The same of an inference: ``pred`` are the probabilities and ``mask`` the masks of all slices of an input."""
    pred = CommonKeys.PRED
    restored = RestoreSlicesd(pred, slices_key="slices")
    kept = [CopyItemsd(pred, names="mask"), AsDiscreted("mask", threshold=threshold)]
    return Compose([Activationsd(pred, sigmoid=True), restored, *kept])


def class_preprocessing(
    image_size: int,
    scaling: str = "percentiles",
    modalities: Sequence[str] = ("t1c",),
    task: str = "figshare",
    clahe: bool | str = False,
) -> Compose:
    """What becomes of a slice before a classifier's augmentation, in training and evaluation.

    Args:
        image_size: edge in pixels.
        scaling, clahe: see :func:`~ckdmed.transforms.classification_scaling`.
        modalities: channels, of the BraTS tasks.
        task: "figshare", or one whose slices come out of a cache of cut cases.

    Shape: image (modalities, image_size, image_size), float32.
    """
    load = LoadSliced(IMAGE) if task == "figshare" else LoadCachedSliced(IMAGE, modalities=modalities)
    return Compose([load, classification_scaling(scaling, image_size, clahe=clahe)])


def class_slices(
    reader: ImageReader,
    image_size: int,
    scaling: str = "percentiles",
    modalities: Sequence[str] = ("t1c",),
    task: str = "figshare",
    clahe: bool | str = False,
) -> Compose:
    """The same for all slices of an inference's input at once, ready for a network that ImageNet trained.

    Args:
        reader: of the input, a slice or a case.
        image_size, scaling, modalities, task, clahe: as in :func:`class_preprocessing`.

    Shape: image (S, channels, image_size, image_size).
    """
    case = [] if task == "figshare" else [SelectModalitiesd(IMAGE, modalities=modalities), CaseSlicesd(IMAGE)]
    network_input = partial(imagenet_slices, modalities=len(modalities), scaling=scaling)
    return Compose(
        [
            LoadImaged(IMAGE, reader),  # type: ignore[arg-type]
            EnsureChannelFirstd(IMAGE),
            *case,
            classification_scaling(scaling, image_size, clahe=clahe),
            Lambdad(IMAGE, network_input),
        ]
    )


def class_probabilities() -> Compose:
    """Probabilities of the classes from raw logits."""
    return Compose([Lambdad(CommonKeys.PRED, _softmax)])


def _first(slices: torch.Tensor, images: int) -> torch.Tensor:
    return slices[: len(slices) // images]


def _softmax(logits: torch.Tensor) -> torch.Tensor:
    return torch.softmax(logits.float(), dim=-1)


def _check(use: str, reader: ImageReader | None) -> None:
    if use not in _USES:
        raise ValueError(f"use must be one of {', '.join(_USES)}, got {use!r}.")
    if (use == "inference") != (reader is not None):
        raise ValueError("an inference needs a reader, and nothing else does.")
