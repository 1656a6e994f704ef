"""Pictures of a finished training: its curves, and the best student's predictions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.inferers import Inferer, SimpleInferer
from monai.utils import CommonKeys
from torch.utils.data import Dataset, default_collate

from ckdmed.files import load_weights
from ckdmed.reports.curves import plot_curves
from ckdmed.reports.predictions import plot_predictions

__all__ = ["TrainingPictures"]


class TrainingPictures:
    """Draw the curves and a grid of predictions (truth and prediction outlined) when the training ends.

    Args:
        output_dir: where ``curves.png`` and ``predictions.png`` go.
        history: path of the ``.jsonl`` file of :class:`~ckdmed.handlers.TrainingHistory`.
        dataset: validation data, items with ``image`` (C, H, W) or (C, D, H, W) and ``label``.
        network: the student; it predicts with the weights of ``checkpoint`` and gets its own back.
        checkpoint: the best student's weights; where the file is missing the network predicts as it is.
        inferer: how the network is run.
        count: how many slices, spread evenly over the dataset.
        channel: output channel that is drawn.
        save: False on every rank but one.

    Attach to the trainer, after the handlers that write the history and the checkpoint.
    """

    def __init__(
        self,
        output_dir: str,
        history: str,
        dataset: Dataset,
        network: torch.nn.Module,
        checkpoint: str | None = None,
        inferer: Inferer | None = None,
        device: str | torch.device = "cpu",
        count: int = 12,
        channel: int = 0,
        save: bool = True,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.history = Path(history)
        self.dataset = dataset
        self.network = network
        self.checkpoint = checkpoint
        self.inferer = inferer or SimpleInferer()
        self.device = torch.device(device)
        self.count = count
        self.channel = channel
        self.save = save
        self.logger = logging.getLogger(type(self).__name__)

    def attach(self, engine: Engine) -> None:
        """Register on ``COMPLETED``."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        if not self.save:
            return
        if self.history.is_file():
            plot_curves(self.history, self.output_dir / "curves.png")
        items = self._items()
        if items:
            images, truths, predictions, titles = self._predict(items)
            plot_predictions(images, truths, predictions, self.output_dir / "predictions.png", titles=titles)
            self.logger.info(f"pictures: {self.output_dir / 'curves.png'}, {self.output_dir / 'predictions.png'}")

    def _items(self) -> list[dict]:
        size = len(self.dataset)  # type: ignore[arg-type]
        wanted = np.unique(np.linspace(0, size - 1, min(self.count, size)).round()).astype(int).tolist()
        return [self.dataset[i] for i in wanted]

    @torch.no_grad()
    def _predict(self, items: Sequence[dict]) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray], list[str]]:
        own = {k: v.clone() for k, v in self.network.state_dict().items()}
        training = self.network.training
        try:
            if self.checkpoint and Path(self.checkpoint).is_file():
                self.network.load_state_dict(load_weights(self.checkpoint, self.device))
            self.network.eval()
            images = default_collate([torch.as_tensor(item[CommonKeys.IMAGE]).float() for item in items])
            said = [self.inferer(part.to(self.device), self.network) for part in images.split(4)]
            predictions = (torch.cat(said)[:, self.channel].float().sigmoid() >= 0.5).cpu().numpy()
        finally:
            self.network.load_state_dict(own)
            self.network.train(training)
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
