"""Preprocessing of single slices, one part for training, evaluation and inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from monai.data import MetaTensor
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
from ckdmed.data.cut_volume import NOTED_KEY, CutVolumed, JoinSlicesd
from ckdmed.data.load_slices import LoadSliced
from ckdmed.transforms import SliceIntensityd, classification_scaling, colour_copies, imagenet_slices
from ckdmed.transforms.restore_slices import RestoreSliced, RestoreSlicesd
from ckdmed.transforms.select_modalities import SelectModalitiesd
from ckdmed.transforms.slices_to_volume import SlicesToVolumed

__all__ = [
    "class_loading",
    "class_preprocessing",
    "class_probabilities",
    "class_slices",
    "slice_loading",
    "slice_masks",
    "slice_predictions",
    "slice_preprocessing",
]

IMAGE, LABEL, PRED = CommonKeys.IMAGE, CommonKeys.LABEL, CommonKeys.PRED
PROBABILITY = "probability"
_BOTH = (IMAGE, LABEL)
_USES = ("train", "evaluate", "inference")


def slice_loading(reader: ImageReader) -> Compose:
    """How an inference reads an input, apart from its preprocessing: an application may bring the image itself.

    Args:
        reader: see :class:`~ckdmed.data.slice_reader.SliceReader`.

    Shape: image (C * S, rows, columns); ``slices`` is that of the first image, which is shown, as it was read.
    """
    # MONAI takes a reader itself, whatever the type in its signature
    read = [LoadImaged(IMAGE, reader), EnsureChannelFirstd(IMAGE), CopyItemsd(IMAGE, names="slices")]  # type: ignore
    images = getattr(reader, "channels", 1)
    return Compose([*read, Lambdad("slices", partial(_first, images=images))] if images > 1 else read)


def slice_preprocessing(
    image_size: int,
    use: str = "train",
    regions: Mapping[str, Sequence[int] | None] | None = None,
    slice_axis: int | str = -1,
    images: int = 1,
    scaling: str = "percentiles",
    clahe: bool | str = False,
    grey_as_rgb: bool = False,
) -> Compose:
    """What becomes of a slice before a segmentation network sees it.

    In every use each channel is scaled by its own values, and the image is resized by averaging.

    ========== ============================================================================================
    use        beside that
    ========== ============================================================================================
    train      the label is resized as well (nearest), so that the loss and the validation see the small grid
    evaluate   the label keeps its grid, to which the prediction is brought back (:func:`slice_masks`)
    inference  all slices of an input that is loaded already at once, and no label: of a volume, which is cut, or
               of what :func:`slice_loading` read
    ========== ============================================================================================

    Args:
        image_size: edge in pixels.
        use: see above.
        regions: of the label, see :class:`~ckdmed.data.load_slices.LoadSliced`; by default one, the tumour.
        slice_axis: of volumes.
        images: channels of the input.
        scaling, clahe: see :class:`~ckdmed.transforms.SliceIntensity`.
        grey_as_rgb: copy the one channel to three, see :func:`~ckdmed.transforms.colour_copies`.

    Shape: image (C, image_size, image_size), float32; of an inference (C, image_size, image_size, S).

    Raises:
        ValueError: another use; copies of several images; as ``SliceIntensity``.
    """
    if use not in _USES:
        raise ValueError(f"use must be one of {', '.join(_USES)}, got {use!r}.")
    if grey_as_rgb and images != 1:
        raise ValueError(f"grey_as_rgb copies one image to three channels, but input_images is {images}: set it to 1.")
    scale = SliceIntensityd(IMAGE, scaling, clahe)
    copies = colour_copies(IMAGE, scaling) if grey_as_rgb else []
    size = (image_size, image_size)
    if use == "inference":
        cut = [EnsureChannelFirstd(IMAGE), CutVolumed(IMAGE, slice_axis)]
        typed = EnsureTyped(IMAGE, dtype=torch.float32)
        # slices are the channels that each get their own scale; the network takes them as a volume's depth
        return Compose([*cut, scale, Resized(IMAGE, size, mode="area"), typed, SlicesToVolumed(IMAGE, images), *copies])
    load_slice = LoadSliced(_BOTH, regions, slice_axis)
    if use == "evaluate":
        return Compose([load_slice, scale, *copies, Resized(IMAGE, size, mode="area")])
    resized = Resized(_BOTH, size, mode=("area", "nearest-exact"))
    return Compose([load_slice, scale, *copies, resized, EnsureTyped(_BOTH, dtype=torch.float32, track_meta=False)])


def slice_masks(preprocessing: Compose, threshold: float = 0.5) -> Compose:
    """From logits to masks on the slice's own grid: the probabilities are brought back, then thresholded.

    They stay beside the masks, as ``probability``. Both are those of an inference (:func:`slice_predictions`).

    Args:
        preprocessing: of the evaluation, which is undone for the image.
        threshold: in [0, 1].
    """
    restored = RestoreSliced(PRED, IMAGE, LABEL)
    undone = Invertd(IMAGE, preprocessing, orig_keys=IMAGE, nearest_interp=False, to_tensor=True)
    masks = [CopyItemsd(PRED, names=PROBABILITY), AsDiscreted(PRED, threshold=threshold)]
    return Compose([Activationsd(PRED, sigmoid=True), restored, *masks, undone])


def slice_predictions(threshold: float = 0.5) -> Compose:
    """The same of an inference, of all slices of an input: ``pred`` becomes the masks, ``probability`` stays beside.

    Shape: (S, rows, columns), with several regions (R, S, rows, columns); (R, X, Y, Z) of what came as a volume.
    """
    both = (PRED, PROBABILITY)
    restored = RestoreSlicesd(PRED, IMAGE, NOTED_KEY)
    masks = [CopyItemsd(PRED, names=PROBABILITY), AsDiscreted(PRED, threshold=threshold)]
    return Compose([Activationsd(PRED, sigmoid=True), restored, *masks, JoinSlicesd(both, IMAGE)])


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


def class_loading(reader: ImageReader, modalities: Sequence[str] = ("t1c",), task: str = "figshare") -> Compose:
    """How an inference of a classifier reads an input, a slice or a case, apart from its preprocessing.

    Args:
        reader: of the input.
        modalities, task: as in :func:`class_preprocessing`.
    """
    read = [LoadImaged(IMAGE, reader), EnsureChannelFirstd(IMAGE)]  # type: ignore[arg-type]
    return Compose(read if task == "figshare" else [*read, SelectModalitiesd(IMAGE, modalities=modalities)])


def class_slices(
    image_size: int,
    scaling: str = "percentiles",
    modalities: Sequence[str] = ("t1c",),
    task: str = "figshare",
    clahe: bool | str = False,
    slice_axis: int | str = -1,
) -> Compose:
    """The same for all slices of an inference's input at once, ready for a network that ImageNet trained.

    Args:
        image_size, scaling, modalities, task, clahe: as in :func:`class_preprocessing`.
        slice_axis: of volumes that no reader has cut, where the task is that of slices.

    Shape: image (S, channels, image_size, image_size).
    """
    # a training's slices have half precision, which moves pixels to other bins of a histogram and other steps of 8 bits
    precision = "float16" if clahe or scaling == "report" else "float32"
    cut = CutVolumed(IMAGE, slice_axis) if task == "figshare" else CaseSlicesd(IMAGE, dtype=precision)
    network_input = partial(_network_input, modalities=len(modalities), scaling=scaling)
    scale = classification_scaling(scaling, image_size, clahe=clahe)
    return Compose([EnsureChannelFirstd(IMAGE), cut, scale, Lambdad(IMAGE, network_input)])


def class_probabilities() -> Compose:
    """Probabilities of the classes from raw logits."""
    return Compose([Lambdad(PRED, _softmax)])


def _first(slices: torch.Tensor, images: int) -> torch.Tensor:
    return slices[: len(slices) // images]


def _network_input(slices: torch.Tensor, modalities: int, scaling: str) -> torch.Tensor:
    # an application of MONAI Deploy asks every image for its metadata
    return MetaTensor(imagenet_slices(slices, modalities, scaling))


def _softmax(logits: torch.Tensor) -> torch.Tensor:
    return torch.softmax(logits.float(), dim=-1)
