"""Pictures of a training with several regions."""

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
from ckdmed.labels import REGIONS
from ckdmed.reports.style import on_black

__all__ = ["RegionTrainingPictures"]


class RegionTrainingPictures(EndPictures):
    """Draw the curves and, for some samples, truth and prediction of every region.

    Of slices those with tumour are drawn, as far as ``categories`` of the dataset tells; of a volume the slice with
    most tumour.

    Args:
        output_dir, history, network, checkpoint, inferer, device, count, save, modalities, teacher, teacher_inferer,
            summary_writer, share, clock: as :class:`~ckdmed.handlers.end_pictures.EndPictures`.
        dataset: validation data, items with ``image`` (C, H, W) or (C, H, W, D) and ``label`` with a channel for each
            region; volumes may differ in size.
        regions: name of each output channel.
        channel: of the modalities, behind the outlines; -1 is the last (T2-FLAIR, where there are all four).

    Attach to the trainer, after the handlers that write the history and the checkpoint.
    """

    def __init__(
        self,
        output_dir: str,
        history: str,
        dataset: Dataset,
        network: torch.nn.Module,
        checkpoint: str | None = None,
        count: int = 6,
        regions: Sequence[str] = REGIONS,
        channel: int = -1,
        **settings: Any,
    ) -> None:
        super().__init__(output_dir, history, dataset, network, checkpoint, count=count, **settings)
        self.regions = tuple(regions)
        self.shown = channel

    def _items(self) -> list[dict[str, Any]]:
        size = len(self.dataset)  # type: ignore[arg-type]
        categories = getattr(self.dataset, "categories", None)
        shown = np.arange(size) if categories is None else np.flatnonzero(np.asarray(categories) > 0)
        shown = shown if len(shown) else np.arange(size)
        wanted = np.unique(np.linspace(0, len(shown) - 1, min(self.count, len(shown))).round()).astype(int)
        return [self.dataset[int(i)] for i in shown[wanted]]

    def draw(self, items: Sequence[dict[str, Any]], path: Path) -> None:
        """A row for each sample, a column for each region."""
        slices = OutlinedSlices(with_teacher=self.teacher is not None, columns=len(self.regions))
        for item, prediction in zip(items, self.predict(items), strict=True):
            channel, modality = self.channel_of(prediction.image)
            picture = prediction.image[channel].numpy()
            truth = torch.as_tensor(item[CommonKeys.LABEL]).numpy() > 0
            predicted: list[Any] = [
                None if logits is None else (logits.sigmoid() >= 0.5).numpy() for logits in prediction[1:]
            ]
            number = None
            if picture.ndim == 3:
                number = int(truth.any(axis=0).sum(axis=(0, 1)).argmax())
                picture, truth = picture[..., number], truth[..., number]
                predicted = [None if masks is None else masks[..., number] for masks in predicted]
            for index, region in enumerate(self.regions):
                own: list[Any] = [None if masks is None else masks[index] for masks in predicted]
                title = slice_title(item, modality, number, region).removeprefix("BraTS-")
                slices.add(on_black(picture), truth[index], *own, title=title)
        slices.draw(path)
