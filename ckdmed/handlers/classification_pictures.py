"""Pictures of a training of a classifier: its curves, and the best weights' predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.utils import CommonKeys

from ckdmed.handlers.end_pictures import EndPictures
from ckdmed.handlers.outlined_slices import slice_title
from ckdmed.reports.classified import plot_classified

__all__ = ["ClassificationPictures"]


class ClassificationPictures(EndPictures):
    """Draw the curves and a grid of slices with truth, predicted class and probability.

    Args:
        output_dir, history, network, checkpoint, inferer, device, count, save, modalities, teacher, teacher_inferer,
            summary_writer, share, clock: as :class:`~ckdmed.handlers.end_pictures.EndPictures`.
        dataset: validation data, items with ``image`` (C, H, W) and ``label``, the class from 0.
        class_names: one per class.

    Attach to the trainer, after the handlers that write the history and the checkpoint.
    """

    def __init__(
        self,
        output_dir: str,
        history: str,
        dataset: torch.utils.data.Dataset,
        network: torch.nn.Module,
        class_names: Sequence[str],
        checkpoint: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(output_dir, history, dataset, network, checkpoint, **settings)
        self.class_names = list(class_names)

    def draw(self, items: Sequence[dict[str, Any]], path: Path) -> None:
        """Truth, predicted class and probability with each slice."""
        predictions = self.predict(items)
        chosen = [self.channel_of(prediction.image) for prediction in predictions]
        titles = [slice_title(item, modality) for item, (_, modality) in zip(items, chosen, strict=True)]
        teacher = [prediction.teacher for prediction in predictions if prediction.teacher is not None]
        plot_classified(
            [prediction.image[channel].numpy() for prediction, (channel, _) in zip(predictions, chosen, strict=True)],
            [int(item[CommonKeys.LABEL]) for item in items],
            _probabilities([prediction.student for prediction in predictions]),
            self.class_names,
            path,
            titles=titles,
            teacher_probabilities=_probabilities(teacher) if teacher else None,
        )


def _probabilities(logits: Sequence[torch.Tensor]) -> np.ndarray:
    return torch.stack(list(logits)).softmax(dim=1).numpy()
