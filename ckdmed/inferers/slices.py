"""Classifying the slices of an input one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer, SimpleInferer

__all__ = ["SliceClassifierInferer"]


class SliceClassifierInferer(Inferer):
    """Run a classifier of images over stacks of slices, and average over left and right if requested.

    Args:
        inferer: how a batch of slices is run; MONAI's ``SimpleInferer`` by default.
        batch_size: slices at a time, at least 1.
        flip: also show every slice with left and right exchanged and give the mean of the two logits.

    Shape: (B, S, C, H, W) to logits (B, S, classes).

    Raises:
        ValueError: batch_size below 1; when called, an input of other axes.
    """

    def __init__(self, inferer: Inferer | None = None, batch_size: int = 16, flip: bool = False) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.batch_size = batch_size
        self.flip = flip

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        if inputs.ndim != 5:
            raise ValueError(f"stacks of slices are (B, S, C, H, W), got shape {tuple(inputs.shape)}.")
        slices = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        logits = []
        for part in slices.flatten(0, 1).split(self.batch_size):
            output = self.inferer(part, network, *args, **kwargs)
            if self.flip:
                output = (output + self.inferer(part.flip(-1), network, *args, **kwargs)) / 2
            logits.append(output)
        return torch.cat(logits).unflatten(0, tuple(inputs.shape[:2]))
