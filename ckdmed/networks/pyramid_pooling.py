"""Pyramid pooling, as KDMSANet has it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution
from monai.networks.layers.factories import Pool
from torch import nn
from torch.nn import functional as F

__all__ = ["PyramidPooling"]


class PyramidPooling(nn.Module):
    """A map beside its averages over grids of several sizes, brought back to its own grid.

    Args:
        spatial_dims: 2 or 3.
        channels: C of the map.
        bins: cells an axis of each grid; each average passes a 1x1 convolution to C / len(bins) channels, 1 at least.
        act: MONAI activation name behind it, or (name, options).

    Shape: (B, C, *spatial) to (B, `out_channels`, *spatial); 2 C channels where C is a multiple of the number of bins.

    Source: Zhao et al. 2017 (arXiv 1612.01105). No normalisation after the convolution: a single cell has no deviation.
    """

    def __init__(
        self, spatial_dims: int, channels: int, bins: Sequence[int] = (1, 2, 3, 6), act: str | tuple = "relu"
    ) -> None:
        super().__init__()
        if not bins or min(bins) < 1:
            raise ValueError(f"bins must be numbers of cells, each at least 1, got {tuple(bins)}.")
        width = max(1, channels // len(bins))
        self.out_channels = channels + width * len(bins)
        self.mode = "bilinear" if spatial_dims == 2 else "trilinear"
        self.levels = nn.ModuleList(
            nn.Sequential(
                Pool[Pool.ADAPTIVEAVG, spatial_dims](cells),
                Convolution(spatial_dims, channels, width, kernel_size=1, act=act, norm=None),
            )
            for cells in bins
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = [x]
        for level in self.levels:
            found.append(F.interpolate(level(x), size=x.shape[2:], mode=self.mode, align_corners=False))
        return torch.cat(found, dim=1)
