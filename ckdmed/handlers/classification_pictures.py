"""Pictures of a finished training of a classifier: its curves, and the best weights' predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from ignite.engine import Engine
from monai.inferers import Inferer
from monai.utils import CommonKeys
from torch.utils.data import Dataset

from ckdmed.files import load_weights
from ckdmed.handlers.pictures import TrainingPictures
from ckdmed.reports.classified import plot_classified
from ckdmed.reports.curves import plot_curves

__all__ = ["ClassificationPictures"]


class ClassificationPictures(TrainingPictures):
    """Draw the curves and a grid of slices with truth, predicted class and probability when the training ends.

    Args:
        output_dir: where ``curves.png`` and ``predictions.png`` go.
        history: path of the ``.jsonl`` file of :class:`~ckdmed.handlers.TrainingHistory`.
        dataset: validation data, items with ``image`` (C, H, W) and ``label``, the class from 0.
        network: it predicts with the weights of ``checkpoint`` and gets its own back.
        class_names: one per class.
        checkpoint, inferer, device, count, save: as :class:`~ckdmed.handlers.TrainingPictures`.

    Attach to the trainer, after the handlers that write the history and the checkpoint.
    """

    def __init__(
        self,
        output_dir: str,
        history: str,
        dataset: Dataset,
        network: torch.nn.Module,
        class_names: Sequence[str],
        checkpoint: str | None = None,
        inferer: Inferer | None = None,
        device: str | torch.device = "cpu",
        count: int = 12,
        save: bool = True,
    ) -> None:
        super().__init__(
            output_dir, history, dataset, network, checkpoint, inferer, device=device, count=count, save=save
        )
        self.class_names = list(class_names)

    def __call__(self, engine: Engine) -> None:
        if not self.save:
            return
        if self.history.is_file():
            plot_curves(self.history, self.output_dir / "curves.png")
        items = self._items()
        if items:
            images = torch.stack([torch.as_tensor(item[CommonKeys.IMAGE]).float() for item in items])
            plot_classified(
                list(images.numpy()),
                [int(item[CommonKeys.LABEL]) for item in items],
                self._probabilities(images),
                self.class_names,
                self.output_dir / "predictions.png",
                titles=[str(item.get("id", "")) for item in items],
            )
            self.logger.info(f"pictures: {self.output_dir / 'curves.png'}, {self.output_dir / 'predictions.png'}")

    @torch.no_grad()
    def _probabilities(self, images: torch.Tensor) -> np.ndarray:
        own = {k: v.clone() for k, v in self.network.state_dict().items()}
        training = self.network.training
        try:
            if self.checkpoint and Path(self.checkpoint).is_file():
                self.network.load_state_dict(load_weights(self.checkpoint, self.device))
            self.network.eval()
            logits = [self.inferer(part.to(self.device), self.network) for part in images.split(4)]
            return torch.cat(logits).float().softmax(dim=1).cpu().numpy()
        finally:
            self.network.load_state_dict(own)
            self.network.train(training)
