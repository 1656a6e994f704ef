"""Coordinate attention: gates along each axis of a map."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["CoordinateAttention"]


class CoordinateAttention(nn.Module):
    """Multiplies every position by a number in (0, 1) for each of its coordinates, channel by channel.

    The map is averaged over all axes but one; these lines pass one shared 1x1 convolution, then one each, and a
    sigmoid: x(p) prod_k g_k(p_k). With zeroed gates every value is halved once for each axis.

    Args:
        spatial_dims: 2 or 3.
        channels: of the map.
        ratio: the shared convolution has `channels // ratio` channels, 8 at least.

    Shape: (B, channels, *spatial) to the same.

    Source: Hou et al. 2021 (arXiv 2103.02907), which has batch normalisation behind the shared convolution; here it has
        a bias alone, so that a gate does not depend on the other images of the batch. Three axes are this project's.
    """

    def __init__(self, spatial_dims: int, channels: int, ratio: int = 32) -> None:
        super().__init__()
        if channels < 1 or ratio < 1:
            raise ValueError(f"coordinate attention needs positive channels and ratio, got {channels} and {ratio}.")
        hidden = max(channels // ratio, 8)
        self.shared = nn.Conv1d(channels, hidden, 1)
        self.gates = nn.ModuleList(nn.Conv1d(hidden, channels, 1) for _ in range(spatial_dims))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        axes = x.dim() - 2
        lines: list[torch.Tensor] = []
        for axis in range(axes):
            others = [2 + (axis + step) % axes for step in range(1, axes)]
            lines.append(x.mean(dim=others))
        hidden = F.hardswish(self.shared(torch.cat(lines, dim=2)))
        first = 0
        gated = x
        for axis, gate in enumerate(self.gates):
            size = x.shape[2 + axis]
            shape = [x.shape[0], x.shape[1]] + [1] * axes
            shape[2 + axis] = size
            gated = gated * torch.sigmoid(gate(hidden[:, :, first : first + size])).reshape(shape)
            first += size
        return gated
