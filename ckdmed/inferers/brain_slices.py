"""Running a 2-D network over the slices of a volume that are not empty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer, SimpleInferer
from monai.utils import convert_to_dst_type

__all__ = ["BrainSliceInferer"]


class BrainSliceInferer(Inferer):
    """Segment a volume slice by slice along its last axis.

    It differs from MONAI's ``SliceInferer`` in two things. With ``neighbours`` each slice comes with those on both
    sides as further channels, ordered by slice, then by the volume's channels, and beyond the ends the outermost slice
    is repeated: the 2.5-D items of :class:`~ckdmed.data.brats.BratsSliceDataset`. And slices that are 0 throughout,
    above and below a skull-stripped brain, are not shown to the network, which was trained on none of them: their
    result is ``outside``. A fifth of the slices of a BraTS volume are such.

    Args:
        neighbours: slices on each side, 0 or more. Default 0.
        batch_size: slices at a time, at least 1.
        inferer: how a batch of slices is run; MONAI's ``SimpleInferer`` by default.
        outside: logit of what is not shown. Default -20, a probability of 2e-9; None shows every slice.

    Shape: (B, C, H, W, S) to (B, K, H, W, S), float32; the network takes (N, C * (2 * neighbours + 1), H, W).

    Raises:
        ValueError: an argument out of its range; when called, an input of other axes.

    Example::

        BrainSliceInferer(neighbours=1)(volume, network)  # volume [1, 4, 240, 240, 155], network of 12 channels
    """

    def __init__(
        self, neighbours: int = 0, batch_size: int = 16, inferer: Inferer | None = None, outside: float | None = -20.0
    ) -> None:
        super().__init__()
        if neighbours < 0 or batch_size < 1:
            raise ValueError(
                f"neighbours must be 0 or more and batch_size at least 1, got {neighbours} and {batch_size}."
            )
        self.neighbours = int(neighbours)
        self.batch_size = int(batch_size)
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.outside = outside

    def __call__(self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        """Infer ``inputs`` with ``network``; further arguments go to the wrapped inferer."""
        if inputs.ndim != 5:
            raise ValueError(f"volumes are (B, C, H, W, S), got shape {tuple(inputs.shape)}.")
        volumes = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        # one row for each slice to be run: volume, slice
        shown = (volumes != 0).flatten(1, 3).any(dim=1) if self.outside is not None else None
        rows = (torch.ones(len(volumes), volumes.shape[-1]) if shown is None else shown).nonzero().tolist()
        # how many channels come out is known only from the network
        rows = rows or [[0, 0]]
        result: torch.Tensor | None = None
        for start in range(0, len(rows), self.batch_size):
            chosen = rows[start : start + self.batch_size]
            batch = torch.stack([self._slice(volumes[volume], number) for volume, number in chosen])
            logits = self.inferer(batch, network, *args, **kwargs)
            if result is None:
                shape = (len(volumes), logits.shape[1], *logits.shape[2:], volumes.shape[-1])
                result = torch.full(shape, self.outside or 0.0, dtype=torch.float32, device=logits.device)
            for (volume, number), own in zip(chosen, logits, strict=True):
                if shown is None or shown[volume, number]:
                    result[volume, ..., number] = own.float()
        return convert_to_dst_type(result, dst=inputs, dtype=torch.float32)[0]

    def _slice(self, volume: torch.Tensor, number: int) -> torch.Tensor:
        """(C * (2 * neighbours + 1), H, W)."""
        around = torch.arange(number - self.neighbours, number + self.neighbours + 1, device=volume.device)
        stack = volume[..., around.clamp(0, volume.shape[-1] - 1)]
        return stack.movedim(-1, 0).flatten(0, 1)
