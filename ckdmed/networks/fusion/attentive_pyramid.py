"""Two maps joined by coordinate attention, pyramid pooling and squeeze-and-excitation."""

from __future__ import annotations

import torch
from monai.networks.blocks import ChannelSELayer
from monai.networks.layers.factories import Conv
from torch import nn

from ckdmed.networks.coordinate_attention import CoordinateAttention
from ckdmed.networks.pyramid_pooling import PyramidPooling
from ckdmed.networks.resize import resize_images

__all__ = ["AttentivePyramidFusion"]


class AttentivePyramidFusion(nn.Module):
    """Adds what both maps say together: a + SE(P Y(CA(J [a, b]))).

    J and P are 1x1 convolutions to the maps' channels, CA `CoordinateAttention`, Y `PyramidPooling`, SE squeeze and
    excitation with a quarter of the channels.

    Args:
        channels: of both maps, 4 at least.
        spatial_dims: 2 or 3.

    Shape: as in `SpatialTransformerFusion`.

    Source: the design is this project's, of the parts of KDMSANet and MFFTNet, of which no formulas are to be had.
    """

    def __init__(self, channels: int, spatial_dims: int = 2) -> None:
        super().__init__()
        if spatial_dims not in (2, 3) or channels < 4:
            raise ValueError(f"spatial_dims must be 2 or 3 and channels 4 or more, got {spatial_dims} and {channels}.")
        convolution = Conv[Conv.CONV, spatial_dims]
        self.join = convolution(2 * channels, channels, kernel_size=1)
        self.attention = CoordinateAttention(spatial_dims, channels)
        # a rectifier over one cell would, once it is closed, open for no image
        self.pyramid = PyramidPooling(spatial_dims, channels, act="leakyrelu")
        self.project = convolution(self.pyramid.out_channels, channels, kernel_size=1)
        self.excite = ChannelSELayer(spatial_dims, channels, r=4, acti_type_1=("leakyrelu", {"negative_slope": 0.01}))

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        second = resize_images(second, list(first.shape[2:]))
        joined = self.attention(self.join(torch.cat([first, second], dim=1)))
        return first + self.excite(self.project(self.pyramid(joined)))
