"""MONAI's ViT as a classifier that returns logits and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.utils import ensure_tuple_rep
from torch import nn
from torch.nn import functional

from ckdmed.networks.published_weights import weights_file
from ckdmed.networks.vit import build_vit, token_grid
from ckdmed.networks.vit_weights import load_vit_weights

__all__ = ["ViTClassifier"]


class ViTClassifier(nn.Module):
    """ViT with a linear head on its normalised class token; the defaults are ViT-B/16 (86.6 million parameters).

    MONAI's own classifier puts a Tanh behind the head by default, which bounds the logits to (-1, 1), and returns the
    tokens of every block too; this one returns raw logits only. It has 768 parameters fewer than torchvision's at the
    same setting, because MONAI's class token has no position embedding of its own.

    Args:
        in_channels: channels of the image.
        num_classes: number of logits.
        img_size: size of the image, a multiple of `patch_size`.
        patch_size, hidden_size, mlp_dim, num_layers, num_heads, spatial_dims, dropout_rate: see `build_vit`.
        weights: checkpoint file, see `load_vit_weights`; what matched is logged.
        any_size: see `build_vit`.

    Shape: (B, in_channels, *img_size) to raw logits (B, num_classes).

    Raises:
        ValueError: as `build_vit` and `load_vit_weights`; in forward, an image of another size.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        img_size: int | Sequence[int] = 224,
        patch_size: int | Sequence[int] = 16,
        hidden_size: int = 768,
        mlp_dim: int = 3072,
        num_layers: int = 12,
        num_heads: int = 12,
        spatial_dims: int = 2,
        dropout_rate: float = 0.0,
        weights: str | None = None,
        any_size: bool = False,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}.")
        self.vit = build_vit(
            in_channels,
            img_size,
            patch_size,
            hidden_size,
            mlp_dim,
            num_layers,
            num_heads,
            spatial_dims,
            dropout_rate,
            num_classes,
            any_size=any_size,
        )
        self.any_size = any_size
        self.feature_size = hidden_size
        self.last_layer = "vit.classification_head"
        self.img_size = [int(size) for size in ensure_tuple_rep(img_size, spatial_dims)]
        if weights:
            load_vit_weights(
                self.vit, weights_file(weights, "vit_b_16"), grid=token_grid(img_size, patch_size, spatial_dims)
            )

    def check_size(self, x: torch.Tensor) -> None:
        """Raise ValueError unless `x` has the spatial size of the position embeddings."""
        if not self.any_size and list(x.shape[2:]) != self.img_size:
            raise ValueError(
                "ViTClassifier got an image of spatial size {}, it was built for {}. Resize the images, or build it "
                "with their img_size.".format(list(x.shape[2:]), self.img_size)
            )

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the normalised class token (B, hidden_size) before the head."""
        self.check_size(x)
        last = self.vit(x)[1][-1]
        # not the module, whose tap would tell the tokens twice: the network itself has called it
        norm = self.vit.norm
        return functional.layer_norm(last, norm.normalized_shape, norm.weight, norm.bias, norm.eps)[:, 0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.check_size(x)
        return self.vit(x)[0]
