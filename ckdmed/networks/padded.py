"""MONAI's segmentation networks for images of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.nets import DynUNet, SegResNet, SwinUNETR
from torch import nn
from torch.nn import functional as F

__all__ = ["AnySizeDynUNet", "AnySizeSegResNet", "AnySizeSwinUNETR"]


class _AnySize(nn.Module):
    """Pads the far ends of every spatial axis with 0 to a size that the network can halve, and crops its logits.

    The least size is twice the divisor: at the coarsest level an instance normalisation needs two positions. An image
    of a fitting size goes through unchanged. State dicts have the names of MONAI's network.
    """

    divisor: int

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sizes = list(x.shape[2:])
        padding: list[int] = []
        for size in reversed(sizes):
            padding += [0, max(-(-size // self.divisor), 2) * self.divisor - size]
        logits: torch.Tensor = super().forward(F.pad(x, padding) if any(padding) else x)
        for axis, size in enumerate(sizes, start=2):
            logits = logits.narrow(axis, 0, size)
        return logits


class AnySizeSegResNet(_AnySize, SegResNet):
    """MONAI's ``SegResNet``, of which every argument is the same; sizes are padded to multiples of 2^(levels - 1)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.divisor = 2 ** (len(self.blocks_down) - 1)


class AnySizeDynUNet(_AnySize, DynUNet):
    """MONAI's ``DynUNet`` with equal strides along the axes; sizes are padded to multiples of their product."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        product = 1
        for stride in self.strides:
            product *= max(stride) if isinstance(stride, Sequence) else stride
        self.divisor = product


class AnySizeSwinUNETR(_AnySize, SwinUNETR):
    """MONAI's ``SwinUNETR``, of which every argument is the same; sizes are padded to multiples of patch_size^5."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.divisor = int(self.patch_size) ** 5
