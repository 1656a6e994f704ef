"""How many of a training's samples a classifier got right, as it was when it saw them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.utils import CommonKeys

__all__ = ["TrainingAccuracy"]


class TrainingAccuracy:
    """The share of correct classes over the steps of an epoch; it has none where nothing is classified.

    Samples whose ``labelled`` is False are left out. Of mixed labels, probabilities of the classes, the largest counts.
    Sums stay on the device.
    """

    def __init__(self) -> None:
        self._correct: list[torch.Tensor] = []
        self._counted: list[torch.Tensor] = []

    def update(self, output: Any, batch: Any) -> None:
        """Note a step.

        Args:
            output: the trainer's ``state.output``; others than logits (B, classes) with labels are passed over.
            batch: its ``state.batch``.
        """
        found = output if isinstance(output, Mapping) else {}
        logits, label = found.get(CommonKeys.PRED), found.get(CommonKeys.LABEL)
        if not isinstance(logits, torch.Tensor) or logits.dim() != 2 or not isinstance(label, torch.Tensor):
            return
        classes = label.argmax(dim=1) if label.dim() == 2 and label.shape[1] == logits.shape[1] else label.flatten()
        right = logits.detach().argmax(dim=1) == classes.to(logits.device)
        flags = batch.get("labelled") if isinstance(batch, Mapping) else None
        known = torch.ones_like(right) if flags is None else torch.as_tensor(flags, device=right.device).bool()
        self._correct.append((right & known).sum())
        self._counted.append(known.sum())

    def taken(self) -> float | None:
        """The share since the last time; None without a sample that has a class."""
        correct, counted = sum(map(int, self._correct)), sum(map(int, self._counted))
        self._correct, self._counted = [], []
        return correct / counted if counted else None
