"""Load a ViT checkpoint file in torchvision's, timm's or MONAI's layout into MONAI's ViT."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence

import torch
from monai.networks.nets import ViT
from torch.nn import functional

from ckdmed.networks.checkpoint import WeightReport, adapt_input_channels, fill_network, read_state_dict
from ckdmed.networks.vit import LAYER_NORM_EPS

__all__ = ["load_vit_weights", "vit_names"]

PATCHES, POSITIONS, CLASS_TOKEN = "patch_embedding.patch_embeddings", "patch_embedding.position_embeddings", "cls_token"

# Parts of a name in the file (left) and in MONAI's ViT (right), applied in this order to whole dotted parts.
TORCHVISION: tuple[tuple[str, str], ...] = (
    (r"^class_token$", CLASS_TOKEN),
    (r"^encoder\.pos_embedding$", POSITIONS),
    (r"^conv_proj\.", f"{PATCHES}."),
    (r"^encoder\.ln\.", "norm."),
    (r"^heads\.head\.", "classification_head."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.self_attention\.in_proj_(weight|bias)$", r".attn.qkv.\1"),
    (r"\.self_attention\.out_proj\.", ".attn.out_proj."),
    # Files published by torchvision say linear_1 and linear_2, networks saved by its later versions 0 and 3.
    (r"\.mlp\.linear_([12])\.", r".mlp.linear\1."),
    (r"\.mlp\.0\.", ".mlp.linear1."),
    (r"\.mlp\.3\.", ".mlp.linear2."),
)
TIMM: tuple[tuple[str, str], ...] = (
    (r"^pos_embed$", POSITIONS),
    (r"^patch_embed\.proj\.", f"{PATCHES}."),
    (r"^head\.", "classification_head."),
    (r"\.attn\.proj\.", ".attn.out_proj."),
    (r"\.mlp\.fc([12])\.", r".mlp.linear\1."),
)
MONAI: tuple[tuple[str, str], ...] = (
    (r"^patch_embedding\.patch_embeddings\.1\.", f"{PATCHES}."),
    (r"^patch_embedding\.cls_token$", CLASS_TOKEN),
    (r"^classification_head\.0\.", "classification_head."),
)
LAYOUTS: Mapping[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "torchvision": ("conv_proj.weight", TORCHVISION),
    "timm": ("patch_embed.proj.weight", TIMM),
    "MONAI": ("patch_embedding.position_embeddings", MONAI),
}


def vit_names(names: Sequence[str], source: str | os.PathLike[str] = "the file") -> tuple[str, dict[str, str]]:
    """Tell a file's layout, and MONAI's name for each of its names.

    A ViT that is part of a larger network of this package, under `vit.`, is found there; the rest is left out.

    Raises:
        ValueError: no known layout; the message shows names of the file and those that were looked for.
    """
    for prefix in ("", "vit."):
        for layout, (mark, rules) in LAYOUTS.items():
            if prefix + mark not in names:
                continue
            renamed = {}
            for name in names:
                if name.startswith(prefix):
                    new = name[len(prefix) :]
                    for pattern, replacement in rules:
                        new = re.sub(pattern, replacement, new)
                    renamed[name] = new
            return layout, renamed
    marks = ", ".join(f"{mark} ({layout})" for layout, (mark, _) in LAYOUTS.items())
    raise ValueError(
        f"{os.fspath(source)}: not a ViT checkpoint of a known layout, it has none of {marks}. "
        f"Its first names: {', '.join(list(names)[:4])}."
    )


def _grid_of(count: int, dims: int) -> tuple[int, ...]:
    """The square or cube of `count` patches; empty where there is none."""
    side = round(count ** (1.0 / dims))
    return (side,) * dims if side**dims == count else ()


def _fit_positions(table: torch.Tensor, new: Sequence[int], dims: int) -> torch.Tensor:
    """Interpolate position embeddings (1, N, hidden) to another grid; unchanged where either grid is not known."""
    old = _grid_of(table.shape[1], dims)
    if not old or len(new) != dims or tuple(new) == old:
        return table
    image = table.reshape(1, *old, -1).movedim(-1, 1).float()
    if dims == 2:
        image = functional.interpolate(image, size=tuple(new), mode="bicubic", align_corners=False, antialias=True)
    else:
        image = functional.interpolate(image, size=tuple(new), mode="trilinear", align_corners=False)
    return image.flatten(2).transpose(1, 2).contiguous()


def _fit_patches(weight: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, str]:
    """Fit a patch embedding to the network's layout and input channels; also say what was changed.

    The layouts are a convolution (hidden, channels, *patch) and MONAI's "perceptron" (hidden, *patch x channels).
    """
    how = []
    if weight.dim() == 2 and target.dim() > 2 and weight.shape[1] % math.prod(target.shape[2:]) == 0:
        weight = weight.reshape(weight.shape[0], *target.shape[2:], -1).movedim(-1, 1).contiguous()
        how.append("perceptron to convolution layout")
    if weight.dim() == 2 or (target.dim() > 2 and weight.shape[2:] != target.shape[2:]):
        return weight, ""
    channels = target.shape[1] if target.dim() > 2 else target.shape[1] // math.prod(weight.shape[2:])
    if channels and channels != weight.shape[1]:
        how.append(f"{weight.shape[1]} input channels to {channels}, mean of the channels times old / new")
        weight = adapt_input_channels(weight, channels)
    if target.dim() == 2:
        how.append("convolution to perceptron layout")
        weight = weight.movedim(1, -1).flatten(1)
    return weight, ", ".join(how)


def _fit_embeddings(
    tensors: dict[str, torch.Tensor], own: Mapping[str, torch.Tensor], layout: str, grid: Sequence[int] | None
) -> dict[str, str]:
    """Fit patch embedding, class token and position embeddings in place; return what was changed."""
    adapted: dict[str, str] = {}
    target = own[_own_name(f"{PATCHES}.weight", own)]
    own_dims = max(target.dim() - 2, 0)  # a perceptron does not tell
    weight = tensors.get(f"{PATCHES}.weight")
    dims = weight.dim() - 2 if weight is not None and weight.dim() > 2 else own_dims or 2
    if weight is not None:
        tensors[f"{PATCHES}.weight"], how = _fit_patches(weight, target)
        if how:
            adapted[f"{PATCHES}.weight"] = how
    table = tensors.get(POSITIONS)
    if table is None or table.dim() != 3:
        return adapted
    # an oblong grid and the class token may make a square together, as 6 x 8 and 1 do
    with_class = table.shape[1] == own[POSITIONS].shape[1] + 1 or not _grid_of(table.shape[1], dims)
    if layout != "MONAI" and CLASS_TOKEN in tensors and with_class:
        tensors[CLASS_TOKEN] = tensors[CLASS_TOKEN] + table[:, :1]
        adapted[CLASS_TOKEN] = "its position embedding added to it, because MONAI's ViT has none for it"
        table = table[:, 1:]
    fitted = table
    if own_dims in (0, dims):
        wanted = _grid_of(own[POSITIONS].shape[1], dims) if grid is None else tuple(grid)
        fitted = _fit_positions(table, wanted, dims)
    if fitted is not table:
        adapted[POSITIONS] = f"interpolated from {table.shape[1]} to {fitted.shape[1]} patches"
    tensors[POSITIONS] = fitted
    return adapted


def _own_name(name: str, own: Mapping[str, torch.Tensor]) -> str:
    """The network's name for a canonical one: MONAI numbers the layer inside a perceptron and before a Tanh."""
    for part, numbered in ((f"{PATCHES}.", f"{PATCHES}.1."), ("classification_head.", "classification_head.0.")):
        if name not in own and name.replace(part, numbered) in own:
            return name.replace(part, numbered)
    return name


def load_vit_weights(
    vit: ViT, path: str | os.PathLike[str], grid: Sequence[int] | None = None, min_share: float = 0.9
) -> WeightReport:
    """Load a ViT checkpoint file, such as torchvision's or timm's ViT-B/16, into MONAI's ViT.

    - Names are translated; query, key and value are stacked in the same order in all three layouts. torchvision and
      timm add a position embedding to the class token and MONAI does not, so it is added to the class token itself,
      which is the same function.
    - Position embeddings of another grid are interpolated (bicubic; trilinear in 3D).
    - The patch embedding is laid out for either `proj_type`; other input channels as in `adapt_input_channels`.
    - A classifier head of another size keeps its initial value, and a network without a head leaves the file's.
    - A 3D network takes the transformer blocks of a 2D file; its patch and position embeddings keep their values, and
      count as not filled.
    - Published ViTs use a LayerNorm epsilon of 1e-6, `build_vit` too, plain MONAI 1e-5. It is no part of a state dict,
      so it is not changed here; a network with another one gets a note, and `set_layer_norm_eps` is the remedy.

    Args:
        vit: MONAI's ViT with class token, as `build_vit` makes it; changed in place.
        path: the file, read by `read_state_dict`.
        grid: patches per axis of the network, needed only where they are not the same along all axes.
        min_share: least share of the network's numbers, and of its tensors, that the file must fill.

    Raises:
        ValueError: an unreadable file, an unknown layout, or a file that fills less than `min_share`.
    """
    file = read_state_dict(path)
    layout, names = vit_names(list(file), path)
    tensors = {names[name]: tensor for name, tensor in file.items() if name in names}
    own = vit.state_dict()
    adapted = _fit_embeddings(tensors, own, layout, grid)
    if not any(".norm_cross_attn." in name for name in own):
        # MONAI's ViT saves a norm that none of its forward passes uses; build_vit has removed it.
        tensors = {name: tensor for name, tensor in tensors.items() if ".norm_cross_attn." not in name}
    notes = []
    if layout != "MONAI" and abs(vit.norm.eps - LAYER_NORM_EPS) > 1e-9:
        notes.append(
            f"the file's network has a LayerNorm epsilon of {LAYER_NORM_EPS:g}, this one {vit.norm.eps:g}, so outputs "
            f"differ slightly; set_layer_norm_eps(network, {LAYER_NORM_EPS:g}) makes them equal"
        )
    return fill_network(
        vit,
        {_own_name(name, own): tensor for name, tensor in tensors.items()},
        path,
        layout,
        adapted={_own_name(name, own): how for name, how in adapted.items()},
        heads=[name for name in own if name.startswith("classification_head.")],
        unused=[name for name in own if ".norm_cross_attn." in name],
        min_share=min_share,
        notes=notes,
    )
