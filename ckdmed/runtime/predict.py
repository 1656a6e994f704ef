"""Masks or classes of slices from a deployed file, the same as ``inference.json`` of the network's bundle gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ckdmed.data.slice_files import read_images
from ckdmed.data.slice_geometry import SLICE_AXES, SliceGeometry
from ckdmed.paths import PathLike
from ckdmed.runtime.description import DeployedFileError
from ckdmed.runtime.forms import DeployedForm
from ckdmed.runtime.scaling import (
    SCALINGS,
    area_resized,
    colour_copies,
    eight_bit,
    equalised,
    imagenet_images,
    scaled,
    smoothly_resized,
    unit_range,
)
from ckdmed.tile_equalisation import EQUALISATIONS

__all__ = ["Prediction", "Predictor"]

_BATCH = 16
# all that is done to an input and to logits; what else a file asks for would be left out
_BEFORE = frozenset({"image_size", "slice_axis", "scaling", "clahe", "modalities", "images", "grey_as_rgb"})
_AFTER = frozenset({"threshold", "tta"})


@dataclass(frozen=True)
class Prediction:
    """What was predicted for an input of S slices.

    Args:
        names: of the regions or classes.
        probabilities: (R, S, rows, columns) of regions on the slices' own grid; (S, R) of classes.
        masks: (R, S, rows, columns) bool; None of classes.
        geometry: the way back to the array of the file.
    """

    names: tuple[str, ...]
    probabilities: np.ndarray
    masks: np.ndarray | None
    geometry: SliceGeometry


class Predictor:
    """Reads an input, prepares it as in the training, runs the network, and brings the result to the input's own grid.

    Args:
        form: an opened deployed file, see `ckdmed.runtime.forms.open_form`.
        threshold: of the masks; by default the one of the bundle's inference, which the file names.
        tta: whether to average over mirror images; by default as the file says.
        slice_axis: of volumes, see `ckdmed.data.slice_files.read_slices`.

    Raises:
        DeployedFileError: a network of whole cases, which are prepared by ckdmed itself; one that asks for what this
            version does not know.
        ValueError: a threshold outside of [0, 1], or for classes; an axis that there is not.

    Example::

        Predictor(open_form("deployed/model.onnx"))("slice.mat").masks
    """

    def __init__(
        self,
        form: DeployedForm,
        threshold: float | None = None,
        tta: bool | None = None,
        slice_axis: int | str | None = None,
    ) -> None:
        description = form.description
        if description.task not in ("segmentation", "classification"):
            raise DeployedFileError(
                f"{form.path}: a network of {description.bundle} takes whole cases, which ckdmed registers, scales "
                "and slices: run its inference.json with --checkpoint and this file."
            )
        self.form = form
        before, after = description.preprocessing, description.postprocessing
        if unknown := sorted((set(before) - _BEFORE) | (set(after) - _AFTER)):
            raise DeployedFileError(
                f"{form.path}: needs {', '.join(unknown)}, which this version does not support; install the version "
                f"of the package that wrote the file ({description.source.get('ckdmed', 'not stated')}) or a later "
                "one."
            )
        if threshold is not None and description.task == "classification":
            raise ValueError(f"{form.path}: gives classes, which have no threshold, got {threshold:g}; leave it out.")
        # classes have none
        self.threshold = float(after.get("threshold", 0.5) if threshold is None else threshold)
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"the threshold must be in [0, 1], got {self.threshold}.")
        self.tta = bool(after["tta"] if tta is None else tta)
        if slice_axis is not None and slice_axis not in SLICE_AXES:
            raise ValueError(f"slice_axis must be one of {', '.join(map(str, SLICE_AXES))}, got {slice_axis!r}.")
        self.slice_axis = before.get("slice_axis", -1) if slice_axis is None else slice_axis
        # files of before there was a choice do not name them
        self.scaling = str(before.get("scaling", "percentiles"))
        self.clahe = before.get("clahe", False)
        equalisations = (False, *EQUALISATIONS)
        for name, value, choices in (("scaling", self.scaling, SCALINGS), ("clahe", self.clahe, equalisations)):
            if value not in choices:
                raise DeployedFileError(
                    f"{form.path}: needs {name} {value!r}, which this version does not support; install the version "
                    f"of the package that wrote the file ({description.source.get('ckdmed', 'not stated')}) or a "
                    "later one."
                )
        self.images = int(before.get("images", 1))
        self.grey_as_rgb = bool(before.get("grey_as_rgb", False))
        self.size = (int(before["image_size"]),) * 2

    def __call__(self, files: Sequence[PathLike] | PathLike) -> Prediction:
        """Predict one input.

        Args:
            files: as `ckdmed.data.slice_files.read_images` takes them.

        Raises:
            InputFileError: see there.
        """
        slices, geometry = read_images(files, self.slice_axis, self.images)
        names = self.form.description.outputs
        if self.form.description.task == "classification":
            return Prediction(names, self._classes(slices), None, geometry)
        probabilities = self._regions(slices)
        return Prediction(names, probabilities, probabilities >= np.float32(self.threshold), geometry)

    def _regions(self, slices: np.ndarray) -> np.ndarray:
        prepared = area_resized(scaled(equalised(slices, self.clahe), self.scaling), self.size)
        images = prepared.reshape(self.images, -1, *self.size).swapaxes(0, 1)
        if self.grey_as_rgb:
            images = colour_copies(images, self.scaling)
        # both axes, as the inference has it
        logits = self._mirrored(images, (2, 3)) if self.tta else self._batches(images)
        shown = slices[: len(slices) // self.images]
        probabilities = smoothly_resized(_sigmoid(logits).swapaxes(0, 1), shown.shape[1:])
        # a network could have recognised nothing in a slice of one value
        probabilities[:, shown.max(axis=(1, 2)) == shown.min(axis=(1, 2))] = 0
        return probabilities

    def _classes(self, slices: np.ndarray) -> np.ndarray:
        images = imagenet_images(self._for_classifier(slices), self.scaling)
        logits = self._mirrored(images, (3,)) if self.tta else self._batches(images)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def _for_classifier(self, slices: np.ndarray) -> np.ndarray:
        slices = equalised(slices, self.clahe)
        if self.scaling == "report":
            return unit_range(area_resized(eight_bit(slices), self.size))
        return scaled(area_resized(slices, self.size), self.scaling)

    def _mirrored(self, images: np.ndarray, axes: Sequence[int]) -> np.ndarray:
        """The mean of the logits over all mirror images along the axes."""
        flips = [chosen for count in range(len(axes) + 1) for chosen in combinations(axes, count)]
        total: np.ndarray | np.float32 = np.float32(0)
        for chosen in flips:
            logits = self._batches(np.flip(images, chosen))
            total = total + (np.flip(logits, chosen) if logits.ndim == images.ndim else logits)
        return np.asarray(total / np.float32(len(flips)))

    def _batches(self, images: np.ndarray) -> np.ndarray:
        logits = np.concatenate([self.form(images[i : i + _BATCH]) for i in range(0, len(images), _BATCH)])
        if not np.isfinite(logits).all():
            # no threshold finds them: nothing would be found where nothing was computed
            raise DeployedFileError(f"{self.form.path}: gave values that are not numbers; the file is damaged.")
        return logits


def _sigmoid(values: np.ndarray) -> np.ndarray:
    # of both signs without an overflow
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)
