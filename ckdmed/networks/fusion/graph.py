"""Maps as a graph of cells, whose nodes attend to their neighbours within a scale and across scales."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from ckdmed.networks.fusion.geometric_attention import cell_centres
from ckdmed.networks.resize import resize_images

__all__ = ["GraphAttentionLayer", "GraphFusion", "cell_edges", "cell_positions"]

HEADS = 4
#: neighbours of a cell within its scale
NEAREST = 8


def cell_positions(grids: Sequence[Sequence[int]]) -> torch.Tensor:
    """Centre of each node's cell and the number of its scale from 0 to 1: (nodes, axes + 1)."""
    parts = []
    for index, grid in enumerate(grids):
        centres = cell_centres([int(size) for size in grid], torch.zeros(()))
        scale = torch.full((len(centres), 1), index / max(1, len(grids) - 1))
        parts.append(torch.cat([centres, scale], dim=1))
    return torch.cat(parts)


def cell_edges(grids: Sequence[Sequence[int]]) -> torch.Tensor:
    """Which nodes are joined, (nodes, nodes) booleans: symmetric, each node also with itself.

    Within a scale each cell is joined to the 8 nearest (all of them where there are fewer; ties by order, and a pair
    counts if either is near the other); across scales each cell to the one that covers its centre.
    """
    sizes = [math.prod(int(size) for size in grid) for grid in grids]
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    joined = torch.eye(sum(sizes), dtype=torch.bool)
    for one, grid in enumerate(grids):
        centres = cell_centres([int(size) for size in grid], torch.zeros(()))
        distances = torch.cdist(centres, centres)
        near = torch.argsort(distances, dim=1, stable=True)[:, 1 : NEAREST + 1] + starts[one]
        joined[torch.arange(sizes[one]).unsqueeze(1) + starts[one], near] = True
        for other, cells in enumerate(grids):
            if other != one:
                whole = torch.tensor([int(size) for size in cells])
                index = torch.minimum((centres * whole).long(), whole - 1)
                cover = torch.zeros(sizes[one], dtype=torch.long)
                for axis, size in enumerate(whole):
                    cover = cover * size + index[:, axis]
                joined[torch.arange(sizes[one]) + starts[one], cover + starts[other]] = True
    return joined | joined.T


class GraphAttentionLayer(nn.Module):
    """Each node becomes itself and the weighted sum of its neighbours: h + elu(sum_j a_ij W h_j), heads side by side.

    a_ij = softmax_j leaky_relu(u W h_i + v W h_j) over the neighbours j of i. The attention is dense and masked.

    Args:
        channels: of a node, a multiple of `heads`.
        heads: of the attention.

    Shape: nodes (B, N, channels) and edges (N, N) booleans to (B, N, channels).

    Raises:
        ValueError: heads that do not divide.

    Source: Velickovic et al. 2018 (arXiv 1710.10903); the residual is this project's.
    """

    def __init__(self, channels: int, heads: int = HEADS) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise ValueError(f"heads must divide the {channels} channels, got {heads}.")
        self.heads = heads
        self.linear = nn.Linear(channels, channels, bias=False)
        bound = (6 / (channels // heads + 1)) ** 0.5
        self.of_self = nn.Parameter(torch.empty(heads, channels // heads).uniform_(-bound, bound))
        self.of_neighbour = nn.Parameter(torch.empty(heads, channels // heads).uniform_(-bound, bound))

    def forward(self, nodes: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        batch, count, channels = nodes.shape
        hidden = self.linear(nodes).reshape(batch, count, self.heads, -1)
        own = (hidden * self.of_self).sum(dim=3).transpose(1, 2).unsqueeze(3)
        other = (hidden * self.of_neighbour).sum(dim=3).transpose(1, 2).unsqueeze(2)
        scores = functional.leaky_relu(own + other, 0.2)
        scores = scores if scores.dtype == torch.float64 else scores.float()
        weights = functional.softmax(scores.masked_fill(~edges, float("-inf")), dim=3).to(hidden.dtype)
        found = torch.matmul(weights, hidden.transpose(1, 2)).transpose(1, 2).reshape(batch, count, channels)
        return nodes + functional.elu(found)


class GraphFusion(nn.Module):
    """Adds to the first map what two layers of graph attention make of the cells of all maps.

    Each map is averaged into 7x7 (4x4x4) cells, which are the nodes, with their place and scale appended; see
    `cell_edges` for the edges. The nodes of the first map are laid out again and resized to its grid.

    Args:
        channels: of all maps, a multiple of 4.
        spatial_dims: 2 or 3.
        maps: how many there are.
        cells: along each axis; 7 in 2D and 4 in 3D by default.

    Shape: (B, channels, *S) and further maps (B, channels, *S') to (B, channels, *S).

    Raises:
        ValueError: other spatial_dims; channels that do not fit; in `join`, another number of maps.
    """

    def __init__(self, channels: int, spatial_dims: int = 2, maps: int = 2, cells: int | None = None) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
        if cells is not None and cells < 1:
            raise ValueError(f"cells must be at least 1, got {cells}.")
        self.cells = [cells or (7 if spatial_dims == 2 else 4)] * spatial_dims
        self.maps = maps
        grids = [self.cells] * maps
        self.positions: torch.Tensor
        self.edges: torch.Tensor
        # follow from the settings, so they are no part of a state dict
        self.register_buffer("positions", cell_positions(grids), persistent=False)
        self.register_buffer("edges", cell_edges(grids), persistent=False)
        self.embed = nn.Linear(channels + spatial_dims + 1, channels)
        self.layers = nn.ModuleList([GraphAttentionLayer(channels), GraphAttentionLayer(channels)])

    def join(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """The first of the maps with what all of them say added."""
        if len(maps) != self.maps:
            raise ValueError("GraphFusion was built for {} maps, got {}.".format(self.maps, len(maps)))
        first = maps[0]
        parts: list[torch.Tensor] = []
        for one in maps:
            parts.append(self._cells(one).flatten(2).transpose(1, 2))
        nodes = torch.cat(parts, dim=1)
        places = self.positions.to(nodes.dtype).unsqueeze(0).expand(nodes.shape[0], -1, -1)
        nodes = self.embed(torch.cat([nodes, places], dim=2))
        for layer in self.layers:
            nodes = layer(nodes, self.edges)
        count = parts[0].shape[1]
        shape = [first.shape[0], first.shape[1]] + self.cells
        own = nodes[:, :count].transpose(1, 2).reshape(shape)
        return first + resize_images(own, list(first.shape[2:])).to(first.dtype)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return self.join([first, second])

    def _cells(self, x: torch.Tensor) -> torch.Tensor:
        if len(self.cells) == 2:
            return functional.adaptive_avg_pool2d(x, self.cells)  # type: ignore[arg-type]
        return functional.adaptive_avg_pool3d(x, self.cells)  # type: ignore[arg-type]
