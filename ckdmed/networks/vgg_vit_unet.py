"""The segmentation teacher over VGG19: its stages are the encoder, a ViT's view is added at the bridge."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv
from monai.utils import ensure_tuple_rep
from torch import nn

from ckdmed.networks.bridge_fusion import BridgesOfResolutions, bridge_fusion
from ckdmed.networks.freezing import freeze as freeze_modules
from ckdmed.networks.fusion.build import MAP_FUSIONS
from ckdmed.networks.padded import cropped, padded
from ckdmed.networks.published_weights import weights_file
from ckdmed.networks.resize import resize_images
from ckdmed.networks.unet import UpBlock
from ckdmed.networks.vgg import VGG, VGG19_STAGES, load_vgg_weights
from ckdmed.networks.vit import build_vit, token_grid
from ckdmed.networks.vit_weights import load_vit_weights

__all__ = ["VGGViTUNet"]

FUSIONS = ("class_token", "tokens", *MAP_FUSIONS)
FREEZE = ("none", "early")
# the first three stages, pooling included, with batch normalisation and without
EARLY = {True: "features.0-26", False: "features.0-18"}


class VGGViTUNet(nn.Module):
    """VGG19 and ViT over the same image, a U-Net's decoder over both. Returns raw logits.

    VGG's maps before the first four poolings (64, 128, 256 and 512 channels on 1, 1/2, 1/4 and 1/8 of the grid) are the
    skip connections; the fifth stage (512 on 1/16) goes through a 1x1 convolution to the bridge, where the ViT's view
    is added as in :class:`UNetViT`. With a zeroed fusion layer the network is exactly a U-Net over VGG. With
    `resolutions` both see the image at each of these sizes, see there.

    Feature paths: `features.<i>` with torchvision's numbers, `bridge` (before the fusion), `fuse`, `decoder.d4` to
    `decoder.d1`, `vit.blocks.<i>`, `vit.norm`.

    Args:
        spatial_dims: 2 or 3.
        in_channels, out_channels: of the image and of the logits.
        base: channels of the first stage; 64 is VGG19, others scale all widths. The bridge has 16 times as many.
        batch_norm: VGG19 with batch normalisation, or without.
        vit_img_size: size the ViT sees, a multiple of `vit_patch_size`.
        vit_patch_size, vit_hidden, vit_mlp, vit_layers, vit_heads: the ViT; the defaults are ViT-B/16.
        fusion: "class_token", "tokens" or a fusion of two maps, see `UNetViT`; its "msgff" is not among them.
        freeze: "none", or "early" for the first three stages of VGG, batch norm in evaluation mode.
        norm, act, upsample: the decoder's, see `UpBlock`.
        vgg_weights: checkpoint file for VGG, see `load_vgg_weights`, or "imagenet", see `weights_file`.
        vit_weights: the same for the ViT, see `load_vit_weights`.
        resolutions, map_weights: see :class:`UNetViT`.

    Shape: (B, in_channels, *spatial) to (B, out_channels, *spatial). Any size: the far ends are padded with 0 to
        multiples of 16, 32 at least.

    Raises:
        ValueError: an unknown `fusion` or `freeze`, a base below 1; as `build_vit`, `load_vgg_weights`,
            `load_vit_weights` and `BridgesOfResolutions`.

    Source: the design is this project's own: the teacher of classification, VGG19 with ViT, made to segment.
    """

    # Constants to TorchScript, which leaves out the other way.
    __constants__ = ["several", "at_once"]

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        base: int = 64,
        batch_norm: bool = True,
        vit_img_size: int | Sequence[int] = 224,
        vit_patch_size: int | Sequence[int] = 16,
        vit_hidden: int = 768,
        vit_mlp: int = 3072,
        vit_layers: int = 12,
        vit_heads: int = 12,
        fusion: str = "class_token",
        freeze: str = "none",
        norm: str | tuple | None = "batch",
        act: str | tuple = "relu",
        upsample: str = "deconv",
        vgg_weights: str | None = None,
        vit_weights: str | None = None,
        resolutions: Sequence[int] | None = None,
        map_weights: str = "global",
    ) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {', '.join(FUSIONS)}, got {fusion!r}.")
        if freeze not in FREEZE:
            raise ValueError(f"freeze must be one of {', '.join(FREEZE)}, got {freeze!r}.")
        if base < 1:
            raise ValueError(f"base must be at least 1, got {base}.")
        stages = [[max(1, channels * base // 64) for channels in stage] for stage in VGG19_STAGES]
        vgg = VGG(in_channels, 1, stages, batch_norm=batch_norm, hidden_size=1, pool_size=1, spatial_dims=spatial_dims)
        if vgg_weights:
            file = weights_file(vgg_weights, "vgg19_bn" if batch_norm else "vgg19")
            # the classifier is not taken over: it counts neither as filled nor as missing
            vgg.classifier = nn.Sequential()
            load_vgg_weights(vgg, file)
        # without the last pooling
        self.features = nn.Sequential(*list(vgg.features)[:-1])
        poolings = ("MaxPool2d", "MaxPool3d")
        self.poolings = [i for i, layer in enumerate(self.features) if type(layer).__name__ in poolings]
        self.divisor = 2 ** len(self.poolings)
        widths = [stage[-1] for stage in stages[:-1]]
        deepest = 16 * base
        self.bridge = Conv[Conv.CONV, spatial_dims](stages[-1][-1], deepest, kernel_size=1)
        self.vit = build_vit(
            in_channels=in_channels,
            img_size=vit_img_size,
            patch_size=vit_patch_size,
            hidden_size=vit_hidden,
            mlp_dim=vit_mlp,
            num_layers=vit_layers,
            num_heads=vit_heads,
            spatial_dims=spatial_dims,
            any_size=bool(resolutions),
        )
        self.vit_img_size = [int(size) for size in ensure_tuple_rep(vit_img_size, spatial_dims)]
        self.grid = list(token_grid(vit_img_size, vit_patch_size, spatial_dims))
        self.patch = [int(size) for size in ensure_tuple_rep(vit_patch_size, spatial_dims)]
        self.resolutions = [int(size) for size in resolutions or ()] or [0]
        self.several = bool(resolutions)
        self.at_once = self.several and fusion == "graph"
        self.fuse = bridge_fusion(fusion, vit_hidden, deepest, spatial_dims, len(self.resolutions))
        self.over_resolutions: nn.Module = nn.Identity()
        if resolutions:
            multiple = math.lcm(self.divisor, *self.patch)
            self.over_resolutions = BridgesOfResolutions(resolutions, deepest, fusion, map_weights, multiple)
        if vit_weights:
            load_vit_weights(self.vit, weights_file(vit_weights, "vit_b_16"), grid=tuple(self.grid))
        self.decoder = nn.ModuleDict()
        below = deepest
        for level in range(len(widths), 0, -1):
            width = widths[level - 1]
            self.decoder[f"d{level}"] = UpBlock(spatial_dims, below, width, width, upsample, norm, act)
            below = width
        self.head = Conv[Conv.CONV, spatial_dims](widths[0], out_channels, kernel_size=1)
        if freeze == "early":
            freeze_modules(self, [EARLY[batch_norm]])

    def encode(self, image: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The bridge's map and the maps before the poolings from fine to coarse."""
        skips: list[torch.Tensor] = []
        deep = image
        for index, layer in enumerate(self.features):
            if index in self.poolings:
                skips.append(deep)
            deep = layer(deep)
        return self.bridge(deep), skips

    def at_resolutions(self, image: torch.Tensor, bridge: torch.Tensor) -> torch.Tensor:
        """The bridge of all resolutions, on the grid of the image's own."""
        maps: list[torch.Tensor] = []
        for size in self.resolutions:
            resized = resize_images(image, [size] * (image.dim() - 2))
            deep = bridge if resized.shape == image.shape else self.encode(resized)[0]
            tokens = self.vit(resized)[0]
            grid = [size // patch for patch in self.patch]
            if self.at_once:
                maps.append(deep)
                maps.append(self.fuse.as_map(tokens, grid))  # type: ignore[operator]
            else:
                maps.append(self.fuse(deep, tokens, grid))
        if self.at_once:
            maps = [self.fuse.join_all(maps)]  # type: ignore[operator]
        return self.over_resolutions(maps, list(bridge.shape[2:]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        image = padded(x, self.divisor)
        bridge, skips = self.encode(image)
        if self.several:
            deep = self.at_resolutions(image, bridge)
        else:
            deep = self.fuse(bridge, self.vit(resize_images(image, self.vit_img_size))[0], self.grid)
        position = len(skips)
        for level in self.decoder.values():
            position -= 1
            deep = level(deep, skips[position])
        return cropped(self.head(deep), x)
