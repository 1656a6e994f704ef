"""Attention of one map to another, with a bias from where the positions lie."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ckdmed.networks.resize import resize_images

__all__ = ["GeometryAwareAttention", "cell_centres"]

UNITS = 16


def cell_centres(size: list[int], like: torch.Tensor) -> torch.Tensor:
    """Centres of a grid's cells, row by row: (cells, axes), the image's extent being 1 along each axis."""
    axes = [(torch.arange(n, device=like.device).to(torch.float32) + 0.5) / n for n in size]
    if len(axes) == 2:
        mesh = [axes[0].reshape(-1, 1).expand(size), axes[1].reshape(1, -1).expand(size)]
    else:
        mesh = [
            axes[0].reshape(-1, 1, 1).expand(size),
            axes[1].reshape(1, -1, 1).expand(size),
            axes[2].reshape(1, 1, -1).expand(size),
        ]
    return torch.stack([axis.flatten() for axis in mesh], dim=1)


class GeometryAwareAttention(nn.Module):
    """Adds to each position of the first map what it attends to in the second: a + P softmax(Q K' / sqrt(d) + g) V.

    Q are the first map's positions, K and V the second's, each on its own grid. g is a network of two layers and 16
    units over where the key lies beside the query, as parts of the image along each axis, and the logarithm of the
    ratio of their cells' edges. Its last layer starts at zero: plain attention.

    Args:
        channels: of both maps, a multiple of `heads`.
        spatial_dims: 2 or 3.
        heads: of the attention.
        geometric: off for plain attention, without g.
        boundary: g also sees a third map's value at the query and at the key, such as the distance to a predicted
            boundary.

    Shape: (B, channels, *S), (B, channels, *S') and, with `boundary`, (B, 1, *S'') to (B, channels, *S).

    Raises:
        ValueError: heads that do not divide, other spatial_dims, a boundary without geometry; in forward, a boundary
            that is missing or was not built for.
    """

    def __init__(
        self, channels: int, spatial_dims: int = 2, heads: int = 4, geometric: bool = True, boundary: bool = False
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
        if heads < 1 or channels % heads:
            raise ValueError(f"heads must divide the {channels} channels, got {heads}.")
        if boundary and not geometric:
            raise ValueError("a boundary is an input of the geometric bias: leave geometric on.")
        self.heads = heads
        self.boundary = boundary
        self.query = nn.Linear(channels, channels)
        # a bias of the keys would move all scores of a query alike
        self.key = nn.Linear(channels, channels, bias=False)
        self.value = nn.Linear(channels, channels)
        self.project = nn.Linear(channels, channels)
        self.bias = nn.Sequential()
        if geometric:
            self.bias = nn.Sequential(
                nn.Linear(spatial_dims + (3 if boundary else 1), UNITS),
                nn.ReLU(),
                # as with the keys, one number for all pairs would change nothing
                nn.Linear(UNITS, heads, bias=False),
            )
            nn.init.zeros_(self.bias[2].weight)  # type: ignore[arg-type]

    def geometry(self, queries: list[int], keys: list[int], like: torch.Tensor) -> torch.Tensor:
        """Where keys lie beside queries, and the log ratio of cells: (queries, keys, spatial_dims + 1)."""
        at_query, at_key = cell_centres(queries, like), cell_centres(keys, like)
        beside = at_key.unsqueeze(0) - at_query.unsqueeze(1)
        ratio = torch.log(torch.tensor(float(len(at_query)) / float(len(at_key)), device=like.device)) / len(queries)
        return torch.cat([beside, ratio.expand(beside.shape[0], beside.shape[1], 1)], dim=2)

    def forward(self, first: torch.Tensor, second: torch.Tensor, boundary: torch.Tensor | None = None) -> torch.Tensor:
        if (boundary is not None) != self.boundary:
            raise ValueError("A boundary must be given if, and only if, the attention was built with boundary=True.")
        batch, channels = first.shape[0], first.shape[1]
        queries, keys = list(first.shape[2:]), list(second.shape[2:])
        rows, columns = first.flatten(2).transpose(1, 2), second.flatten(2).transpose(1, 2)
        width = channels // self.heads
        q = self.query(rows).reshape(batch, -1, self.heads, width).transpose(1, 2)
        k = self.key(columns).reshape(batch, -1, self.heads, width).transpose(1, 2)
        v = self.value(columns).reshape(batch, -1, self.heads, width).transpose(1, 2)
        # sums of products overflow in half precision
        exact = torch.float64 if q.dtype == torch.float64 else torch.float32
        scores = torch.matmul(q.to(exact), k.to(exact).transpose(2, 3)) / width**0.5
        if len(self.bias) > 0:
            geometry = self.geometry(queries, keys, first).to(first.dtype).unsqueeze(0)
            if boundary is not None:
                at_query = resize_images(boundary, queries).flatten(1).unsqueeze(2)
                at_key = resize_images(boundary, keys).flatten(1).unsqueeze(1)
                geometry = torch.cat(
                    [
                        geometry.expand(batch, -1, -1, -1),
                        at_query.expand(-1, -1, at_key.shape[2]).unsqueeze(3).to(first.dtype),
                        at_key.expand(-1, at_query.shape[1], -1).unsqueeze(3).to(first.dtype),
                    ],
                    dim=3,
                )
            scores = scores + self.bias(geometry).permute(0, 3, 1, 2).to(exact)
        weights = functional.softmax(scores, dim=3).to(v.dtype)
        attended = torch.matmul(weights, v).transpose(1, 2).reshape(batch, -1, channels)
        return first + self.project(attended).transpose(1, 2).reshape(first.shape).to(first.dtype)
