"""What the label's regions look like in a network's features: their contrast, and the likeness to their prototypes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ckdmed.losses.conventions import full_precision, plain, working_dtype
from ckdmed.losses.resizing import match_grids, pool_to, resize_to

__all__ = ["PrototypeLoss", "RegionContrastLoss", "region_weights"]

# Of a feature vector's norm in a cosine: it bounds the gradient where a vector is all zero, as after a ReLU.
_LEAST_NORM = 1e-3


def region_weights(target: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
    """The label's regions and the background, what none of them covers, as shares of the cells of a grid.

    Args:
        target: masks [B, R, *S] in [0, 1], which may overlap.
        grid: of the features.

    Returns:
        [B, R + 1, *grid], the background first.
    """
    outside = 1 - target.amax(dim=1, keepdim=True)
    regions = torch.cat([outside, target], dim=1)
    smaller = all(size <= whole for size, whole in zip(grid, regions.shape[2:]))
    return pool_to(regions, grid) if smaller else resize_to(regions, grid)


class _OfRegions(nn.Module):
    """Base: autocast off, the teacher cut off, features on one grid, regions and which of them a sample has."""

    #: of exclusive regions too: their class indices would be taken for one mask with values above 1
    reads_masks = True

    def forward(self, student: torch.Tensor, teacher: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        dtype = working_dtype(student)
        with full_precision(student):
            s, t = match_grids(plain(student, dtype), plain(teacher.detach(), dtype), "min")
            if target.ndim != s.ndim or target.shape[0] != s.shape[0]:
                raise ValueError(
                    f"target has shape {tuple(target.shape)}; masks [B, R, *S] are needed for features of shape "
                    f"{tuple(s.shape)}."
                )
            masks = plain(target.detach(), dtype)
            if not torch.compiler.is_compiling() and bool(((masks < 0) | (masks > 1)).any()):
                raise ValueError(
                    f"the target has values from {masks.min().item():g} to {masks.max().item():g}; masks in [0, 1] are "
                    "needed: give one for each region in place of class indices."
                )
            weights = region_weights(masks, tuple(s.shape[2:]))
            present = weights.flatten(2).sum(dim=2) > 0
            return self.compare(s, t, weights, present)

    def compare(
        self, student: torch.Tensor, teacher: torch.Tensor, weights: torch.Tensor, present: torch.Tensor
    ) -> torch.Tensor:
        """The formula; ``present`` is [B, R + 1]."""
        raise NotImplementedError


class RegionContrastLoss(_OfRegions):
    """Squared difference of the cosines between the regions' mean features; zero where the regions are as much alike.

    For each sample the mean feature of every region and of the background, weighted by their shares of the cells; the
    cosine of each pair of regions in the student and in the teacher; the mean of the squared differences over the pairs
    of which the sample has both. A batch without any pair gives 0. Channels are not compared, so widths may differ.

    Shape:
        student [B, C, *S], teacher [B, C', *S'], target [B, R, *S''] masks that may overlap.

    Raises:
        ValueError: a target of other axes or with values outside [0, 1]; batches or numbers of axes that differ.

    Source:
        The region affinity of EMKD (Qin et al. 2021, IEEE TMI 40(12)) and its code; regions that a sample lacks are
        left out, where the code divides by 0, and more than two regions are compared in pairs.
    """

    def compare(
        self, student: torch.Tensor, teacher: torch.Tensor, weights: torch.Tensor, present: torch.Tensor
    ) -> torch.Tensor:
        affinity_s, affinity_t = (_affinity(_prototypes(x, weights)) for x in (student, teacher))
        count = present.shape[1]
        pairs = torch.triu(torch.ones(count, count, dtype=torch.bool, device=present.device), diagonal=1)
        both = present[:, :, None] & present[:, None, :] & pairs
        squares = (affinity_s - affinity_t).square() * both
        return squares.sum() / both.sum().clamp_min(1)


class PrototypeLoss(_OfRegions):
    """Squared difference of the likeness of each position to the regions' prototypes; zero where it is the same.

    A prototype is a region's mean feature in a sample; its map is the cosine of every position with it. The maps of
    student and teacher are compared by the mean square over positions and the regions that the sample has. Channels are
    not compared, so widths may differ.

    Shape, Raises: as :class:`RegionContrastLoss`.

    Source:
        ProtoKD (Wang et al. 2023, arXiv 2303.09830) and IFVD (Wang et al. 2020); regions that a sample lacks are left
        out, where ProtoKD's code needs all of them.
    """

    def compare(
        self, student: torch.Tensor, teacher: torch.Tensor, weights: torch.Tensor, present: torch.Tensor
    ) -> torch.Tensor:
        maps_s, maps_t = (_likeness(x, _prototypes(x, weights)) for x in (student, teacher))
        squares = (maps_s - maps_t).square().mean(dim=2) * present
        return squares.sum() / present.sum().clamp_min(1)


def _prototypes(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """[B, R, C]; zero for a region that a sample lacks."""
    flat, shares = features.flatten(2), weights.flatten(2)
    total = shares.sum(dim=2, keepdim=True)
    return torch.einsum("brn,bcn->brc", shares, flat) / total.clamp_min(1e-12)


def _affinity(prototypes: torch.Tensor) -> torch.Tensor:
    unit = F.normalize(prototypes, dim=2, eps=_LEAST_NORM)
    return unit @ unit.transpose(1, 2)


def _likeness(features: torch.Tensor, prototypes: torch.Tensor) -> torch.Tensor:
    """[B, R, N]."""
    units = F.normalize(features.flatten(2), dim=1, eps=_LEAST_NORM)
    return F.normalize(prototypes, dim=2, eps=_LEAST_NORM) @ units
