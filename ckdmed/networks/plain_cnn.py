"""A plain convolutional classifier, small enough to learn from small images without pretrained weights."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

__all__ = ["PlainCNN"]

_STAGES = 4


class PlainCNN(nn.Module):
    """Eight 3 x 3 convolutions in four stages, global average, one linear layer; raw logits.

    A stage halves the image in its first convolution; the widths are b, 2b, 4b and 8b. With b = 16 it has 0.29
    million parameters. At 64 pixels it still has 4 x 4 positions where an EfficientNet's five strides leave 2 x 2. The
    stages' outputs are the paths ``_blocks.0`` to ``_blocks.3``; ``_blocks.3`` is at a sixteenth of the image, as in
    an EfficientNet.

    Args:
        in_channels: channels of the image.
        num_classes: number of logits.
        base: b.
        dropout: rate of the dropout before the linear layer, in [0, 1).

    Shape: (B, in_channels, H, W) to (B, num_classes), any size from 16 pixels an axis.

    Raises:
        ValueError: a width or a number of classes below 1, a rate outside [0, 1).
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 3, base: int = 16, dropout: float = 0.2) -> None:
        super().__init__()
        if min(in_channels, num_classes, base) < 1:
            raise ValueError(
                f"in_channels, num_classes and base must be at least 1, got {in_channels}, {num_classes} and {base}."
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}.")
        widths = [base * 2**stage for stage in range(_STAGES)]
        self._blocks = nn.Sequential(
            *(
                nn.Sequential(_convolution(before, width, 2), _convolution(width, width, 1))
                for before, width in zip([in_channels, *widths], widths)
            )
        )
        self._dropout = nn.Dropout(dropout)
        self._fc = nn.Linear(widths[-1], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._fc(self._dropout(self._blocks(x).mean(dim=(2, 3))))


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), norm=nn.BatchNorm2d(outputs), act=nn.ReLU()
        )
    )
