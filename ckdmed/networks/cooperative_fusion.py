"""What several teachers find together: their decoder features, gated and fused into one prediction."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution
from torch import nn

from ckdmed.networks.attention_gates import ChannelGate

__all__ = ["CooperativeFusion"]


class CooperativeFusion(nn.Module):
    """Cooperative logits of several teachers: head(sum_i conv_i(gate_i(feature_i))), 1x1 convolutions to the classes.

    Args:
        in_channels: channels of each teacher's decoder feature, one number a teacher.
        out_channels: channels of the logits.
        spatial_dims: 2 or 3.
        ratio: of the gates, see `ChannelGate`.

    Shape: a list of (B, in_channels[i], *s), all on one grid, to (B, out_channels, *s).

    Raises:
        ValueError: no teacher, or counts below 1; in forward, another number of features, or features on several grids.

    Source: Ahmad et al. 2024, MTCM-KD (Knowledge-Based Systems 297) and its code, on features of half resolution.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int, spatial_dims: int = 2, ratio: int = 16) -> None:
        super().__init__()
        if not in_channels or min(in_channels) < 1 or out_channels < 1:
            raise ValueError(
                f"fusion needs the channels of at least one teacher, got {list(in_channels)} to {out_channels}."
            )
        self.gates = nn.ModuleList(ChannelGate(channels, ratio) for channels in in_channels)
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
