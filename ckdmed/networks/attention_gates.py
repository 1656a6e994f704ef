"""Gates that weigh a map's channels or its positions by what the map itself holds."""

from __future__ import annotations

import torch
from monai.networks.blocks import Convolution
from monai.networks.layers.utils import get_act_layer
from torch import nn

__all__ = ["ChannelGate", "SpatialGate"]


class ChannelGate(nn.Module):
    """Multiplies every channel by a number in (0, 1): x * sigmoid(M(mean x) + M(max x)).

    Mean and maximum are taken over all positions; M is one multi-layer perceptron with one hidden layer, the same for
    both. With zeroed weights every channel is halved.

    Args:
        channels: channels of the map.
        ratio: the hidden layer has `channels // ratio` units, but never fewer than 4, so that narrow networks keep a
            gate that can distinguish channels. At least 1.
        act: MONAI activation name of the hidden layer, or (name, options).

    Shape: (B, channels, *spatial) to the same.

    Raises:
        ValueError: `ratio` or `channels` below 1.

    Source:
        Woo et al. 2018, CBAM (arXiv 1807.06521), eq. 2; ratio 16 and the leaky activation as in the published code of
        MTCM-KD (Ahmad et al. 2024).
    """

    def __init__(self, channels: int, ratio: int = 16, act: str | tuple = "leakyrelu") -> None:
        super().__init__()
        if channels < 1 or ratio < 1:
            raise ValueError(f"a channel gate needs positive channels and ratio, got {channels} and {ratio}.")
        hidden = max(channels // ratio, 4)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), get_act_layer(act), nn.Linear(hidden, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        positions = x.flatten(2)
        gate = torch.sigmoid(self.mlp(positions.mean(dim=2)) + self.mlp(positions.amax(dim=2)))
        return x * gate.reshape(gate.shape + (1,) * (x.dim() - 2))


class SpatialGate(nn.Module):
    """Multiplies every position by a number in (0, 1): x * sigmoid(conv([mean of channels, max of channels])).

    CBAM normalises behind the convolution; here it has a bias instead, so that the gate does not depend on the other
    images of the batch. With zeroed weights every position is halved.

    Args:
        spatial_dims: 2 or 3.
        kernel_size: edge of the convolution's kernel, odd.

    Shape: (B, C, *spatial) to the same, for any C.

    Raises:
        ValueError: `kernel_size` not a positive odd number.

    Source:
        Woo et al. 2018, CBAM (arXiv 1807.06521), eq. 3.
    """

    def __init__(self, spatial_dims: int, kernel_size: int = 7) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be a positive odd number, got {kernel_size}.")
        self.conv = Convolution(spatial_dims, 2, 1, kernel_size=kernel_size, conv_only=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.conv(pooled))
