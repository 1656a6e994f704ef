"""Networks of a hybrid teacher that give maps of an image instead of logits, under the paths of their classifiers."""

from __future__ import annotations

import torch
from monai.utils import ensure_tuple_rep
from torch import nn

from ckdmed.networks.efficientnet_lite import EFFICIENTNET_LITE, WIDTHS, EfficientNetLiteEncoder
from ckdmed.networks.published_weights import weights_file
from ckdmed.networks.vgg import VGG
from ckdmed.networks.vit import build_vit, token_grid
from ckdmed.networks.vit_weights import load_vit_weights

__all__ = ["LiteMaps", "VGGMaps", "ViTMaps"]

LEVELS = 3


class VGGMaps(nn.Module):
    """The last maps of VGG's last three stages, before their poolings; paths `features.<i>` as in `VGG`.

    Args:
        vgg: at least three stages; its features are taken, its linear layers are not.

    Shape: (B, channels, *spatial) to three maps, from fine to coarse, of `channels` channels.
    """

    def __init__(self, vgg: VGG) -> None:
        super().__init__()
        self.features = vgg.features
        poolings = [index for index, layer in enumerate(vgg.features) if "Pool" in type(layer).__name__]
        if len(poolings) < LEVELS:
            raise ValueError(f"maps of three stages are needed; this VGG has {len(poolings)}.")
        self.stage_ends = [index - 1 for index in poolings[-LEVELS:]]
        widths = [layer.out_channels for layer in vgg.features if hasattr(layer, "out_channels")]
        counts = [
            sum(hasattr(layer, "out_channels") for layer in list(vgg.features)[: end + 1]) for end in self.stage_ends
        ]
        self.channels = [int(widths[count - 1]) for count in counts]  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        last = self.stage_ends[-1]
        for index, layer in enumerate(self.features):
            if index <= last:
                x = layer(x)
            if index in self.stage_ends:
                found.append(x)
        return found


class ViTMaps(nn.Module):
    """Patch tokens of a ViT on their grid, after a third, two thirds and all of its blocks; paths `vit.<...>`.

    The last tokens are normalised. Positions are interpolated for images of another size than `img_size`. A ViT of
    fewer than three blocks gives the maps of some blocks twice.

    Args:
        in_channels, img_size, patch_size, hidden_size, num_layers, num_heads, dropout_rate, spatial_dims: see
            `build_vit`; the MLP is four times as wide as the tokens.
        weights: checkpoint file, see `load_vit_weights`, or "imagenet", see `weights_file`.

    Shape: (B, in_channels, *spatial), multiples of the patch, to three maps of `channels` channels.
    """

    def __init__(
        self,
        in_channels: int = 3,
        img_size: int = 224,
        patch_size: int = 16,
        hidden_size: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        dropout_rate: float = 0.0,
        spatial_dims: int = 2,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.vit = build_vit(
            in_channels,
            img_size,
            patch_size,
            hidden_size,
            4 * hidden_size,
            num_layers,
            num_heads,
            spatial_dims,
            dropout_rate,
            any_size=True,
        )
        if weights:
            file = weights_file(weights, "vit_b_16")
            load_vit_weights(self.vit, file, grid=token_grid(img_size, patch_size, spatial_dims))
        self.patch = [int(size) for size in ensure_tuple_rep(patch_size, spatial_dims)]
        self.blocks = [max(1, round(num_layers * level / LEVELS)) - 1 for level in range(1, LEVELS)]
        self.channels = [hidden_size] * LEVELS

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        tokens, after_blocks = self.vit(x)
        grid = [x.shape[2 + axis] // size for axis, size in enumerate(self.patch)]
        shape = [x.shape[0], self.channels[0]] + grid
        found: list[torch.Tensor] = []
        for index in self.blocks:
            found.append(after_blocks[index][:, 1:].transpose(1, 2).reshape(shape))
        found.append(tokens[:, 1:].transpose(1, 2).reshape(shape))
        return found


class LiteMaps(EfficientNetLiteEncoder):
    """EfficientNet-Lite0's maps at an eighth, a sixteenth and a thirty-second of the image; paths `_blocks.<i>`.

    Args:
        in_channels: channels of the image.

    Shape: (B, in_channels, H, W) to three maps of `channels` channels.
    """

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__(EFFICIENTNET_LITE[0], 2, in_channels)
        self.channels = [int(width) for width in WIDTHS[EFFICIENTNET_LITE[0]][-LEVELS:]]

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        # the parent's own, which TorchScript cannot call
        x = self._swish(self._bn0(self._conv_stem(self._conv_stem_padding(x))))
        found: list[torch.Tensor] = []
        for index, stack in enumerate(self._blocks):
            x = stack(x)
            if index + 1 in self.extract_stacks:
                found.append(x)
        return found[-3:]
