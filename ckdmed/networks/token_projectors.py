"""Maps between a convolutional network's maps and a transformer's tokens, in both directions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ckdmed.networks.projectors import conv_projector, grid_of_tokens, to_grid

__all__ = [
    "AttentionProjector",
    "GroupLinearProjector",
    "TokenMapProjector",
    "attention_projector",
    "group_projector",
    "token_map_projector",
]

_CONV: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}


class GroupLinearProjector(nn.Module):
    """Student map to tokens by linear layers that the positions of a block of the grid share (GL projector).

    The map is resized to the grid of the tokens. Position (i, j) belongs to block (i // group, j // group), counted
    from the first; each block has a linear layer of its own, and dropout follows.

    Args:
        in_channels: of the student's map.
        width: of the teacher's tokens.
        grid: of the tokens, two or three axes.
        group: edge of a block; 4 of the paper.
        dropout: rate, which the paper does not state.

    Shape: [B, in_channels, *S] -> [B, N, width], N the product of the grid, in row-major order.

    Raises:
        ValueError: another number of axes, or sizes below 1.

    Source: Liu et al. 2022 (arXiv 2207.05273), equations 5 and 6.
    """

    block: torch.Tensor

    def __init__(self, in_channels: int, width: int, grid: Sequence[int], group: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.grid = tuple(int(size) for size in grid)
        if len(self.grid) not in _CONV or min(*self.grid, group, in_channels, width) < 1:
            raise ValueError(f"grid {self.grid}, group {group}, channels {in_channels} and {width}: each must be at "
                             "least 1, and the grid have two or three axes.")  # fmt: skip
        block = torch.zeros(self.grid, dtype=torch.long)
        for axis, size in enumerate(self.grid):
            shape = [1] * len(self.grid)
            shape[axis] = size
            block = block * -(-size // group) + (torch.arange(size) // group).reshape(shape)
        self.register_buffer("block", block.flatten(), persistent=False)
        count = int(block.max()) + 1
        # as torch's linear layers start
        bound = in_channels**-0.5
        self.weight = nn.Parameter(torch.empty(count, in_channels, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(count, width).uniform_(-bound, bound))
        self.dropout = nn.Dropout(dropout)

    def forward(self, student: torch.Tensor) -> torch.Tensor:
        positions = to_grid(student, self.grid).flatten(2).transpose(1, 2)
        tokens = positions.new_empty(*positions.shape[:2], self.weight.shape[2])
        parts = [
            (rows, positions[:, rows] @ self.weight[number] + self.bias[number])
            for number in range(len(self.weight))
            for rows in [(self.block == number).nonzero().squeeze(1)]
        ]
        order = torch.cat([rows for rows, _ in parts]).argsort()
        tokens = torch.cat([part for _, part in parts], dim=1)[:, order]
        found: torch.Tensor = self.dropout(tokens)
        return found


class AttentionProjector(nn.Module):
    """Student map to queries, keys and values by three 3x3 convolutions (the student's side of the PCA projector).

    Args:
        in_channels: of the student's map.
        width: of each of the three, that of the teacher's block over all heads.
        grid: of the teacher's tokens, to which the map is resized.

    Shape: [B, in_channels, *S] -> [B, N, 3 width].

    Source: Liu et al. 2022 (arXiv 2207.05273), equations 1 to 3.
    """

    def __init__(self, in_channels: int, width: int, grid: Sequence[int]) -> None:
        super().__init__()
        self.grid = tuple(grid)
        conv = _CONV[len(self.grid)]
        self.convs = nn.ModuleList(conv(in_channels, width, 3, padding=1) for _ in range(3))

    def forward(self, student: torch.Tensor) -> torch.Tensor:
        resized = to_grid(student, self.grid)
        return torch.cat([conv(resized).flatten(2).transpose(1, 2) for conv in self.convs], dim=2)


class TokenMapProjector(nn.Module):
    """A transformer student's tokens to a convolutional teacher's map: laid out on their grid, 1x1 convolution.

    Args:
        width: of a token.
        out_channels: of the teacher's map.
        grid: of the tokens.
        size: grid of the map.
        prefix: class and register tokens in front, which stand for no position.

    Shape: [B, prefix + N, width] -> [B, out_channels, *size].
    """

    def __init__(
        self, width: int, out_channels: int, grid: Sequence[int], size: Sequence[int], prefix: int = 1
    ) -> None:
        super().__init__()
        self.grid, self.size, self.prefix = tuple(grid), tuple(size), prefix
        self.conv = _CONV[len(self.grid)](width, out_channels, 1)

    def forward(self, student: torch.Tensor) -> torch.Tensor:
        patches = student[:, self.prefix :].transpose(1, 2).unflatten(2, self.grid)
        return to_grid(self.conv(patches), self.size)


def group_projector(student: Sequence[int], teacher: Sequence[int], prefix: int = 1) -> nn.Module:
    """Between features of either kind: map to tokens by groups, tokens to a map, map to map by a 1x1 convolution.

    Raises:
        ValueError: two sequences of tokens, or tokens that fill no grid of equal edges.
    """
    if len(student) == 3:
        return token_map_projector(student, teacher, prefix)
    if len(teacher) == 3:
        return GroupLinearProjector(student[1], teacher[2], grid_of_tokens(teacher[1] - prefix, len(student) - 2))
    return conv_projector(student, teacher)


def attention_projector(student: Sequence[int], teacher: Sequence[int], prefix: int = 1) -> AttentionProjector:
    """From a map [B, C, *S] to a transformer block's queries, keys and values [B, prefix + N, 3 width].

    Raises:
        ValueError: a student's feature that is no map, or tokens that fill no grid of equal edges.
    """
    if len(student) not in (4, 5) or len(teacher) != 3:
        raise ValueError(f"queries need a student's map and a teacher's [B, N, 3 d]; got {student} and {teacher}.")
    return AttentionProjector(student[1], teacher[2] // 3, grid_of_tokens(teacher[1] - prefix, len(student) - 2))


def token_map_projector(student: Sequence[int], teacher: Sequence[int], prefix: int = 1) -> TokenMapProjector:
    """From a transformer student's tokens to a teacher's map.

    Raises:
        ValueError: a teacher's feature that is no map, or tokens that fill no grid of equal edges.
    """
    if len(student) != 3 or len(teacher) not in (4, 5):
        raise ValueError(f"a student's tokens and a teacher's map are needed; got {student} and {teacher}.")
    grid = grid_of_tokens(student[1] - prefix, len(teacher) - 2)
    return TokenMapProjector(student[2], teacher[1], grid, teacher[2:], prefix)
