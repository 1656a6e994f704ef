"""The block of EdgeViT: convolutions nearby, attention among few positions far away."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.blocks import Convolution, MLPBlock
from monai.networks.blocks.selfattention import SABlock
from monai.networks.layers.factories import Conv, Norm
from torch import nn

__all__ = ["EdgeViTBlock"]


class EdgeViTBlock(nn.Module):
    """Local aggregation, attention on every r-th position and its spreading back, a perceptron; all residual.

    Position: a depthwise 3x3 convolution. Aggregation: batch normalisation, 1x1, depthwise 5x5 and 1x1 convolutions.
    Attention: among the normalised tokens of every r-th position along each axis; its result is spread to the r
    positions around by a depthwise transposed convolution with kernel and stride r, normalised and put through a linear
    layer. The perceptron is four times as wide as a token. With `spread`'s, `local`'s, `mlp`'s last layers and the
    position zeroed the map passes unchanged.

    Args:
        spatial_dims: 2 or 3.
        channels: of the map, a multiple of `heads`.
        rate: r.
        heads: of the attention.
        mlp_ratio: of the perceptron.

    Shape: (B, channels, *spatial) to the same; any size.

    Raises:
        ValueError: a rate below 1, heads that do not divide the channels.

    Source: Pan et al. 2022 (arXiv 2205.03436), Section 3; the rates of its four stages are 4, 2, 2, 1.
    """

    def __init__(self, spatial_dims: int, channels: int, rate: int = 2, heads: int = 1, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        if rate < 1 or heads < 1 or channels % heads:
            raise ValueError(f"rate must be at least 1 and heads must divide {channels}, got {rate} and {heads}.")
        self.rate = rate
        deep: dict[str, Any] = {"groups": channels, "conv_only": True}
        point: dict[str, Any] = {"kernel_size": 1, "conv_only": True}
        self.position = Convolution(spatial_dims, channels, channels, kernel_size=3, **deep)
        self.local = nn.Sequential(
            Norm[Norm.BATCH, spatial_dims](channels),
            Convolution(spatial_dims, channels, channels, **point),
            Convolution(spatial_dims, channels, channels, kernel_size=5, **deep),
            Convolution(spatial_dims, channels, channels, **point),
        )
        self.norm = nn.LayerNorm(channels)
        self.attention = SABlock(channels, heads, use_flash_attention=True)
        self.around = Conv[Conv.CONVTRANS, spatial_dims](channels, channels, rate, stride=rate, groups=channels)
        self.spread = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, channels))
        self.mlp = nn.Sequential(nn.LayerNorm(channels), MLPBlock(channels, max(round(channels * mlp_ratio), 1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.position(x)
        x = x + self.local(x)
        chosen = x
        for axis in range(2, x.dim()):
            places = torch.arange(0, x.shape[axis], self.rate, device=x.device)
            chosen = chosen.index_select(axis, places)
        tokens = self.attention(self.norm(chosen.flatten(2).transpose(1, 2)))
        far = self.around(tokens.transpose(1, 2).reshape(chosen.shape))
        for axis in range(2, x.dim()):
            far = far.narrow(axis, 0, x.shape[axis])
        rows = x.flatten(2).transpose(1, 2)
        rows = rows + self.spread(far.flatten(2).transpose(1, 2))
        rows = rows + self.mlp(rows)
        return rows.transpose(1, 2).reshape(x.shape)
