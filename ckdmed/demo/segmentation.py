"""What the demo does with the files that a person drops: a bundle's own inference, and pictures of its result."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ckdmed.bundle.errors import in_words, root_cause
from ckdmed.bundle.workflow import bundle_workflow
from ckdmed.counted import counted
from ckdmed.inference import InputsSkipped
from ckdmed.reports.overlay import draw_overlay, draw_regions
from ckdmed.run_pages.case_images import CaseImages, read_case_images
from ckdmed.run_pages.inference_part import amounts_of
from ckdmed.run_pages.inference_run import InferenceRun, read_inference_run

__all__ = ["Found", "UnusableInput", "segment"]

#: longest side of the picture on the page, px
_SHOWN = 640


class UnusableInput(ValueError):
    """What was dropped cannot be segmented; the message is for the person who dropped it."""


@dataclass(frozen=True)
class Found:
    """What was found in one input.

    Attributes:
        images: slices and masks.
        files: masks and overlay as the inference wrote them.
        amounts: region -> its volume, or its area, in words.
        warnings: what a person must know of this input.
    """

    images: CaseImages
    files: Sequence[Path]
    amounts: Mapping[str, str]
    warnings: Sequence[str] = ()

    @property
    def first(self) -> int:
        """The slice with the most of the prediction, or the middle one."""
        anywhere = np.logical_or.reduce(list(self.images.regions.values()))
        areas = anywhere.sum(axis=(1, 2))
        return int(areas.argmax()) if areas.any() else len(areas) // 2

    def picture(self, number: int, with_prediction: bool = True) -> np.ndarray:
        """A slice (H, W, 3) uint8 with square pixels, with or without the prediction; others are held at an end."""
        index = min(max(number, 0), len(self.images.slices) - 1)
        image = self.images.slices[index]
        masks = {name: mask[index] for name, mask in self.images.regions.items()}
        if not with_prediction:
            drawn = draw_overlay(image, np.zeros(image.shape, bool))
        elif len(masks) > 1:
            drawn = draw_regions(image, masks)
        else:
            drawn = draw_overlay(image, next(iter(masks.values())))
        return _square(drawn, self.images.spacing_mm)


def segment(files: Sequence[Path], bundle: Path, work: Path, checkpoint: Path | None = None) -> Found:
    """Run a bundle's ``inference.json`` over what was dropped.

    Args:
        files: one slice or volume, the files of one DICOM series, or those of one case where the bundle takes cases;
            in any order.
        bundle: folder of the bundle.
        work: a folder for files of this inference; what is written is below it.
        checkpoint: other weights than the bundle's own.

    Raises:
        UnusableInput: nothing was dropped, several inputs were, or the input cannot be read; says which and why.
        ValueError, RuntimeError: the weights cannot be used.
    """
    if not files:
        raise UnusableInput("First drop something to segment.")
    place = Path(tempfile.mkdtemp(prefix="segment-", dir=work))
    inputs = place / "inputs"
    inputs.mkdir()
    for number, file in enumerate(files):
        # two files of one name are two slices all the same
        shutil.copyfile(file, inputs / (file.name if not (inputs / file.name).exists() else f"{number}-{file.name}"))
    settings = {"dataset_dir": str(inputs), "output_dir": str(place / "found")}
    if checkpoint is not None:
        settings["checkpoint"] = str(checkpoint)
    workflow = bundle_workflow(bundle, settings, ("inference.json",))
    try:
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    except InputsSkipped as skipped:
        first = skipped.skipped[0]
        raise UnusableInput(_without_place(first.reason, inputs)) from skipped
    except Exception as error:
        cause = root_cause(error)
        if isinstance(cause, ValueError):
            raise UnusableInput(_without_place(in_words(cause), inputs)) from error
        raise
    run = read_inference_run(place / "found")
    if len(run.results) != 1:
        names = ", ".join(result.name for result in run.results[:5])
        raise UnusableInput(f"These are {len(run.results)} inputs ({names}); drop one at a time.")
    result = run.results[0]
    images = read_case_images(result, run.settings)
    return Found(images, result.outputs, amounts_of(images), [*_passed_over(run, len(files)), *result.warnings])


def _without_place(message: str, inputs: Path) -> str:
    """The message without the folder of this inference, which the person does not know."""
    return message.replace(f"{inputs}/", "").replace(f"{inputs}: ", "")


def _passed_over(run: InferenceRun, dropped: int) -> list[str]:
    """A sentence on files of other kinds, of which a person may believe that they were seen."""
    count = (run.report.get("counts") or {}).get("ignored", 0)
    if not count:
        return []
    names = [Path(str(file)).name for file in run.report.get("ignored_examples") or ()]
    return [
        f"Ignored, since they are not images of an input: {', '.join(names)} ({count} of {counted(dropped, 'file')})."
    ]


def _square(drawn: np.ndarray, spacing_mm: tuple[float, float, float] | None) -> np.ndarray:
    from PIL import Image

    height, width = (float(side) for side in drawn.shape[:2])
    if spacing_mm is not None:
        height, width = height * spacing_mm[1], width * spacing_mm[2]
    scale = _SHOWN / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(Image.fromarray(drawn).resize(size, Image.Resampling.BILINEAR))
