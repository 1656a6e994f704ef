"""The segmentation teacher: a U-Net with a ViT branch that is fused at the bridge."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv
from monai.utils import ensure_tuple_rep
from torch import nn

from ckdmed.networks.resize import resize_images
from ckdmed.networks.unet import UNet
from ckdmed.networks.vit import build_vit, token_grid
from ckdmed.networks.vit_weights import load_vit_weights

__all__ = ["ClassTokenFusion", "TokenFusion", "UNetViT"]

FUSIONS = ("class_token", "tokens")


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


class UNetViT(nn.Module):
    """U-Net and ViT over the same image; the ViT's view is added to the U-Net's bridge. Returns raw logits.

    The image goes through the U-Net's encoder as it is and, resized to `vit_img_size`, through the ViT. With
    `fusion="class_token"` the normalised class token, taken before any head, passes a linear layer and is added to the
    bridge at every position: it says what the image shows, not where. With `fusion="tokens"` the patch tokens are added
    at their positions. With a zeroed fusion layer the network is exactly its U-Net.

    Feature paths are those of the U-Net behind `unet.` (`unet.decoder.d4`, `unet.bridge` before the fusion), `fuse`
    (the bridge after it), `vit.blocks.<i>` and `vit.norm`. `unet` itself is not called as a module.

    Args:
        spatial_dims: 2 or 3. In 3D choose a smaller ViT: 224 cubed at patch 16 is 2744 tokens.
        in_channels: channels of the input.
        out_channels: channels of the logits.
        features: widths of the U-Net, see `UNet`; the last one is the bridge.
        vit_img_size: size the ViT sees, a multiple of `vit_patch_size`.
        vit_patch_size, vit_hidden, vit_mlp, vit_layers, vit_heads: the ViT; the defaults are ViT-B/16.
        fusion: "class_token" or "tokens".
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
        if fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {', '.join(FUSIONS)}, got {fusion!r}.")
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
        self.fuse: nn.Module
        if fusion == "class_token":
            self.fuse = ClassTokenFusion(vit_hidden, int(features[-1]))
        else:
            grid = token_grid(vit_img_size, vit_patch_size, spatial_dims)
            self.fuse = TokenFusion(vit_hidden, int(features[-1]), grid)
        if vit_weights:
            load_vit_weights(self.vit, vit_weights, grid=token_grid(vit_img_size, vit_patch_size, spatial_dims))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.unet.check_size(x)
        bridge, skips = self.unet.encode(x)
        tokens = self.vit(resize_images(x, self.vit_img_size))[0]
        return self.unet.decode(self.fuse(bridge, tokens), skips)
