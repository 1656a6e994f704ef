"""The segmentation teacher: a U-Net with a ViT branch that is fused at the bridge."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.utils import ensure_tuple_rep
from torch import nn

from ckdmed.networks.bridge_fusion import BRIDGE_FUSIONS, LEVELS, BridgesOfResolutions, LevelFusion, bridge_fusion
from ckdmed.networks.published_weights import weights_file
from ckdmed.networks.resize import resize_images
from ckdmed.networks.unet import UNet
from ckdmed.networks.vit import build_vit, token_grid
from ckdmed.networks.vit_weights import load_vit_weights

__all__ = ["UNetViT"]


class UNetViT(nn.Module):
    """U-Net and ViT over the same image; the ViT's view is added to the U-Net's bridge. Returns raw logits.

    The image goes through the U-Net's encoder as it is and, resized to `vit_img_size`, through the ViT. With
    `fusion="class_token"` the normalised class token, taken before any head, passes a linear layer and is added to the
    bridge at every position: it says what the image shows, not where. With `fusion="tokens"` the patch tokens are added
    at their positions; the fusions of two maps (`map_fusion`) take those tokens as a map and align it with the bridge.
    "msgff" adds the weighted sum of three levels of both, see `LevelFusion`. With a zeroed fusion layer the network
    is exactly its U-Net.

    With `resolutions` both look at the image at each of these sizes instead (the ViT with interpolated positions), are
    joined at each, and the weighted sum of the bridges goes on; the decoder's skip connections are those of the image
    as it is. A "graph" has the cells of all sizes as its nodes.

    Feature paths are those of the U-Net behind `unet.` (`unet.decoder.d4`, `unet.bridge` before the fusion), `fuse`
    (the bridge after it), `vit.blocks.<i>` and `vit.norm`; of several resolutions only the decoder's are passed
    once. `unet` itself is not called as a module.

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
        resolutions: edges at which both see the image, multiples of the patch and of the U-Net's divisor; None for the
            image as it is.
        map_weights: their weights, "global" or "gated", see `WeightedSum`.

    Shape: (B, in_channels, *spatial) to (B, out_channels, *spatial), sizes as in `UNet`.

    Raises:
        ValueError: as `UNet`, `build_vit` and `load_vit_weights`; an unknown `fusion`; as
            `BridgesOfResolutions`.

    Example::

        teacher = UNetViT(features=(16, 32, 64), vit_img_size=64, vit_hidden=48, vit_mlp=96, vit_layers=2, vit_heads=3)
        logits = teacher(torch.rand(2, 1, 128, 128))
    """

    # Constants to TorchScript, which leaves out the other way.
    __constants__ = ["fuses_levels", "levels", "several", "at_once"]
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
        resolutions: Sequence[int] | None = None,
        map_weights: str = "global",
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
            any_size=bool(resolutions),
        )
        self.vit_img_size = [int(size) for size in ensure_tuple_rep(vit_img_size, spatial_dims)]
        self.grid = list(token_grid(vit_img_size, vit_patch_size, spatial_dims))
        self.patch = [int(size) for size in ensure_tuple_rep(vit_patch_size, spatial_dims)]
        self.resolutions = [int(size) for size in resolutions or ()] or [0]
        self.several = bool(resolutions)
        self.at_once = self.several and fusion == "graph"
        bridge = int(features[-1])
        self.fuses_levels = fusion == "msgff"
        self.fuse: nn.Module
        if self.fuses_levels:
            self.fuse = LevelFusion(features[-LEVELS:], vit_hidden, spatial_dims, vit_layers)
        else:
            self.fuse = bridge_fusion(fusion, vit_hidden, bridge, spatial_dims, len(self.resolutions))
        self.over_resolutions: nn.Module = nn.Identity()
        if resolutions:
            multiple = math.lcm(self.unet.divisor, *self.patch)
            self.over_resolutions = BridgesOfResolutions(resolutions, bridge, fusion, map_weights, multiple)
        if vit_weights:
            load_vit_weights(self.vit, weights_file(vit_weights, "vit_b_16"), grid=tuple(self.grid))
        if self.fuses_levels:
            # the tokens of the blocks are taken as they are, and a norm of its own would never learn
            self.vit.norm = nn.Identity()  # type: ignore[assignment]

    def at_one(
        self,
        bridge: torch.Tensor,
        skips: list[torch.Tensor],
        tokens: torch.Tensor,
        blocks: list[torch.Tensor],
        grid: list[int],
    ) -> torch.Tensor:
        """The bridge with the ViT's view of the same image added."""
        if self.fuses_levels:
            return self.fuse((skips + [bridge])[-self.levels :], blocks, grid)
        return self.fuse(bridge, tokens, grid)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.unet.check_size(x)
        bridge, skips = self.unet.encode(x)
        if not self.several:
            tokens, blocks = self.vit(resize_images(x, self.vit_img_size))
            return self.unet.decode(self.at_one(bridge, skips, tokens, blocks, self.grid), skips)
        maps: list[torch.Tensor] = []
        for size in self.resolutions:
            image = resize_images(x, [size] * (x.dim() - 2))
            deep, levels = (bridge, skips) if image.shape == x.shape else self.unet.encode(image)
            tokens, blocks = self.vit(image)
            grid = [size // patch for patch in self.patch]
            if self.at_once:
                maps.append(deep)
                maps.append(self.fuse.as_map(tokens, grid))  # type: ignore[operator]
            else:
                maps.append(self.at_one(deep, levels, tokens, blocks, grid))
        if self.at_once:
            maps = [self.fuse.join_all(maps)]  # type: ignore[operator]
        return self.unet.decode(self.over_resolutions(maps, list(bridge.shape[2:])), skips)
