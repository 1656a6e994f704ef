"""What several teachers find together: their decoder features, gated and fused into one prediction."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution
from torch import nn

__all__ = ["ChannelGate", "CooperativeFusion"]


class ChannelGate(nn.Module):
    """Weigh the channels of a map: x * sigmoid(mlp(mean of x) + mlp(maximum of x)), mean and maximum over positions.

    Args:
        channels: C.
        reduction: the hidden layer of the shared mlp has max(C // reduction, 1) units. Default 16, as published.

    Shape: (B, C, *spatial) to the same.

    Raises:
        ValueError: a count below 1.

    Source: Woo et al. 2018, CBAM (arXiv 1807.06521), channel attention; with LeakyReLU as in the code of MTCM-KD.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        if channels < 1 or reduction < 1:
            raise ValueError(f"channels and reduction must be at least 1, got {channels} and {reduction}.")
        hidden = max(channels // reduction, 1)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.LeakyReLU(), nn.Linear(hidden, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        positions = x.flatten(2)
        gate = torch.sigmoid(self.mlp(positions.mean(dim=2)) + self.mlp(positions.amax(dim=2)))
        return x * gate.reshape(*gate.shape, *(1,) * (x.dim() - 2))


class CooperativeFusion(nn.Module):
    """Cooperative logits of several teachers: head(sum_i conv_i(gate_i(feature_i))), 1x1 convolutions to the classes.

    Args:
        in_channels: channels of each teacher's decoder feature, one number a teacher.
        out_channels: channels of the logits.
        spatial_dims: 2 or 3.
        reduction: of the gates, see `ChannelGate`.

    Shape: a list of (B, in_channels[i], *s), all on one grid, to (B, out_channels, *s).

    Raises:
        ValueError: no teacher, or counts below 1; in forward, another number of features, or features on several grids.

    Source: Ahmad et al. 2024, MTCM-KD (Knowledge-Based Systems 297) and its code: the features have half the resolution.
    """

    def __init__(
        self, in_channels: Sequence[int], out_channels: int, spatial_dims: int = 2, reduction: int = 16
    ) -> None:
        super().__init__()
        if not in_channels or min(in_channels) < 1 or out_channels < 1:
            raise ValueError(
                f"fusion needs the channels of at least one teacher, got {list(in_channels)} to {out_channels}."
            )
        self.gates = nn.ModuleList(ChannelGate(channels, reduction) for channels in in_channels)
        self.convs = nn.ModuleList(
            Convolution(spatial_dims, channels, out_channels, kernel_size=1, conv_only=True) for channels in in_channels
        )
        self.head = Convolution(spatial_dims, out_channels, out_channels, kernel_size=1, conv_only=True)

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        if len(features) != len(self.gates):
            raise ValueError(f"{len(features)} features for a fusion of {len(self.gates)} teachers.")
        if len({tuple(feature.shape[2:]) for feature in features}) != 1:
            raise ValueError(
                f"the teachers' features lie on several grids: {[tuple(f.shape) for f in features]}; tap decoder "
                "stages of one resolution."
            )
        parts = [conv(gate(feature)) for gate, conv, feature in zip(self.gates, self.convs, features)]
        return self.head(torch.stack(parts).sum(dim=0))
