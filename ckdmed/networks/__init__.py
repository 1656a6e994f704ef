"""Teachers, students and the parts that connect them."""

from __future__ import annotations

from ckdmed.networks.checkpoint import WeightReport, adapt_input_channels, fill_network, read_state_dict
from ckdmed.networks.unet import DoubleConv, UNet, UpBlock
from ckdmed.networks.unet_vit import ClassTokenFusion, TokenFusion, UNetViT
from ckdmed.networks.vit import build_vit, set_layer_norm_eps
from ckdmed.networks.vit_weights import load_vit_weights

__all__ = [
    "ClassTokenFusion",
    "DoubleConv",
    "TokenFusion",
    "UNet",
    "UNetViT",
    "UpBlock",
    "WeightReport",
    "adapt_input_channels",
    "build_vit",
    "fill_network",
    "load_vit_weights",
    "read_state_dict",
    "set_layer_norm_eps",
]
