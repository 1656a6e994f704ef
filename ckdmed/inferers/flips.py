"""Test-time averaging over mirror images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer

__all__ = ["FlipAverageInferer"]


class FlipAverageInferer(Inferer):
    """Mean of a network's outputs over the mirror images of its input.

    Each output is mirrored back before the mean is taken, so the outputs must lie on the grid of the input. It is the
    outputs that are averaged: of logits the mean is taken before the sigmoid. With two axes there are four passes.

    Args:
        inferer: runs each pass. Default: MONAI's ``SimpleInferer``.
        spatial_axes: axes that are mirrored, counted after batch and channel; default the first two.
        enabled: False hands everything to ``inferer`` untouched. Default True.

    Raises:
        ValueError: an axis stands twice or is negative.

    Example::

        FlipAverageInferer(SliceInferer(roi_size=(256, 256), spatial_dim=2))(volume, network)
    """

    def __init__(
        self, inferer: Inferer | None = None, spatial_axes: Sequence[int] = (0, 1), enabled: bool = True
    ) -> None:
        super().__init__()
        axes = tuple(int(axis) for axis in spatial_axes)
        if len(set(axes)) != len(axes) or any(axis < 0 for axis in axes):
            raise ValueError(f"spatial_axes must be different and not negative, got {tuple(spatial_axes)}.")
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.dims = [
            [axis + 2 for axis in chosen] for count in range(len(axes) + 1) for chosen in combinations(axes, count)
        ]
        self.enabled = enabled

    def __call__(self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        """Infer ``inputs`` with ``network``; further arguments go to the wrapped inferer."""
        if not self.enabled:
            return self.inferer(inputs, network, *args, **kwargs)
        total: Any = 0
        for dims in self.dims:
            mirrored = torch.flip(inputs, dims) if dims else inputs
            outputs = self.inferer(mirrored, network, *args, **kwargs)
            total = total + (torch.flip(outputs, dims) if dims else outputs)
        return total / len(self.dims)
