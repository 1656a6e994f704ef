"""A U-Net with pyramid pooling at the bridge and gates on its skip connections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv
from torch import nn

from ckdmed.networks.attention_gates import ChannelGate, SpatialGate
from ckdmed.networks.padded import cropped, padded
from ckdmed.networks.pyramid_pooling import PyramidPooling
from ckdmed.networks.unet import UNet

__all__ = ["PyramidAttentionUNet"]


class PyramidAttentionUNet(nn.Module):
    """A U-Net whose bridge is pooled over 1, 2, 3 and 6 cells an axis and whose skips pass channel and spatial gates.

    The four averages stand beside the bridge's map, and a 1x1 convolution brings it back to its width.

    Paths to tap: those of `UNet` behind `unet.`, `gates.<i>`, `pyramid`.

    Args:
        spatial_dims, in_channels, out_channels, features, norm, act, dropout: see `UNet`.
        gate_ratio: of the channel gates.

    Shape: (B, in_channels, *spatial) to (B, out_channels, *spatial). Any size: the far ends are padded with 0 to
        multiples of the U-Net's divisor.

    Raises:
        ValueError: see `UNet`.

    Source: in the style of KDMSANet, of which neither code nor formulas are to be had.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        features: Sequence[int] = (32, 64, 128, 256, 512),
        norm: str | tuple | None = "batch",
        act: str | tuple = "relu",
        dropout: float = 0.0,
        gate_ratio: int = 16,
    ) -> None:
        super().__init__()
        self.unet = UNet(spatial_dims, in_channels, out_channels, features, norm, act, dropout=dropout)
        deepest = int(features[-1])
        pooling = PyramidPooling(spatial_dims, deepest)
        self.pyramid = nn.Sequential(pooling, Conv[Conv.CONV, spatial_dims](pooling.out_channels, deepest, 1))
        self.gates = nn.ModuleList(
            nn.Sequential(ChannelGate(int(width), gate_ratio), SpatialGate(spatial_dims)) for width in features[:-1]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bridge, skips = self.unet.encode(padded(x, self.unet.divisor))
        gated: list[torch.Tensor] = []
        for index, gate in enumerate(self.gates):
            gated.append(gate(skips[index]))
        return cropped(self.unet.decode(self.pyramid(bridge), gated), x)
