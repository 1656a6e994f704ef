"""What adds a Vision Transformer's view to the map at the bridge of an encoder and a decoder."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv
from torch import nn

from ckdmed.networks.fusion.build import MAP_FUSIONS, map_fusion
from ckdmed.networks.fusion.weighted_sum import WeightedSum
from ckdmed.networks.hybrid import check_resolutions
from ckdmed.networks.resize import resize_images

__all__ = [
    "BRIDGE_FUSIONS",
    "BridgesOfResolutions",
    "ClassTokenFusion",
    "LevelFusion",
    "MapBridgeFusion",
    "TokenFusion",
    "bridge_fusion",
]

#: What joins the ViT to the bridge.
BRIDGE_FUSIONS = ("class_token", "tokens", *MAP_FUSIONS, "msgff")
LEVELS = 3


class ClassTokenFusion(nn.Module):
    """Adds a linear image of the class token to every position of a map: m + (W t_0 + b).

    Args:
        hidden_size: width of a token.
        channels: channels of the map.

    Shape: map (B, channels, *spatial), tokens (B, 1 + patches, hidden_size) and the patches per axis, which it does not
        need, to (B, channels, *spatial).
    """

    def __init__(self, hidden_size: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, channels)

    def forward(self, x: torch.Tensor, tokens: torch.Tensor, grid: list[int]) -> torch.Tensor:
        vector = self.linear(tokens[:, 0])
        return x + vector.reshape(vector.shape + (1,) * (x.dim() - 2))


class TokenFusion(nn.Module):
    """Adds the patch tokens, laid out on their grid, resized to the map's and put through a 1x1 convolution.

    Args:
        hidden_size: width of a token.
        channels: channels of the map.
        spatial_dims: 2 or 3.

    Shape: as in `ClassTokenFusion`.
    """

    def __init__(self, hidden_size: int, channels: int, spatial_dims: int = 2) -> None:
        super().__init__()
        self.conv = Conv[Conv.CONV, spatial_dims](hidden_size, channels, kernel_size=1)

    def forward(self, x: torch.Tensor, tokens: torch.Tensor, grid: list[int]) -> torch.Tensor:
        return x + self.conv(resize_images(laid_out(tokens, grid), list(x.shape[2:])))


class MapBridgeFusion(nn.Module):
    """Adds the patch tokens as a map of the bridge's width, by one of the fusions of two maps; see `map_fusion`.

    Args:
        name: of the fusion.
        hidden_size: width of a token.
        channels: channels of the map.
        spatial_dims: 2 or 3.
        maps: of a graph, how many maps it joins.

    Shape: as in `ClassTokenFusion`.
    """

    def __init__(self, name: str, hidden_size: int, channels: int, spatial_dims: int = 2, maps: int = 2) -> None:
        super().__init__()
        self.conv = Conv[Conv.CONV, spatial_dims](hidden_size, channels, kernel_size=1)
        self.join = map_fusion(name, channels, spatial_dims, maps)

    def as_map(self, tokens: torch.Tensor, grid: list[int]) -> torch.Tensor:
        """The patch tokens as a map of the bridge's width, (B, channels, *grid)."""
        return self.conv(laid_out(tokens, grid))

    def join_all(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Of a graph: the first of the maps with what all of them say added."""
        return self.join.join(maps)  # type: ignore[operator]

    def forward(self, x: torch.Tensor, tokens: torch.Tensor, grid: list[int]) -> torch.Tensor:
        return self.join(x, self.as_map(tokens, grid))


class LevelFusion(nn.Module):
    """Adds the weighted sum of three levels of U-Net and ViT to the bridge: m + P sum_k softmax(a)_k N C_k F_k.

    C_k are 1x1 convolutions to `channels`, N a group normalisation, P a 1x1 convolution to the bridge's width.

    Args:
        widths: of the U-Net's last three maps, the bridge's last.
        hidden_size: width of a token.
        spatial_dims: 2 or 3.
        layers: blocks of the ViT; those after a third, two thirds and all of them take part.
        channels: width in which maps are summed.

    Shape: the U-Net's three maps, the tokens after each block and the patches per axis to the bridge's
        (B, widths[-1], *spatial).
    """

    def __init__(
        self, widths: Sequence[int], hidden_size: int, spatial_dims: int, layers: int, channels: int = 256
    ) -> None:
        super().__init__()
        self.blocks = [max(1, round(layers * level / LEVELS)) - 1 for level in range(1, LEVELS + 1)]
        convolution = Conv[Conv.CONV, spatial_dims]
        self.of_unet = nn.ModuleList(_projected(convolution(int(width), channels, 1), channels) for width in widths)
        self.of_vit = nn.ModuleList(_projected(convolution(hidden_size, channels, 1), channels) for _ in range(LEVELS))
        self.weighted = WeightedSum(len(widths) + LEVELS, channels)
        self.conv = convolution(channels, int(widths[-1]), 1)

    def forward(self, maps: list[torch.Tensor], blocks: list[torch.Tensor], grid: list[int]) -> torch.Tensor:
        bridge = maps[-1]
        parts: list[torch.Tensor] = []
        for index, projection in enumerate(self.of_unet):
            parts.append(projection(maps[index]))
        for index, projection in enumerate(self.of_vit):
            parts.append(projection(laid_out(blocks[self.blocks[index]], grid)))
        return bridge + self.conv(self.weighted(parts, list(bridge.shape[2:])))


def _projected(convolution: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.GroupNorm(math.gcd(8, channels), channels))


class BridgesOfResolutions(nn.Module):
    """Joins the bridges of an image that was seen at several resolutions: F = sum_k softmax(a)_k F_k on one grid.

    Args:
        resolutions: edges to which the image is resized, each a multiple of `multiple`.
        channels: of a bridge.
        fusion: one of `BRIDGE_FUSIONS`; a "graph" has the cells of all resolutions as its nodes already, so that
            nothing is left to be weighted.
        weights: "global" or "gated", see `WeightedSum`.
        multiple: what an edge is a multiple of.

    Shape: a list of (B, channels, *S_k), one for each resolution (of a graph one), and a grid to (B, channels, *grid).

    Raises:
        ValueError: as `check_resolutions`; an edge that is no such multiple; as `WeightedSum`.
    """

    __constants__ = ["one_map"]

    def __init__(
        self, resolutions: Sequence[int], channels: int, fusion: str, weights: str = "global", multiple: int = 16
    ) -> None:
        super().__init__()
        sizes = check_resolutions(resolutions)
        if wrong := [size for size in sizes if size % multiple]:
            raise ValueError(
                f"resolutions {wrong} are not multiples of {multiple}, as the patches of the Vision Transformer and "
                "the levels of the other network require."
            )
        maps = 1 if fusion == "graph" else len(sizes)
        self.one_map = maps == 1
        self.weighted = nn.Identity() if self.one_map else WeightedSum(maps, channels, weights)

    def forward(self, bridges: list[torch.Tensor], grid: list[int]) -> torch.Tensor:
        if self.one_map:
            return resize_images(bridges[0], grid)
        return self.weighted(bridges, grid)


def laid_out(tokens: torch.Tensor, grid: list[int]) -> torch.Tensor:
    """The patch tokens at their places: (B, 1 + patches, width) to (B, width, *grid)."""
    return tokens[:, 1:].transpose(1, 2).reshape([tokens.shape[0], tokens.shape[2]] + grid)


def bridge_fusion(fusion: str, hidden: int, channels: int, spatial_dims: int, resolutions: int = 1) -> nn.Module:
    """The module that adds a Vision Transformer's view to the map at a network's bridge.

    Args:
        fusion: "class_token", "tokens", or a fusion of maps.
        hidden: width of the tokens.
        channels: of the bridge's map.
        spatial_dims: 2 or 3.
        resolutions: how many there are; a graph joins those of all at once.
    """
    if fusion == "class_token":
        return ClassTokenFusion(hidden, channels)
    if fusion == "tokens":
        return TokenFusion(hidden, channels, spatial_dims)
    return MapBridgeFusion(fusion, hidden, channels, spatial_dims, 2 * resolutions)
