"""The ways to join maps by name."""

from __future__ import annotations

from torch import nn

from ckdmed.networks.fusion.attentive_pyramid import AttentivePyramidFusion
from ckdmed.networks.fusion.deformable import DeformableFusion
from ckdmed.networks.fusion.geometric_attention import GeometryAwareAttention
from ckdmed.networks.fusion.graph import GraphFusion
from ckdmed.networks.fusion.spatial_transformer import SpatialTransformerFusion

__all__ = ["MAP_FUSIONS", "map_fusion"]

MAP_FUSIONS = ("attention", "stn", "deformable", "graph", "geometric", "pyramid")


def map_fusion(name: str, channels: int, spatial_dims: int = 2, maps: int = 2) -> nn.Module:
    """A module that adds what a second map says to a first one: ``forward(first, second)``.

    ========== =============================================================================
    name       module
    ========== =============================================================================
    attention  each position of the first map attends to the second: `GeometryAwareAttention` without geometry
    geometric  the same with a bias from where both lie, `GeometryAwareAttention`
    stn        the second map is warped by an affine transform, `SpatialTransformerFusion`
    deformable it is sampled by a deformable convolution, `DeformableFusion`
    graph      cells of both maps are nodes of a graph, `GraphFusion`
    pyramid    both are joined by coordinate attention, pyramid pooling and squeeze-and-excitation,
               `AttentivePyramidFusion`
    ========== =============================================================================

    Args:
        name: see above.
        channels: of both maps, a multiple of 4 but for stn, deformable and pyramid.
        spatial_dims: 2 or 3.
        maps: of graph, how many maps it joins.

    Raises:
        ValueError: an unknown name, which lists the known ones; as the modules.
    """
    if name == "attention":
        return GeometryAwareAttention(channels, spatial_dims, geometric=False)
    if name == "geometric":
        return GeometryAwareAttention(channels, spatial_dims)
    if name == "stn":
        return SpatialTransformerFusion(channels, spatial_dims)
    if name == "deformable":
        return DeformableFusion(channels, spatial_dims)
    if name == "graph":
        return GraphFusion(channels, spatial_dims, maps)
    if name == "pyramid":
        return AttentivePyramidFusion(channels, spatial_dims)
    raise ValueError(f"a fusion of maps must be one of {', '.join(MAP_FUSIONS)}, got {name!r}.")
