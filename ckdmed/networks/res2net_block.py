"""The residual block of Res2Net, as MFFTNet's convolutional branch has it."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.blocks import Convolution
from torch import nn

__all__ = ["Res2NetBlock"]

_PARTS = 4


class Res2NetBlock(nn.Module):
    """A residual block whose 3x3 convolution is a chain over parts of the channels, each with a wider view.

    x goes through a 1x1 convolution to 4 w channels and is split: y1 = K1(x1), y_i = K_i(x_i + y_(i-1)), the fourth
    part passes as it is; together they go through a 1x1 convolution and x is added.

    Args:
        spatial_dims: 2 or 3.
        channels: of the input and of the output.
        base_width: w = floor(channels base_width / 64), 1 at least.

    Shape: (B, channels, *spatial) to the same.

    Source: Gao et al. 2019 (arXiv 1904.01169); 26w4s.
    """

    def __init__(self, spatial_dims: int, channels: int, base_width: int = 26) -> None:
        super().__init__()
        width = max(1, channels * base_width // 64)
        normal: dict[str, Any] = {"act": "relu", "norm": "batch", "adn_ordering": "NA"}
        self.before = Convolution(spatial_dims, channels, _PARTS * width, kernel_size=1, **normal)
        self.chain = nn.ModuleList(
            Convolution(spatial_dims, width, width, kernel_size=3, **normal) for _ in range(_PARTS - 1)
        )
        self.after = Convolution(spatial_dims, _PARTS * width, channels, kernel_size=1, norm="batch", act=None)
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.before(x).chunk(4, dim=1)
        found: list[torch.Tensor] = []
        for index, convolution in enumerate(self.chain):
            part = parts[index] if index == 0 else parts[index] + found[index - 1]
            found.append(convolution(part))
        found.append(parts[3])
        return self.act(x + self.after(torch.cat(found, dim=1)))
