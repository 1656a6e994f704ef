"""A cascade of U-Nets, from a quarter of the image's resolution to the whole."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Pool
from torch import nn
from torch.nn import functional as F

from ckdmed.networks.grouped_unet import GroupedUNet
from ckdmed.networks.padded import cropped, padded

__all__ = ["CASCADE_CONTEXTS", "CascadedUNet"]

CASCADE_CONTEXTS = ("probabilities", "features")

#: published weights of the losses at the whole, half and quarter resolution
_HEAD_WEIGHTS = (0.4, 0.3, 0.2)


class CascadedUNet(nn.Module):
    """U-Nets at 1/4, 1/2 and the whole of the image's resolution, each with the predictions of the coarser ones.

    The image is averaged over 4 and 2 positions an axis for the coarser networks. What a network predicts stands beside
    the skip connection of the same grid in every finer network, whose decoder brings it to the finer grid: the
    prediction at 1/4 on the second level of the network at 1/2 and the third of that at the whole resolution, that at
    1/2 on the latter's second. Each network is twice as wide as the next finer one, so that widths are equal on equal
    grids.

    In training with deep supervision the logits at the whole, 1/2 and 1/4 of the resolution come out, the coarser ones
    repeated to the image's grid, (B, 3, C, *spatial), with the `head_weights` 4/9, 3/9 and 2/9; else the first alone.
    A cross entropy of repeated logits is that of the coarse logits with the label averaged over their cells, as
    published, and so is a Dice loss on binary masks up to its stabiliser.

    Paths to tap: `unet_1.bridge` (an eighth of the image's grid), `unet_1.decoder.d3` to `unet_1.decoder.d1`, and
    the same of `unet_2` and `unet_4`, on half and on a quarter of the grid; see `GroupedUNet`.

    Args:
        spatial_dims: 2 or 3.
        in_channels, out_channels: of the image and of the logits.
        features: the four widths of the U-Net on the whole grid, the finest level first. Published are 8 to 64, so that
            the deepest level of the coarsest network has 256.
        block: one of `UNET_BLOCKS`, see `unet_block`.
        context: what of a network the finer ones get: "probabilities", the sigmoid of its logits, as published, or
            "features", the last map of its decoder.
        deep_supervision: whether all three networks are supervised.
        dropout: rate in [0, 1) on the map behind each halving of the grid.

    Shape: (B, in_channels, *spatial) to (B, out_channels, *spatial). Any size: the far ends are padded with 0 to
        multiples of 32, 64 at least.

    Raises:
        ValueError: an unknown context; another number of features than four; as `GroupedUNet`.

    Source: Lachinov et al. 2018 (arXiv 1810.04008) and its code: scales, widths, connections, dropout and weights of
        the losses. Departs from it in sigmoids, for regions that overlap, where the code has a softmax, and in the
        U-Nets, which are those of the authors' work of 2019: each sequence has a first convolution of its own, where
        the cascade of 2018 had encoders whose maps were joined by their maximum.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 4,
        out_channels: int = 3,
        features: Sequence[int] = (8, 16, 32, 64),
        block: str = "residual",
        context: str = "probabilities",
        deep_supervision: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if context not in CASCADE_CONTEXTS:
            raise ValueError(f"context must be one of {', '.join(CASCADE_CONTEXTS)}, got {context!r}.")
        if len(features) != 4:
            raise ValueError(f"features must be four widths, those of the network on the whole grid, got {features}.")

        def at_scale(factor: int, coarser: Sequence[int]) -> GroupedUNet:
            widths = [factor * int(width) for width in features]
            context_channels = [out_channels if context == "probabilities" else n * int(features[0]) for n in coarser]
            return GroupedUNet(
                spatial_dims, in_channels, out_channels, widths, block, dropout, further_skips=[0, *context_channels]
            )

        self.unet_4 = at_scale(4, [])
        self.unet_2 = at_scale(2, [4])
        # last, so that its head is the last layer of the network, as in the other kinds
        self.unet_1 = at_scale(1, [2, 4])
        self.divisor = 4 * self.unet_1.divisor
        self.pool = Pool[Pool.AVG, spatial_dims](2)
        self.features = context == "features"
        self.deep_supervision = deep_supervision
        if deep_supervision:
            self.head_weights = [weight / sum(_HEAD_WEIGHTS) for weight in _HEAD_WEIGHTS]
        elif self.features:
            # nothing reads their logits, and a training of several processes stops at weights without a gradient
            self.unet_4.head = self.unet_2.head = nn.Identity()

    def context(self, logits: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """What the finer networks get of a network's logits and the last map of its decoder."""
        return last if self.features else torch.sigmoid(logits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        image = padded(x, self.divisor)
        image_2 = self.pool(image)

        deep, skips = self.unet_4.encode(self.pool(image_2))
        last = self.unet_4.decode(deep, skips)
        logits_4 = self.unet_4.head(last)
        context_4 = self.context(logits_4, last)

        deep, skips = self.unet_2.encode(image_2)
        skips[1] = torch.cat([skips[1], context_4], dim=1)
        last = self.unet_2.decode(deep, skips)
        logits_2 = self.unet_2.head(last)
        context_2 = self.context(logits_2, last)

        deep, skips = self.unet_1.encode(image)
        skips[1] = torch.cat([skips[1], context_2], dim=1)
        skips[2] = torch.cat([skips[2], context_4], dim=1)
        logits = self.unet_1.head(self.unet_1.decode(deep, skips))
        if self.training and self.deep_supervision:
            # by nearest neighbours, see the class
            coarse = [F.interpolate(head, logits.shape[2:]) for head in [logits_2, logits_4]]
            logits = torch.stack([logits] + coarse, dim=1)
        return cropped(logits, x)
