"""A plain Vision Transformer, small enough to learn from small images without pretrained weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ckdmed.networks.grid_transformer import GridTransformer

__all__ = ["PlainViT"]

_STAGES = 4


class PlainViT(nn.Module):
    """Patches, transformer blocks in four stages, normalised tokens, their mean, one linear layer; raw logits.

    By default it has 3.6 million parameters. All stages work on the grid of the patches and give their tokens laid out
    on it, (B, hidden_size, H / patch_size, W / patch_size), so that whatever compares maps compares them too; these
    outputs are the paths ``_blocks.0`` to ``_blocks.3``. There is no class token, and each stage adds positions of its
    own, which are resized to the grid of the image, see :class:`GridTransformer`.

    Args:
        in_channels: channels of the image.
        num_classes: number of logits.
        patch_size: edge of a patch in pixels. With 8, images of 64 pixels have 8 x 8 tokens, and those of 224 have
            28 x 28, whose attention takes sixteen times as long as the 14 x 14 tokens of 16.
        hidden_size: width of a token, a multiple of `num_heads`.
        num_layers: transformer blocks, at least four, spread evenly over the stages.
        num_heads: attention heads.
        position_grid: grid on which positions are learned, patches an axis; that of the training's images is best.
        dropout: rate in [0, 1), see :class:`GridTransformer`.

    Shape: (B, in_channels, H, W) to (B, num_classes), any size; the right and lower edges are padded with zeros up to a
        multiple of the patch.

    Raises:
        ValueError: a number below its least; as :class:`GridTransformer`.

    Source:
        Dosovitskiy et al. 2021 (arXiv 2010.11929); the mean of the tokens in the place of a class token: Beyer et al.
        2022 (arXiv 2205.01580); the width is that of DeiT-Ti (Touvron et al. 2021, arXiv 2012.12877).
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 3,
        patch_size: int = 8,
        hidden_size: int = 192,
        num_layers: int = 8,
        num_heads: int = 3,
        position_grid: int = 8,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if min(in_channels, num_classes, patch_size, hidden_size) < 1:
            raise ValueError(
                "in_channels, num_classes, patch_size and hidden_size must be at least 1, got "
                f"{in_channels}, {num_classes}, {patch_size} and {hidden_size}."
            )
        if num_layers < _STAGES:
            raise ValueError(f"num_layers must be at least {_STAGES}, one for each stage, got {num_layers}.")
        self.patch_size = patch_size
        self._embedding = nn.Conv2d(in_channels, hidden_size, patch_size, patch_size)
        ends = [num_layers * stage // _STAGES for stage in range(_STAGES + 1)]
        self._blocks = nn.Sequential(
            *(
                GridTransformer(2, hidden_size, num_heads, after - before, 4.0, position_grid, dropout)
                for before, after in zip(ends, ends[1:])
            )
        )
        self._norm = nn.LayerNorm(hidden_size)
        self._fc = nn.Linear(hidden_size, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patch = self.patch_size
        lower, right = (patch - x.shape[2] % patch) % patch, (patch - x.shape[3] % patch) % patch
        if lower > 0 or right > 0:
            x = functional.pad(x, [0, right, 0, lower])
        tokens = self._blocks(self._embedding(x)).flatten(2).transpose(1, 2)
        return self._fc(self._norm(tokens).mean(dim=1))
