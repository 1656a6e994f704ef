"""A U-Net whose first convolution sees every sequence by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.blocks import Convolution, UpSample
from torch import nn

from ckdmed.networks.padded import cropped, padded
from ckdmed.networks.unet_blocks import unet_block

__all__ = ["GroupedUNet"]


class _Join(nn.Module):
    """Doubles the grid, concatenates the encoder's map of that grid, and applies a 1x1 convolution and a block."""

    def __init__(self, spatial_dims: int, in_channels: int, skip_channels: int, out_channels: int, block: str) -> None:
        super().__init__()
        self.up = UpSample(spatial_dims, in_channels, out_channels, scale_factor=2, mode="deconv", bias=False)
        self.act = nn.ReLU()
        joined = skip_channels + out_channels
        self.reduce = Convolution(spatial_dims, joined, out_channels, kernel_size=1, conv_only=True, bias=False)
        self.block = unet_block(block, spatial_dims, out_channels, out_channels)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        joined = torch.cat([skip, self.act(self.up(x))], dim=1)
        return self.block(self.act(self.reduce(joined)))


class GroupedUNet(nn.Module):
    """A U-Net with blocks of choice, whose first 3x3(x3) convolution has a group for each channel of the image.

    So the first features of a sequence of an MRI depend on that sequence alone; the first block joins them. Strided
    2x2(x2) convolutions halve the grid, transposed ones double it, and convolutions have no bias but the last, a
    3x3(x3) one that gives raw logits.

    Paths to tap: `stem`, `encoder.e1` (the image's grid) to `encoder.eN`, `bridge`, `decoder.dN` to `decoder.d1`,
    `head`.

    Args:
        spatial_dims: 2 or 3.
        in_channels, out_channels: of the image and of the logits.
        features: widths of e1..eN and, last, of the bridge; at least two. Published are 16 to 256. Where the first is
            no multiple of `in_channels`, the stem has the next one, and the first block brings it to this width.
        block: one of `UNET_BLOCKS`, see `unet_block`.
        dropout: rate in [0, 1) on the map behind each halving of the grid.
        further_skips: channels that are put beside the skip connections of e1, e2 and so on; none by default.

    Shape: (B, in_channels, *spatial) to (B, out_channels, *spatial). Any size: the far ends are padded with 0 to
        multiples of 2^N, 2^(N + 1) at least.

    Raises:
        ValueError: other spatial_dims; fewer features than two, or one below 1; an unknown block; a dropout outside
            [0, 1).

    Source: Lachinov et al. 2019 (arXiv 2002.03688) and its code as it was in July 2019, when it had these widths;
        the deployed network came later and has four levels, group normalisation and trilinear interpolation.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 4,
        out_channels: int = 3,
        features: Sequence[int] = (16, 32, 64, 128, 256),
        block: str = "residual",
        dropout: float = 0.0,
        further_skips: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
        widths = [int(width) for width in features]
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(
                f"features must hold at least two positive widths, one per level and one for the bridge, got {widths}."
            )
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}.")
        self.divisor = 2 ** (len(widths) - 1)
        stem = -(-widths[0] // in_channels) * in_channels
        normal: dict[str, Any] = {"norm": ("instance", {"affine": True}), "act": None, "bias": False}
        self.stem = Convolution(spatial_dims, in_channels, stem, kernel_size=3, groups=in_channels, **normal)
        plain: dict[str, Any] = {"conv_only": True, "bias": False}

        def halving(before: int, width: int) -> nn.Sequential:
            down = Convolution(spatial_dims, before, width, strides=2, kernel_size=2, padding=0, **plain)
            return nn.Sequential(down, nn.Dropout(dropout), unet_block(block, spatial_dims, width, width))

        *levels, bridge = widths
        self.encoder = nn.ModuleDict({"e1": unet_block(block, spatial_dims, stem, levels[0])})
        for level, (before, width) in enumerate(zip(levels, levels[1:]), start=2):
            self.encoder[f"e{level}"] = halving(before, width)
        self.bridge = halving(levels[-1], bridge)
        beside = [*further_skips, *[0] * len(levels)]
        self.decoder = nn.ModuleDict()
        for level in range(len(levels), 0, -1):
            below, width = widths[level], widths[level - 1]
            self.decoder[f"d{level}"] = _Join(spatial_dims, below, width + beside[level - 1], width, block)
        self.head: nn.Module = Convolution(spatial_dims, levels[0], out_channels, kernel_size=3, conv_only=True)
        for module in self.modules():
            if isinstance(module, (nn.ConvTranspose2d, nn.ConvTranspose3d)):
                nn.init.xavier_normal_(module.weight)
            elif isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(module.weight, a=0.01)

    def encode(self, image: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the bridge's map and the encoder's maps from fine to coarse, of an image of a fitting size."""
        x = self.stem(image)
        skips: list[torch.Tensor] = []
        for level in self.encoder.values():
            x = level(x)
            skips.append(x)
        return self.bridge(x), skips

    def decode(self, x: torch.Tensor, skips: list[torch.Tensor]) -> torch.Tensor:
        """Return the last map, which `head` makes logits of, from the bridge's and the encoder's from fine to coarse.

        With `further_skips` the encoder's maps have to hold these channels already.
        """
        position = len(skips)
        for level in self.decoder.values():
            position -= 1
            x = level(x, skips[position])
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bridge, skips = self.encode(padded(x, self.divisor))
        return cropped(self.head(self.decode(bridge, skips)), x)
