"""Pictures of a finished training: its curves, and the best student's predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.utils import CommonKeys
from torch.utils.data import Dataset

from ckdmed.handlers.end_pictures import EndPictures
from ckdmed.reports.predictions import plot_predictions

__all__ = ["TrainingPictures"]


class TrainingPictures(EndPictures):
    """Draw the curves and a grid of predictions (truth and prediction outlined) when the training ends.

    Args:
        output_dir, history, network, checkpoint, inferer, device, count, save: as
            :class:`~ckdmed.handlers.end_pictures.EndPictures`.
        dataset: validation data, items with ``image`` (C, H, W) or (C, D, H, W) and ``label``.
        channel: output channel that is drawn.

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
        **settings: Any,
    ) -> None:
        super().__init__(output_dir, history, dataset, network, checkpoint, **settings)
        self.channel = channel

    def draw(self, items: Sequence[dict[str, Any]], path: Path) -> None:
        """Truth and prediction outlined over each slice."""
        images, truths, predictions, titles = self._predict(items)
        plot_predictions(images, truths, predictions, path, titles=titles)

    def _predict(self, items: Sequence[dict]) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray], list[str]]:
        images, logits = self.ask(items)
        predictions = (logits[:, self.channel].sigmoid() >= 0.5).cpu().numpy()
        pictures = images[:, 0].numpy()
        truths = np.stack([np.asarray(item[CommonKeys.LABEL])[self.channel] > 0 for item in items])
        if pictures.ndim == 4:
            # the slice of a volume that holds most of the truth
            best = truths.sum(axis=(2, 3)).argmax(axis=1)
            pictures, truths, predictions = (
                np.stack([volume[z] for volume, z in zip(stack, best)]) for stack in (pictures, truths, predictions)
            )
        titles = [str(item.get("id", "")) for item in items]
        return list(pictures), list(truths), list(predictions), titles
