"""Ways to join the maps of two networks that look at one image."""

from __future__ import annotations

from ckdmed.networks.fusion.attentive_pyramid import AttentivePyramidFusion
from ckdmed.networks.fusion.build import MAP_FUSIONS, map_fusion
from ckdmed.networks.fusion.deformable import DeformableConv, DeformableFusion, deformable_conv
from ckdmed.networks.fusion.geometric_attention import GeometryAwareAttention
from ckdmed.networks.fusion.graph import GraphAttentionLayer, GraphFusion, cell_edges, cell_positions
from ckdmed.networks.fusion.spatial_transformer import SpatialTransformerFusion
from ckdmed.networks.fusion.weighted_sum import WeightedSum

__all__ = [
    "AttentivePyramidFusion",
    "DeformableConv",
    "DeformableFusion",
    "GeometryAwareAttention",
    "GraphAttentionLayer",
    "GraphFusion",
    "MAP_FUSIONS",
    "SpatialTransformerFusion",
    "WeightedSum",
    "cell_edges",
    "cell_positions",
    "deformable_conv",
    "map_fusion",
]
