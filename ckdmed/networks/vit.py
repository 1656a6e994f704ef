"""MONAI's ViT, built so that published ViT checkpoints fit it and every parameter is used."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.networks.blocks.patchembedding import PatchEmbeddingBlock
from monai.networks.nets import ViT
from monai.utils import ensure_tuple_rep
from torch import nn
from torch.nn import functional

__all__ = [
    "AnySizePatchEmbedding",
    "TRANSFORMER_TAPS",
    "attention_heads",
    "build_vit",
    "set_layer_norm_eps",
    "token_grid",
    "transformer_taps",
]

#: names of the taps that are tokens and no maps
TRANSFORMER_TAPS = ("tokens", "qkv")

#: Published ViTs (the original code, torchvision, timm) use this; PyTorch's and MONAI's default is 1e-5.
LAYER_NORM_EPS = 1e-6


def token_grid(img_size: int | Sequence[int], patch_size: int | Sequence[int], spatial_dims: int) -> tuple[int, ...]:
    """Patches per axis.

    Raises:
        ValueError: an image size that is not a positive multiple of the patch size.
    """
    sizes, patches = ensure_tuple_rep(img_size, spatial_dims), ensure_tuple_rep(patch_size, spatial_dims)
    if any(patch < 1 or size < patch or size % patch for size, patch in zip(sizes, patches)):
        raise ValueError(f"The ViT's image size {sizes} must be a positive multiple of its patch size {patches}.")
    return tuple(size // patch for size, patch in zip(sizes, patches))


def set_layer_norm_eps(network: nn.Module, eps: float) -> None:
    """Give every LayerNorm of a network this epsilon. It is not part of a state dict."""
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = eps


class AnySizePatchEmbedding(PatchEmbeddingBlock):
    """MONAI's embedding of patches, whose positions are interpolated for images of another size.

    Args:
        in_channels, img_size, patch_size, hidden_size, num_heads, dropout_rate, spatial_dims: see `build_vit`.

    Shape: (B, in_channels, *spatial), multiples of the patch, to (B, patches, hidden_size).

    Raises:
        ValueError: in forward, an image whose size is no multiple of the patch.
    """

    def __init__(
        self,
        in_channels: int,
        img_size: int | Sequence[int],
        patch_size: int | Sequence[int],
        hidden_size: int,
        num_heads: int,
        dropout_rate: float,
        spatial_dims: int,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            img_size=img_size,
            patch_size=patch_size,
            hidden_size=hidden_size,
            num_heads=num_heads,
            proj_type="conv",
            pos_embed_type="learnable",
            dropout_rate=dropout_rate,
            spatial_dims=spatial_dims,
        )
        self.grid = list(token_grid(img_size, patch_size, spatial_dims))
        self.patch = [int(size) for size in ensure_tuple_rep(patch_size, spatial_dims)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for size, patch in zip(x.shape[2:], self.patch):
            if size % patch != 0:
                raise ValueError(
                    "The Vision Transformer got an image of spatial size {}; its patches are {}. Give sizes that are "
                    "multiples of them.".format(list(x.shape[2:]), self.patch)
                )
        tokens = self.patch_embeddings(x)
        grid = list(tokens.shape[2:])
        positions: torch.Tensor = self.position_embeddings
        if grid != self.grid:
            laid_out = positions.transpose(1, 2).reshape([1, positions.shape[2]] + self.grid).float()
            if len(grid) == 2:
                laid_out = functional.interpolate(laid_out, size=grid, mode="bicubic", align_corners=False)
            else:
                laid_out = functional.interpolate(laid_out, size=grid, mode="trilinear", align_corners=False)
            positions = laid_out.flatten(2).transpose(1, 2).to(positions.dtype)
        return self.dropout(tokens.flatten(2).transpose(1, 2) + positions)


def build_vit(
    in_channels: int = 3,
    img_size: int | Sequence[int] = 224,
    patch_size: int | Sequence[int] = 16,
    hidden_size: int = 768,
    mlp_dim: int = 3072,
    num_layers: int = 12,
    num_heads: int = 12,
    spatial_dims: int = 2,
    dropout_rate: float = 0.0,
    num_classes: int | None = None,
    layer_norm_eps: float = LAYER_NORM_EPS,
    any_size: bool = False,
) -> ViT:
    """MONAI's ViT with class token, biases on query, key and value, and no activation behind its head.

    Two things are changed after MONAI built it. The layer norms get the epsilon of published ViTs. The layer norm in
    front of a cross-attention that is not there is removed: it never receives a gradient, which stops
    DistributedDataParallel, and no published checkpoint holds it.

    Args:
        in_channels: channels of the image.
        img_size: size of the image, a multiple of `patch_size`. Defaults, here and below, are those of ViT-B/16.
        patch_size: size of a patch.
        hidden_size: width of a token, a multiple of `num_heads`.
        mlp_dim: hidden width of the multi-layer perceptrons.
        num_layers: number of transformer blocks.
        num_heads: attention heads.
        spatial_dims: 2 or 3.
        dropout_rate: in [0, 1].
        num_classes: None removes the head: forward then returns all normalised tokens (B, 1 + patches, hidden_size),
            the class token first. Otherwise forward returns logits (B, num_classes). Either is the first item of a
            tuple, as MONAI has it, the second being the tokens after each block.
        layer_norm_eps: positive.
        any_size: take images of other sizes too, multiples of the patch, with interpolated positions.

    Raises:
        ValueError: sizes that do not divide, as described above.
    """
    if hidden_size % num_heads:
        raise ValueError(f"hidden_size {hidden_size} must be a multiple of num_heads {num_heads}.")
    if not (layer_norm_eps > 0 and math.isfinite(layer_norm_eps)):
        raise ValueError(f"layer_norm_eps must be positive, got {layer_norm_eps}.")
    token_grid(img_size, patch_size, spatial_dims)
    vit = ViT(
        in_channels=in_channels,
        img_size=img_size,
        patch_size=patch_size,
        hidden_size=hidden_size,
        mlp_dim=mlp_dim,
        num_layers=num_layers,
        num_heads=num_heads,
        classification=True,
        num_classes=num_classes or 1,
        dropout_rate=dropout_rate,
        spatial_dims=spatial_dims,
        post_activation=None,
        qkv_bias=True,
    )
    if any_size:
        vit.patch_embedding = AnySizePatchEmbedding(
            in_channels, img_size, patch_size, hidden_size, num_heads, dropout_rate, spatial_dims
        )
    if num_classes is None:
        del vit.classification_head
    for block in vit.blocks:
        block.norm_cross_attn = nn.Identity()
    # MONAI leaves the class token at zero; published ViTs draw it like the position embeddings.
    nn.init.trunc_normal_(vit.cls_token, std=0.02)
    set_layer_norm_eps(vit, layer_norm_eps)
    return vit


def transformer_taps(network: nn.Module) -> dict[str, str]:
    """Paths in the first Vision Transformer inside a network; empty where there is none.

    "tokens" are its normalised tokens, "qkv" the queries, keys and values of its last block, both class token first.
    """
    for name, module in network.named_modules():
        if isinstance(module, ViT):
            inside = f"{name}." if name else ""
            return {"tokens": f"{inside}norm", "qkv": f"{inside}blocks.{len(module.blocks) - 1}.attn.qkv"}
    return {}


def attention_heads(network: nn.Module) -> int:
    """Of the blocks whose "qkv" :func:`transformer_taps` names; 1 where there is no Vision Transformer."""
    found = next((module for module in network.modules() if isinstance(module, ViT)), None)
    if found is None:
        return 1
    heads = found.get_submodule(f"blocks.{len(found.blocks) - 1}.attn").num_heads
    assert isinstance(heads, int)
    return heads
