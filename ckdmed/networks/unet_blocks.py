"""The blocks of a U-Net's levels by name: plain, residual, ResNeXt."""

from __future__ import annotations

import math

from monai.networks.blocks.squeeze_and_excitation import SEBlock
from torch import nn

from ckdmed.networks.residual_unit import PreActivationUnit
from ckdmed.networks.unet import DoubleConv

__all__ = ["UNET_BLOCKS", "unet_block"]

UNET_BLOCKS = ("plain", "residual", "resnext")

#: of ResNeXt: how much narrower its middle is, the groups of its 3x3(x3) convolution, and the ratio of its gate
_COMPRESSION, _CARDINALITY, _GATE_RATIO = 4, 4, 4
_NORM = ("instance", {"affine": True})
# a tapped tensor has to stay what it was
_ACT = ("relu", {"inplace": False})


def unet_block(kind: str, spatial_dims: int, in_channels: int, out_channels: int) -> nn.Module:
    """A block of a level of a U-Net, with affine instance normalisation and ReLU; it keeps the grid.

    ======== ==========================================================================================================
    kind     block
    ======== ==========================================================================================================
    plain    two 3x3(x3) convolutions, each followed by normalisation and activation: `DoubleConv`
    residual the same with normalisation and activation before each convolution, and a shortcut: `PreActivationUnit`
    resnext  a bottleneck of a quarter of the channels, whose 3x3(x3) convolution has 4 groups, with a
             squeeze-and-excitation gate of ratio 4 before the shortcut is added: MONAI's ``SEBlock``
    ======== ==========================================================================================================

    Args:
        kind: see above.
        spatial_dims: 2 or 3.
        in_channels, out_channels: of the block. Where they are equal, shortcuts are the identity.

    Shape: (B, in_channels, *spatial) to (B, out_channels, *spatial).

    Raises:
        ValueError: an unknown kind.

    Source: Lachinov et al. 2019 (arXiv 2002.03688) and its code. Departs from it in the ResNeXt block: no normalisation
        stands before the gate, where the code has one of instances, whose means tell the gate nothing; the code
        multiplies by a gate over the positions too, and its normalisations of this block are not affine.
    """
    if kind not in UNET_BLOCKS:
        raise ValueError(f"the block of a U-Net must be one of {', '.join(UNET_BLOCKS)}, got {kind!r}.")
    if kind == "plain":
        return DoubleConv(spatial_dims, in_channels, out_channels, _NORM, _ACT)
    if kind == "residual":
        return PreActivationUnit(spatial_dims, in_channels, out_channels, norm=_NORM, act=_ACT)
    middle = max(out_channels // _COMPRESSION, 1)
    normal = {"norm": _NORM, "bias": False, "adn_ordering": "NA"}
    return SEBlock(
        spatial_dims,
        in_channels,
        n_chns_1=middle,
        n_chns_2=middle,
        n_chns_3=out_channels,
        conv_param_1={"kernel_size": 1, "act": _ACT, **normal},
        conv_param_2={"kernel_size": 3, "act": _ACT, "groups": math.gcd(_CARDINALITY, middle), **normal},
        # the mean of a map that instance normalisation gives is the same for every image: the gate would see nothing
        conv_param_3={"kernel_size": 1, "conv_only": True, "bias": False},
        # a narrow gate keeps four hidden units: one alone is often dead from the start
        r=max(1, min(_GATE_RATIO, out_channels // 4)),
        acti_type_1=_ACT,
        acti_type_final=_ACT,
    )
