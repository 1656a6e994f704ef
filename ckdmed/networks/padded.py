"""MONAI's segmentation networks for images of any size.

An image is padded to a size that the network can halve, and the logits are cropped. State dicts have the names of
MONAI's networks. Each class says itself what MONAI's forward pass is, since TorchScript follows no `super`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.nets import AttentionUnet, DynUNet, SegResNet, SwinUNETR
from monai.networks.nets import UNet as MonaiUNet
from monai.networks.nets.dynunet import DynUNetSkipLayer
from torch.nn import functional as F

__all__ = [
    "AnySizeAttentionUNet",
    "AnySizeDynUNet",
    "AnySizeResidualUNet",
    "AnySizeSegResNet",
    "AnySizeSwinUNETR",
    "cropped",
    "padded",
]


def padded(x: torch.Tensor, divisor: int) -> torch.Tensor:
    """Pad the far ends of every spatial axis with 0 to a multiple of `divisor`, twice the divisor at least.

    At the coarsest level a normalisation needs two positions. An image of a fitting size is returned as it is.
    """
    sizes = list(x.shape[2:])
    # F.pad wants (before, after) of the last axis first
    padding = [0, 0] * len(sizes)
    for axis, size in enumerate(sizes[::-1]):
        padding[2 * axis + 1] = max((size + divisor - 1) // divisor, 2) * divisor - size
    return F.pad(x, padding) if max(padding) > 0 else x


def cropped(logits: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Crop logits of a padded image to the image's size; those of deep supervision, (B, heads, C, *spatial), too."""
    first = logits.dim() - image.dim() + 2
    for axis, size in enumerate(image.shape[2:]):
        logits = logits.narrow(first + axis, 0, size)
    return logits


class AnySizeSegResNet(SegResNet):
    """MONAI's ``SegResNet``, of which every argument is the same; sizes are padded to multiples of 2^(levels - 1)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.divisor = 2 ** (len(self.blocks_down) - 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        deep, skips = self.encode(padded(x, self.divisor))
        skips.reverse()
        return cropped(self.decode(deep, skips), x)


class AnySizeDynUNet(DynUNet):
    """MONAI's ``DynUNet`` with equal strides along the axes; sizes are padded to multiples of their product.

    With deep supervision `head_weights` are nnU-Net's: each head half the weight of the finer one, 1 in all.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.divisor = _product(self.strides)
        if self.deep_supervision:
            halved = [0.5**head for head in range(1 + self.deep_supr_num)]
            self.head_weights = [weight / sum(halved) for weight in halved]

    def without_heads(self) -> AnySizeDynUNet:
        """A copy without the heads of deep supervision, which gives the same outside training."""
        plain = copy.deepcopy(self)
        if plain.deep_supervision:
            plain.deep_supervision = False
            del plain.deep_supervision_heads, plain.head_weights
            for layer in plain.modules():
                if isinstance(layer, DynUNetSkipLayer):
                    layer.heads = layer.super_head = None
        return plain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.output_block(self.skip_layers(padded(x, self.divisor)))
        if self.training and self.deep_supervision:
            coarse = [F.interpolate(head, logits.shape[2:]) for head in self.heads]
            logits = torch.stack([logits] + coarse, dim=1)
        return cropped(logits, x)


class AnySizeAttentionUNet(AttentionUnet):
    """MONAI's ``AttentionUnet``, of which every argument is the same; sizes are padded to multiples of its strides'."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.divisor = _product(self.strides)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cropped(self.model(padded(x, self.divisor)), x)


class AnySizeResidualUNet(MonaiUNet):
    """MONAI's ``UNet``, of which every argument is the same; sizes are padded to multiples of the strides' product."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.divisor = _product(self.strides)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cropped(self.model(padded(x, self.divisor)), x)


class AnySizeSwinUNETR(SwinUNETR):
    """MONAI's ``SwinUNETR``, of which every argument is the same; sizes are padded to multiples of patch_size^5."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.divisor = int(self.patch_size) ** 5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cropped(super().forward(padded(x, self.divisor)), x)


def _product(strides: Sequence[int | Sequence[int]]) -> int:
    product = 1
    for stride in strides:
        product *= max(stride) if isinstance(stride, Sequence) else stride
    return product
