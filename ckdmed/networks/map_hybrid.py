"""Classification teachers whose branches are joined as maps: by geometry, over scales, over resolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv
from torch import nn

from ckdmed.networks.freezing import freeze as freeze_modules
from ckdmed.networks.fusion.build import MAP_FUSIONS, map_fusion
from ckdmed.networks.fusion.weighted_sum import WeightedSum
from ckdmed.networks.hybrid import check_different, check_resolutions
from ckdmed.networks.resize import resize_images

__all__ = ["MapHybridClassifier"]


class _Projections(nn.Module):
    """The last maps of a branch, each through a 1x1 convolution and a group normalisation."""

    def __init__(self, widths: Sequence[int], channels: int, spatial_dims: int) -> None:
        super().__init__()
        convolution = Conv[Conv.CONV, spatial_dims]
        self.levels = nn.ModuleList(
            nn.Sequential(convolution(int(width), channels, 1), nn.GroupNorm(math.gcd(8, channels), channels))
            for width in widths
        )

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        before = len(maps) - len(self.levels)
        found: list[torch.Tensor] = []
        for level, projection in enumerate(self.levels):
            found.append(projection(maps[before + level]))
        return found


class MapHybridClassifier(nn.Module):
    """Two branches' maps, each brought to one width, joined, averaged over the image, and a linear layer on it.

    Every map passes a 1x1 convolution and a group normalisation. With a `fuse` the second branch's map of a level is
    added to the first one's as that fusion does it; what remains (levels, resolutions, and the branches without a
    `fuse`) is resized to one grid and summed with learned weights, `WeightedSum`. Returns raw logits. Feature paths:
    those of the branches behind `branches.<i>.`, and `joined`, which gives the joined map.

    Args:
        branches: two networks from an image to a list of maps, with their widths as `channels`, such as those of
            `ckdmed.networks.map_branches`.
        num_classes: number of logits.
        fuse: one of `MAP_FUSIONS`; None leaves the branches to the weighted sum.
        levels: how many of a branch's maps take part, the last ones: 1, or 3 for the MSGFF teacher.
        resolutions: edges to which the image is resized, each branch seeing all of them; none for the image as it is.
            A graph joins the cells of all resolutions, the other fusions join within one.
        channels: width of the maps.
        grid: edge of the grid to which maps are resized for the sum.
        weights: "global" or "gated", see `WeightedSum`.
        freeze: paths for `freeze`.
        spatial_dims: 2 or 3.

    Shape: (B, channels of the image, *spatial) to (B, num_classes).

    Raises:
        ValueError: other than two branches, or two with equal weights; an unknown fuse; levels that a branch lacks;
            resolutions below 1 or given twice; as the fusions.
    """

    # Constants to TorchScript, which leaves out the other ways.
    __constants__ = ["pairs", "all_at_once", "one_map"]

    def __init__(
        self,
        branches: Sequence[nn.Module],
        num_classes: int,
        fuse: str | None = None,
        levels: int = 1,
        resolutions: Sequence[int] | None = None,
        channels: int = 256,
        grid: int = 14,
        weights: str = "global",
        freeze: Sequence[str] = (),
        spatial_dims: int = 2,
    ) -> None:
        super().__init__()
        if len(branches) != 2:
            raise ValueError(f"the maps of exactly two branches are joined, got {len(branches)}.")
        if fuse is not None and fuse not in MAP_FUSIONS:
            raise ValueError(f"fuse must be one of {', '.join(MAP_FUSIONS)}, got {fuse!r}.")
        widths = [list(branch.channels) for branch in branches]  # type: ignore[arg-type]
        if not 1 <= levels <= min(len(width) for width in widths):
            raise ValueError(f"levels must lie between 1 and {min(len(width) for width in widths)}, got {levels}.")
        sizes = check_resolutions(resolutions)
        check_different(branches)
        self.branches = nn.ModuleList(branches)
        self.levels = levels
        self.resolutions = sizes or [0]
        self.grid = [grid] * spatial_dims
        self.pairs = fuse is not None
        self.all_at_once = fuse == "graph"
        self.projections = nn.ModuleList(_Projections(own[-levels:], channels, spatial_dims) for own in widths)
        seen = len(self.resolutions)
        self.fusions = nn.ModuleList(
            map_fusion(fuse, channels, spatial_dims, maps=2 * seen) for _ in range(levels if fuse else 0) if fuse
        )
        count = levels * (1 if self.all_at_once else seen) * (1 if self.pairs else 2)
        self.one_map = count == 1
        self.weighted = nn.Identity() if self.one_map else WeightedSum(count, channels, weights)
        self.joined = nn.Identity()
        self.classifier = nn.Linear(channels, num_classes)
        if freeze:
            freeze_modules(self, freeze)

    def maps_of(self, x: torch.Tensor) -> list[list[torch.Tensor]]:
        """The projected maps of each level: those of both branches, resolution after resolution."""
        found: list[list[torch.Tensor]] = [torch.jit.annotate(list[torch.Tensor], []) for _ in range(self.levels)]
        for size in self.resolutions:
            image = resize_images(x, [size] * (x.dim() - 2)) if size > 0 else x
            for branch, projections in zip(self.branches, self.projections):
                for level, projected in enumerate(projections(branch(image))):
                    found[level].append(projected)
        return found

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.maps_of(x)
        parts: list[torch.Tensor] = []
        if self.all_at_once:
            for level, fusion in enumerate(self.fusions):
                parts.append(fusion.join(maps[level]))  # type: ignore[operator]
        elif self.pairs:
            for level, fusion in enumerate(self.fusions):
                own = maps[level]
                for index in range(0, len(own), 2):
                    parts.append(fusion(own[index], own[index + 1]))
        else:
            for own in maps:
                parts.extend(own)
        joined = parts[0] if self.one_map else self.weighted(parts, self.grid)
        return self.classifier(self.joined(joined).flatten(2).mean(dim=2))
