"""Deformable convolution, and alignment of two maps by it."""

from __future__ import annotations

import torch
from monai.networks.layers.factories import Conv
from torch import nn
from torch.nn import functional

from ckdmed.networks.resize import resize_images

__all__ = ["DeformableConv", "DeformableFusion", "deformable_conv"]


def deformable_conv(
    x: torch.Tensor, offset: torch.Tensor, mask: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """A convolution of odd size, stride 1 and the same grid, whose taps are moved and weighted at every position.

    y(p) = b + sum_k W_k m_k(p) x(p + p_k + o_k(p)); x between its positions by linear interpolation, outside zero.

    Args:
        x: (B, C, *S), two or three spatial axes d.
        offset: (B, d G K, *S), G groups of channels, K the taps of the kernel in row-major order, and for each tap d
            numbers in pixels in the order of the axes (y, x): torchvision's layout.
        mask: (B, G K, *S), weights of the taps.
        weight: (out, C, *kernel).
        bias: (out,).

    Shape: (B, out, *S).

    Source: Zhu et al. 2019 (arXiv 1811.11168), with one convolution group; in three dimensions (z, y, x) likewise.
    """
    dims = x.dim() - 2
    size = list(x.shape[2:])
    taps = 1
    for edge in weight.shape[2:]:
        taps *= edge
    groups = mask.shape[1] // taps
    batch, channels = x.shape[0], x.shape[1]
    exact = torch.float64 if x.dtype == torch.float64 else torch.float32
    moved = offset.to(exact).reshape([batch * groups, taps, dims] + size)
    coordinates: list[torch.Tensor] = []
    for axis in range(dims):
        edge = weight.shape[2 + axis]
        # where on this axis each tap lies, beside the middle
        behind = 1
        for later in weight.shape[3 + axis :]:
            behind *= later
        tap = (torch.arange(taps, device=x.device) // behind) % edge - edge // 2
        place = torch.arange(size[axis], device=x.device)
        position = moved[:, :, axis] + tap.to(exact).reshape([1, taps] + [1] * dims)
        position = position + place.to(exact).reshape([1, 1] + [1] * axis + [size[axis]] + [1] * (dims - 1 - axis))
        # grid_sample has pixel i at (2 i + 1) / n - 1, which holds for an axis of one pixel too
        coordinates.append((2 * position + 1) / size[axis] - 1)
    coordinates.reverse()
    # the taps lie one behind the other along the first axis
    grid = torch.stack(coordinates, dim=-1).reshape([batch * groups, taps * size[0]] + size[1:] + [dims])
    source = x.to(exact).reshape([batch * groups, channels // groups] + size)
    sampled = functional.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    sampled = sampled.reshape([batch, groups, channels // groups, taps, -1])
    sampled = sampled * mask.to(exact).reshape([batch, groups, 1, taps, -1])
    columns = sampled.reshape(batch, channels * taps, -1)
    result = torch.matmul(weight.to(exact).reshape(weight.shape[0], -1), columns) + bias.to(exact).reshape(-1, 1)
    return result.reshape([batch, weight.shape[0]] + size).to(x.dtype)


class DeformableConv(nn.Module):
    """Deformable convolution (version 2) whose offsets and weights are predicted from another map.

    The predicting convolution starts at zero; a weight is twice a sigmoid, so exactly 1 then: a fresh module is the
    ordinary convolution with its `weight` and `bias`.

    Args:
        in_channels, out_channels: of the sampled map and of the result.
        guide_channels: of the map that the offsets are predicted from.
        kernel_size: odd.
        groups: of channels with offsets of their own; divides in_channels.
        spatial_dims: 2 or 3.

    Shape: x (B, in_channels, *S) and guide (B, guide_channels, *S) to (B, out_channels, *S).

    Raises:
        ValueError: an even kernel, groups that do not divide, other spatial_dims.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        guide_channels: int,
        kernel_size: int = 3,
        groups: int = 1,
        spatial_dims: int = 2,
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}.")
        if groups < 1 or in_channels % groups:
            raise ValueError(f"groups must divide the {in_channels} channels, got {groups}.")
        convolution = Conv[Conv.CONV, spatial_dims]
        plain = convolution(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.weight, self.bias = plain.weight, plain.bias
        taps = groups * kernel_size**spatial_dims
        self.split = [spatial_dims * taps, taps]
        self.predict = convolution(guide_channels, sum(self.split), kernel_size, padding=kernel_size // 2)
        nn.init.zeros_(self.predict.weight)
        nn.init.zeros_(self.predict.bias)

    def forward(self, x: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
        offset, mask = torch.split(self.predict(guide), self.split, dim=1)
        return deformable_conv(x, offset, 2 * torch.sigmoid(mask), self.weight, self.bias)


class DeformableFusion(nn.Module):
    """Adds the second map, sampled where a deformable convolution over both looks for it: a + D(b; a, b).

    Args:
        channels: of both maps.
        spatial_dims: 2 or 3.
        groups: of channels with offsets of their own.

    Shape: as in `SpatialTransformerFusion`.
    """

    def __init__(self, channels: int, spatial_dims: int = 2, groups: int = 1) -> None:
        super().__init__()
        self.conv = DeformableConv(channels, channels, 2 * channels, groups=groups, spatial_dims=spatial_dims)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        second = resize_images(second, list(first.shape[2:]))
        return first + self.conv(second, torch.cat([first, second], dim=1))
