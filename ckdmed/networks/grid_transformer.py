"""Self-attention between the positions of a convolutional map."""

from __future__ import annotations

import torch
from monai.networks.blocks import TransformerBlock
from monai.utils import ensure_tuple_rep
from torch import nn

from ckdmed.networks.resize import resize_images

__all__ = ["GridTransformer"]


class GridTransformer(nn.Module):
    """MONAI's transformer blocks over a map's positions as tokens, with learned positions for any grid.

    The positions are learned on `position_grid` and resized linearly to the grid of the map, so that one network works
    on images of several sizes. On `position_grid` itself they are used as they are. With zeroed positions and zeroed
    last layers (`attn.out_proj`, `mlp.linear2`) the map passes unchanged.

    Without dropout PyTorch's fused attention is used, which does not store the matrix of all pairs of positions.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of the map, which are the width of a token; a multiple of `heads`.
        heads: attention heads.
        layers: transformer blocks, at least 1.
        mlp_ratio: hidden width of the blocks' perceptrons in units of `channels`.
        position_grid: grid on which the positions are learned, one number or one per axis.
        dropout: rate in [0, 1), on attention weights and on the outputs of attention and perceptron.

    Shape: (B, channels, *spatial) to the same.

    Raises:
        ValueError: `channels` no multiple of `heads`; a number below 1; `dropout` outside [0, 1).

    Source:
        Dosovitskiy et al. 2021 (arXiv 2010.11929), whose positions are resized for other image sizes as well.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        heads: int = 8,
        layers: int = 1,
        mlp_ratio: float = 4.0,
        position_grid: int | tuple[int, ...] = 8,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        grid = ensure_tuple_rep(position_grid, spatial_dims)
        if min(heads, layers, *grid) < 1 or mlp_ratio <= 0:
            raise ValueError(
                f"heads, layers, mlp_ratio and position_grid must be positive, got {heads}, {layers}, {mlp_ratio} and "
                f"{grid}."
            )
        if channels % heads:
            raise ValueError(
                f"self-attention over a map of {channels} channels cannot have {heads} heads: heads must divide the "
                "channels."
            )
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"the dropout of self-attention must lie in [0, 1), got {dropout}.")
        self.positions = nn.Parameter(torch.empty(1, channels, *grid))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.blocks = nn.ModuleList()
        for _ in range(layers):
            block = TransformerBlock(
                channels,
                max(round(channels * mlp_ratio), 1),
                heads,
                dropout_rate=dropout,
                # MONAI hands its rate to the fused attention in evaluation too
                use_flash_attention=dropout == 0.0,
            )
            # belongs to a cross-attention that is not there; without a gradient it would stop DistributedDataParallel
            block.norm_cross_attn = nn.Identity()  # type: ignore[assignment]
            self.blocks.append(block)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = (x + resize_images(self.positions, list(x.shape[2:]))).flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens.transpose(1, 2).reshape(x.shape)
