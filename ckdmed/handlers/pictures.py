"""Pictures of a training on slices: its curves, and the best student's predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.utils import CommonKeys
from torch.utils.data import Dataset

from ckdmed.handlers.end_pictures import EndPictures
from ckdmed.handlers.outlined_slices import OutlinedSlices, slice_title

__all__ = ["TrainingPictures"]


class TrainingPictures(EndPictures):
    """Draw the curves and a grid of predictions, with truth, student and teacher outlined.

    Of a volume the slice with most of the truth is drawn. Above each slice stand its name, the modality and, of a
    volume, the slice's number, and the Dice of what is drawn.

    Args:
        output_dir, history, network, checkpoint, inferer, device, count, save, modalities, teacher, teacher_inferer,
            summary_writer, share, clock: as :class:`~ckdmed.handlers.end_pictures.EndPictures`.
        dataset: validation data, items with ``image`` (C, H, W) or (C, D, H, W) and ``label``.
        channel: output channel that is drawn, where `regions` does not name several.
        regions: name of each output channel; of several each is drawn, under its name.

    Attach to the trainer, after the handlers that write the history and the checkpoint.
    """

    def __init__(
        self,
        output_dir: str,
        history: str,
        dataset: Dataset,
        network: torch.nn.Module,
        checkpoint: str | None = None,
        channel: int = 0,
        regions: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        super().__init__(output_dir, history, dataset, network, checkpoint, **settings)
        self.drawn = dict(enumerate(regions)) if len(regions) > 1 else {channel: ""}

    def draw(self, items: Sequence[dict[str, Any]], path: Path) -> None:
        """Truth and predictions outlined over each slice."""
        self._predict(items).draw(path)

    def _predict(self, items: Sequence[dict]) -> OutlinedSlices:
        # a column for each region, so that those of a slice stand side by side
        columns = 4 if len(self.drawn) == 1 else len(self.drawn)
        slices = OutlinedSlices(with_teacher=self.teacher is not None, columns=columns)
        for item, prediction in zip(items, self.predict(items), strict=True):
            channel, modality = self.channel_of(prediction.image)
            for output, region in self.drawn.items():
                picture = prediction.image[channel].numpy()
                truth = np.asarray(item[CommonKeys.LABEL])[output] > 0
                predicted: list[Any] = [
                    None if logits is None else (logits[output].sigmoid() >= 0.5).numpy() for logits in prediction[1:]
                ]
                number = None
                if picture.ndim == 3:
                    number = int(truth.sum(axis=(1, 2)).argmax())
                    picture, truth = picture[number], truth[number]
                    predicted = [None if mask is None else mask[number] for mask in predicted]
                slices.add(picture, truth, *predicted, title=slice_title(item, modality, number, region))
        return slices
