"""A network that makes an image of one sequence look like one of another."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.blocks import Convolution
from torch import nn

from ckdmed.networks.padded import cropped, padded

__all__ = ["Translator"]

_NORMAL: dict[str, Any] = {"norm": "instance", "act": "relu", "adn_ordering": "NA"}


class _Residual(nn.Module):
    """x + two 3x3(x3) convolutions with instance normalisation."""

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        self.first = Convolution(spatial_dims, channels, channels, kernel_size=3, **_NORMAL)
        self.second = Convolution(spatial_dims, channels, channels, kernel_size=3, norm="instance", act=None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.first(x))


class Translator(nn.Module):
    """CycleGAN's generator: two halvings of the grid, residual blocks, two doublings; the last layer is linear.

    The paper's ends in a tanh, for images in [-1, 1]; sequences of MRI are z-scores here.

    Args:
        spatial_dims: 2 or 3.
        in_channels, out_channels: of the given image and of the one that is made.
        base: channels of the first level.
        blocks: residual blocks at a quarter of the grid.

    Shape: (B, in_channels, *spatial) to (B, out_channels, *spatial). Any size: the far ends are padded with 0 to
        multiples of 4, 8 at least.

    Source: Zhu et al. 2017 (arXiv 1703.10593), Section 7.2; 64 channels and 6 or 9 blocks there.
    """

    def __init__(
        self, spatial_dims: int = 2, in_channels: int = 1, out_channels: int = 1, base: int = 32, blocks: int = 6
    ) -> None:
        super().__init__()
        if base < 1 or blocks < 0:
            raise ValueError(f"a translator needs a base of at least 1 and 0 or more blocks, got {base} and {blocks}.")
        self.layers = nn.Sequential(
            Convolution(spatial_dims, in_channels, base, kernel_size=7, **_NORMAL),
            Convolution(spatial_dims, base, 2 * base, strides=2, kernel_size=3, **_NORMAL),
            Convolution(spatial_dims, 2 * base, 4 * base, strides=2, kernel_size=3, **_NORMAL),
            *(_Residual(spatial_dims, 4 * base) for _ in range(blocks)),
            Convolution(spatial_dims, 4 * base, 2 * base, strides=2, kernel_size=3, is_transposed=True, **_NORMAL),
            Convolution(spatial_dims, 2 * base, base, strides=2, kernel_size=3, is_transposed=True, **_NORMAL),
            Convolution(spatial_dims, base, out_channels, kernel_size=7, conv_only=True),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cropped(self.layers(padded(x, 4)), x)
