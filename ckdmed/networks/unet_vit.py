"""The segmentation teacher: a U-Net with a ViT branch that is fused at the bridge."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv
from monai.utils import ensure_tuple_rep
from torch import nn

from ckdmed.networks.fusion.build import MAP_FUSIONS, map_fusion
from ckdmed.networks.fusion.weighted_sum import WeightedSum
from ckdmed.networks.published_weights import weights_file
from ckdmed.networks.resize import resize_images
from ckdmed.networks.unet import UNet
from ckdmed.networks.vit import build_vit, token_grid
from ckdmed.networks.vit_weights import load_vit_weights

__all__ = ["BRIDGE_FUSIONS", "ClassTokenFusion", "LevelFusion", "MapBridgeFusion", "TokenFusion", "UNetViT"]

#: What joins the ViT to the bridge.
BRIDGE_FUSIONS = ("class_token", "tokens", *MAP_FUSIONS, "msgff")
LEVELS = 3


class ClassTokenFusion(nn.Module):
    """Adds a linear image of the class token to every position of a map: m + (W t_0 + b).

    Args:
        hidden_size: width of a token.
        channels: channels of the map.

    Shape: map (B, channels, *spatial) and tokens (B, 1 + patches, hidden_size) to (B, channels, *spatial).
    """

    def __init__(self, hidden_size: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, channels)

    def forward(self, x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        vector = self.linear(tokens[:, 0])
        return x + vector.reshape(vector.shape + (1,) * (x.dim() - 2))


class TokenFusion(nn.Module):
    """Adds the patch tokens, laid out on their grid, resized to the map's and put through a 1x1 convolution.

    Args:
        hidden_size: width of a token.
        channels: channels of the map.
        grid: patches per axis.

    Shape: as in `ClassTokenFusion`.
    """

    def __init__(self, hidden_size: int, channels: int, grid: Sequence[int]) -> None:
        super().__init__()
        self.grid = [int(size) for size in grid]
        self.conv = Conv[Conv.CONV, len(self.grid)](hidden_size, channels, kernel_size=1)

    def forward(self, x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        batch, _, width = tokens.shape
        patches = tokens[:, 1:].transpose(1, 2).reshape([batch, width] + self.grid)
        return x + self.conv(resize_images(patches, list(x.shape[2:])))


class MapBridgeFusion(nn.Module):
    """Adds the patch tokens as a map of the bridge's width, by one of the fusions of two maps; see `map_fusion`.

    Args:
        name: of the fusion.
        hidden_size: width of a token.
        channels: channels of the map.
        grid: patches per axis.

    Shape: as in `ClassTokenFusion`.
    """

    def __init__(self, name: str, hidden_size: int, channels: int, grid: Sequence[int]) -> None:
        super().__init__()
        self.grid = [int(size) for size in grid]
        self.conv = Conv[Conv.CONV, len(self.grid)](hidden_size, channels, kernel_size=1)
        self.join = map_fusion(name, channels, len(self.grid))

    def forward(self, x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        batch, _, width = tokens.shape
        patches = tokens[:, 1:].transpose(1, 2).reshape([batch, width] + self.grid)
        return self.join(x, self.conv(patches))


class LevelFusion(nn.Module):
    """Adds the weighted sum of three levels of U-Net and ViT to the bridge: m + P sum_k softmax(a)_k N C_k F_k.

    C_k are 1x1 convolutions to `channels`, N a group normalisation, P a 1x1 convolution to the bridge's width.

    Args:
        widths: of the U-Net's last three maps, the bridge's last.
        hidden_size: width of a token.
        grid: patches per axis.
        layers: blocks of the ViT; those after a third, two thirds and all of them take part.
        channels: width in which maps are summed.

    Shape: the U-Net's three maps and the tokens after each block to the bridge's (B, widths[-1], *spatial).
    """

    def __init__(
        self, widths: Sequence[int], hidden_size: int, grid: Sequence[int], layers: int, channels: int = 256
    ) -> None:
        super().__init__()
        self.grid = [int(size) for size in grid]
        self.blocks = [max(1, round(layers * level / LEVELS)) - 1 for level in range(1, LEVELS + 1)]
        convolution = Conv[Conv.CONV, len(self.grid)]
        self.of_unet = nn.ModuleList(_projected(convolution(int(width), channels, 1), channels) for width in widths)
        self.of_vit = nn.ModuleList(_projected(convolution(hidden_size, channels, 1), channels) for _ in range(LEVELS))
        self.weighted = WeightedSum(len(widths) + LEVELS, channels)
        self.conv = convolution(channels, int(widths[-1]), 1)

    def forward(self, maps: list[torch.Tensor], blocks: list[torch.Tensor]) -> torch.Tensor:
        bridge = maps[-1]
        parts: list[torch.Tensor] = []
        for index, projection in enumerate(self.of_unet):
            parts.append(projection(maps[index]))
        for index, projection in enumerate(self.of_vit):
            tokens = blocks[self.blocks[index]]
            shape = [tokens.shape[0], tokens.shape[2]] + self.grid
            parts.append(projection(tokens[:, 1:].transpose(1, 2).reshape(shape)))
        return bridge + self.conv(self.weighted(parts, list(bridge.shape[2:])))


def _projected(convolution: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.GroupNorm(math.gcd(8, channels), channels))


class UNetViT(nn.Module):
    """U-Net and ViT over the same image; the ViT's view is added to the U-Net's bridge. Returns raw logits.

    The image goes through the U-Net's encoder as it is and, resized to `vit_img_size`, through the ViT. With
    `fusion="class_token"` the normalised class token, taken before any head, passes a linear layer and is added to the
    bridge at every position: it says what the image shows, not where. With `fusion="tokens"` the patch tokens are added
    at their positions; the fusions of two maps (`map_fusion`) take those tokens as a map and align it with the bridge.
    "msgff" adds the weighted sum of three levels of both, see `LevelFusion`. With a zeroed fusion layer the network
    is exactly its U-Net.

    Feature paths are those of the U-Net behind `unet.` (`unet.decoder.d4`, `unet.bridge` before the fusion), `fuse`
    (the bridge after it), `vit.blocks.<i>` and `vit.norm`. `unet` itself is not called as a module.

    Args:
        spatial_dims: 2 or 3. In 3D choose a smaller ViT: 224 cubed at patch 16 is 2744 tokens.
        in_channels: channels of the input.
        out_channels: channels of the logits.
        features: widths of the U-Net, see `UNet`; the last one is the bridge.
        vit_img_size: size the ViT sees, a multiple of `vit_patch_size`.
        vit_patch_size, vit_hidden, vit_mlp, vit_layers, vit_heads: the ViT; the defaults are ViT-B/16.
        fusion: one of `BRIDGE_FUSIONS`.
        norm, act, upsample, dropout: the U-Net's, see `UNet`.
        vit_dropout: the ViT's dropout rate in [0, 1].
        vit_weights: checkpoint file for the ViT, see `load_vit_weights`; what matched is logged.

    Shape: (B, in_channels, *spatial) to (B, out_channels, *spatial), sizes as in `UNet`.

    Raises:
        ValueError: as `UNet`, `build_vit` and `load_vit_weights`; an unknown `fusion`.

    Example::

        teacher = UNetViT(features=(16, 32, 64), vit_img_size=64, vit_hidden=48, vit_mlp=96, vit_layers=2, vit_heads=3)
        logits = teacher(torch.rand(2, 1, 128, 128))
    """

    # Constants to TorchScript, which leaves out the other way.
    __constants__ = ["fuses_levels", "levels"]
    levels = LEVELS

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        features: Sequence[int] = (64, 128, 256, 512, 1024),
        vit_img_size: int | Sequence[int] = 224,
        vit_patch_size: int | Sequence[int] = 16,
        vit_hidden: int = 768,
        vit_mlp: int = 3072,
        vit_layers: int = 12,
        vit_heads: int = 12,
        fusion: str = "class_token",
        norm: str | tuple | None = "batch",
        act: str | tuple = "relu",
        upsample: str = "deconv",
        dropout: float = 0.0,
        vit_dropout: float = 0.0,
        vit_weights: str | None = None,
    ) -> None:
        super().__init__()
        if fusion not in BRIDGE_FUSIONS:
            raise ValueError(f"fusion must be one of {', '.join(BRIDGE_FUSIONS)}, got {fusion!r}.")
        self.unet = UNet(spatial_dims, in_channels, out_channels, features, norm, act, upsample, dropout)
        self.vit = build_vit(
            in_channels=in_channels,
            img_size=vit_img_size,
            patch_size=vit_patch_size,
            hidden_size=vit_hidden,
            mlp_dim=vit_mlp,
            num_layers=vit_layers,
            num_heads=vit_heads,
            spatial_dims=spatial_dims,
            dropout_rate=vit_dropout,
        )
        self.vit_img_size = [int(size) for size in ensure_tuple_rep(vit_img_size, spatial_dims)]
        grid = token_grid(vit_img_size, vit_patch_size, spatial_dims)
        bridge = int(features[-1])
        self.fuses_levels = fusion == "msgff"
        self.fuse: nn.Module
        if self.fuses_levels:
            self.fuse = LevelFusion(features[-LEVELS:], vit_hidden, grid, vit_layers)
        else:
            self.fuse = bridge_fusion(fusion, vit_hidden, bridge, grid)
        if vit_weights:
            load_vit_weights(self.vit, weights_file(vit_weights, "vit_b_16"), grid=grid)
        if self.fuses_levels:
            # the tokens of the blocks are taken as they are, and a norm of its own would never learn
            self.vit.norm = nn.Identity()  # type: ignore[assignment]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.unet.check_size(x)
        bridge, skips = self.unet.encode(x)
        tokens, blocks = self.vit(resize_images(x, self.vit_img_size))
        if self.fuses_levels:
            return self.unet.decode(self.fuse((skips + [bridge])[-self.levels :], blocks), skips)
        return self.unet.decode(self.fuse(bridge, tokens), skips)


def bridge_fusion(fusion: str, hidden: int, channels: int, grid: Sequence[int]) -> nn.Module:
    """The module that adds a Vision Transformer's view to the map at a network's bridge.

    Args:
        fusion: "class_token", "tokens", or a fusion of maps.
        hidden: width of the tokens.
        channels: of the bridge's map.
        grid: of the patch tokens.
    """
    if fusion == "class_token":
        return ClassTokenFusion(hidden, channels)
    return (
        TokenFusion(hidden, channels, grid) if fusion == "tokens" else MapBridgeFusion(fusion, hidden, channels, grid)
    )
