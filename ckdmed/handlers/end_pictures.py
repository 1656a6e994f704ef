"""What the pictures of a training have in common: curves, and what the best weights say of some samples."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.inferers import Inferer, SimpleInferer
from monai.utils import CommonKeys
from torch.utils.data import Dataset, default_collate

from ckdmed.files import load_weights
from ckdmed.reports.curves import plot_curves

__all__ = ["EndPictures"]


class EndPictures(ABC):
    """Draw ``curves.png``, and ``predictions.png`` as :meth:`draw` has it, after every validation and at the end.

    Predictions are drawn again when the best weights are others.

    Args:
        output_dir: where the pictures go.
        history: path of the ``.jsonl`` file of :class:`~ckdmed.handlers.TrainingHistory`.
        dataset: validation data, items with ``image`` and ``label``.
        network: the student; it predicts with the weights of ``checkpoint`` and gets its own back.
        checkpoint: the best student's weights; where the file is missing the network predicts as it is.
        inferer: how the network is run.
        device: where it is.
        count: how many samples, spread evenly over the dataset.
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
        self.save = save
        self.logger = logging.getLogger(type(self).__name__)
        self._drawn_at: int | None = None
        self._drawn_of: tuple[int, int] | None = None

    @abstractmethod
    def draw(self, items: Sequence[dict[str, Any]], path: Path) -> None:
        """Write the picture of samples of the dataset; there is at least one."""

    def attach(self, engine: Engine) -> None:
        """Register on ``EPOCH_COMPLETED`` and ``COMPLETED``."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._after_validation)
        engine.add_event_handler(Events.COMPLETED, self)

    def _after_validation(self, engine: Engine) -> None:
        if not self.save or not self.history.is_file():
            return
        rows = self.history.read_text(encoding="utf-8").splitlines()
        last = json.loads(rows[-1]) if rows else {}
        if last.get("metrics") and last.get("epoch") == engine.state.epoch:
            self(engine)

    def __call__(self, engine: Engine) -> None:
        if not self.save or self._drawn_at == engine.state.epoch:
            return
        curves, predictions = self.output_dir / "curves.png", self.output_dir / "predictions.png"
        if self.history.is_file():
            plot_curves(self.history, curves)
        weights = self._weights()
        items = self._items() if weights is None or weights != self._drawn_of else []
        if items:
            self.draw(items, predictions)
            self.logger.info(f"pictures: {curves}, {predictions}")
        self._drawn_at, self._drawn_of = engine.state.epoch, weights

    def _weights(self) -> tuple[int, int] | None:
        """What tells one file of the best weights from the next; None where there is no file."""
        if not self.checkpoint or not Path(self.checkpoint).is_file():
            return None
        found = Path(self.checkpoint).stat()
        return found.st_mtime_ns, found.st_ino

    def _items(self) -> list[dict[str, Any]]:
        size = len(self.dataset)  # type: ignore[arg-type]
        wanted = np.unique(np.linspace(0, size - 1, min(self.count, size)).round()).astype(int).tolist()
        return [self.dataset[i] for i in wanted]

    @torch.no_grad()
    def ask(self, items: Sequence[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
        """The samples' images as one batch, and the logits of the best weights."""
        own = {k: v.clone() for k, v in self.network.state_dict().items()}
        training = self.network.training
        try:
            if self.checkpoint and Path(self.checkpoint).is_file():
                self.network.load_state_dict(load_weights(self.checkpoint, self.device))
            self.network.eval()
            images = default_collate([torch.as_tensor(item[CommonKeys.IMAGE]).float() for item in items])
            said: list[Any] = [self.inferer(part.to(self.device), self.network) for part in images.split(4)]
            return images, torch.cat(said).float()
        finally:
            self.network.load_state_dict(own)
            self.network.train(training)
