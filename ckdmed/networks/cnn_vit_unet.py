"""A U-Net with two encoders, one of Res2Net blocks and one of EdgeViT blocks, joined at every level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.blocks import Convolution
from torch import nn

from ckdmed.networks.edgevit_block import EdgeViTBlock
from ckdmed.networks.fusion.attentive_pyramid import AttentivePyramidFusion
from ckdmed.networks.padded import cropped, padded
from ckdmed.networks.res2net_block import Res2NetBlock
from ckdmed.networks.unet import DoubleConv, UpBlock

__all__ = ["CnnViTUNet"]

_RATES = (4, 2, 2, 1)


class CnnViTUNet(nn.Module):
    """Two encoders over one stem, one convolutional and one of attention, and a U-Net's decoder. Returns raw logits.

    The stem is on the image's grid. On each of the four coarser levels both encoders halve the grid, one has a Res2Net
    block and the other an EdgeViT block (its attention on every 4th, 2nd, 2nd and every position), and
    `AttentivePyramidFusion` joins them to the level's skip connection; the deepest is the bridge.

    Paths to tap: `cnn.e2` to `cnn.e5`, `vit.e2` to `vit.e5`, `fuse.e2` to `fuse.e5`, `decoder.d4` to `decoder.d1`.

    Args:
        spatial_dims: 2 or 3.
        in_channels, out_channels: of the image and of the logits.
        features: widths of the five levels; 4 and more from the second on.
        dropout: of the decoder, in [0, 1).

    Shape: (B, in_channels, *spatial) to (B, out_channels, *spatial). Any size: the far ends are padded with 0 to
        multiples of 16, 32 at least.

    Raises:
        ValueError: another number of features than five, or narrower ones.

    Source: in the style of MFFTNet, of which neither code nor formulas are to be had: its branches as published by
        themselves (see the blocks), the fusion this project's.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        features: Sequence[int] = (32, 64, 128, 256, 512),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [int(width) for width in features]
        if len(widths) != 5 or min(widths[1:]) < 4 or widths[0] < 1:
            raise ValueError(f"features must be five widths, 4 and more from the second on, got {tuple(features)}.")
        self.divisor = 2 ** (len(widths) - 1)
        down: dict[str, Any] = {"kernel_size": 3, "strides": 2, "act": "relu", "norm": "batch", "adn_ordering": "NA"}
        self.stem = DoubleConv(spatial_dims, in_channels, widths[0])
        self.cnn, self.vit, self.fuse = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for level, (before, width, rate) in enumerate(zip(widths, widths[1:], _RATES), start=2):
            heads = math.gcd(width, max(1, width // 32))
            self.cnn[f"e{level}"] = nn.Sequential(
                Convolution(spatial_dims, before, width, **down), Res2NetBlock(spatial_dims, width)
            )
            self.vit[f"e{level}"] = nn.Sequential(
                Convolution(spatial_dims, before, width, **down), EdgeViTBlock(spatial_dims, width, rate, heads)
            )
            self.fuse[f"e{level}"] = AttentivePyramidFusion(width, spatial_dims)
        self.decoder = nn.ModuleDict()
        for level in range(4, 0, -1):
            width = widths[level - 1]
            self.decoder[f"d{level}"] = UpBlock(spatial_dims, widths[level], width, width, dropout=dropout)
        self.head = Convolution(spatial_dims, widths[0], out_channels, kernel_size=1, conv_only=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        near = self.stem(padded(x, self.divisor))
        far = near
        skips = [near]
        for cnn, vit, fuse in zip(self.cnn.values(), self.vit.values(), self.fuse.values()):
            near, far = cnn(near), vit(far)
            skips.append(fuse(near, far))
        position = len(skips) - 1
        deep = skips[position]
        for level in self.decoder.values():
            position -= 1
            deep = level(deep, skips[position])
        return cropped(self.head(deep), x)
