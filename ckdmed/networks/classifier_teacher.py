"""Classification teachers as one function of settings: the reports' hybrids, and EfficientNet-Lite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ckdmed.networks.efficientnet import load_efficientnet_weights
from ckdmed.networks.efficientnet_lite import EFFICIENTNET_LITE
from ckdmed.networks.efficientnet_lite_classifier import EfficientNetLiteClassifier
from ckdmed.networks.freezing import VGG19_BN_EARLY_LAYERS, VGG19_EARLY_LAYERS
from ckdmed.networks.freezing import freeze as freeze_modules
from ckdmed.networks.fusion.build import MAP_FUSIONS
from ckdmed.networks.hybrid import FUSIONS, HybridClassifier
from ckdmed.networks.kinds import check_kind
from ckdmed.networks.map_branches import LiteMaps, VGGMaps, ViTMaps
from ckdmed.networks.map_hybrid import MapHybridClassifier
from ckdmed.networks.published_weights import weights_file
from ckdmed.networks.vgg import VGG, vgg19, vgg19_bn
from ckdmed.networks.vit import transformer_taps
from ckdmed.networks.vit_classifier import ViTClassifier

__all__ = [
    "CLASSIFIER_FUSIONS",
    "TEACHER_KINDS",
    "classification_teacher",
    "classification_teacher_taps",
    "last_block",
    "last_convolution",
]

#: the branches of each kind; one alone is no hybrid
TEACHER_BRANCHES = {
    "vgg_vit": ("vgg", "vit"),
    "vgg_vgg": ("vgg", "vgg"),
    "vit_vit": ("vit", "vit"),
    "efficientnet_lite": ("lite",),
    "efficientnet_lite_vit": ("lite", "vit"),
    "msgff": ("vgg", "vit"),
}
TEACHER_KINDS = tuple(TEACHER_BRANCHES)
# The last of EfficientNet's stages at a sixteenth of the image, where VGG19's last convolution is too.
_LITE_STAGE = "_blocks.4"
_LITE_LEVELS = {"s16": _LITE_STAGE, "s8": "_blocks.2", "s4": "_blocks.1"}
CLASSIFIER_FUSIONS = (*FUSIONS, *MAP_FUSIONS)
VGGS = {"vgg19_bn": vgg19_bn, "vgg19": vgg19}
_EARLY = {"vgg19_bn": VGG19_BN_EARLY_LAYERS, "vgg19": VGG19_EARLY_LAYERS}


def classification_teacher(
    kind: str = "vgg_vit",
    num_classes: int = 3,
    in_channels: int = 3,
    vgg: str = "vgg19_bn",
    vgg_width: float = 1.0,
    vgg_img_size: int | None = 224,
    vgg_weights: str | None = None,
    vgg_dropout: float = 0.5,
    vit_img_size: int = 224,
    vit_patch: int = 16,
    vit_hidden: int = 768,
    vit_layers: int = 12,
    vit_heads: int = 12,
    vit_weights: str | None = None,
    vit_dropout: float = 0.0,
    lite_weights: str | None = None,
    fuse: str = "logits",
    freeze: str | Sequence[str] = "none",
    resolutions: Sequence[int] | None = None,
    map_weights: str = "global",
    fuse_channels: int = 256,
) -> nn.Module:
    """A hybrid of two branches, or EfficientNet-Lite0 alone. The defaults are the full sizes.

    Args:
        kind: the branches: "vgg_vit", "vgg_vgg", "vit_vit", "efficientnet_lite_vit"; "efficientnet_lite" for that
            network alone; or "msgff", VGG19 and ViT of which three levels each are joined with learned weights,
            the teacher that fuses scales itself (Table I, row 4), see `MapHybridClassifier`.
        num_classes, in_channels: of every branch.
        vgg: "vgg19_bn", or "vgg19" without normalisation, which is much harder to train from random weights.
        vgg_width: factor on VGG19's widths.
        vgg_img_size: what the image is resized to for a VGG branch; None leaves it as it is.
        vgg_weights, vit_weights: checkpoint files, see `load_vgg_weights` and `load_vit_weights`, or "imagenet".
        lite_weights: checkpoint file of an EfficientNet-Lite0, see `load_efficientnet_weights`, or "imagenet".
        vgg_dropout, vit_dropout: rates of dropout.
        vit_img_size, vit_patch, vit_hidden, vit_layers, vit_heads: of a ViT branch; its MLP is four times as wide as
            its tokens.
        fuse: "logits" or "features", see `HybridClassifier`; one of `MAP_FUSIONS`, such as "attention",
            see `map_fusion`, for branches that are joined as maps. With kind "msgff", "logits" stands for the weighted
            sum alone, and the fusions of maps join the branches at each level before it.
        freeze: "none"; "early" for the first three of the five stages of every VGG branch, which pretrained weights
            make sense of; or paths such as "branches.0.features.0-26", see `freeze`. What is frozen keeps its
            batch-norm statistics as well.
        resolutions: edges at which all branches see the image; None for its own. Logits are averaged over them, maps
            are joined with learned weights.
        map_weights: these weights: "global", or "gated" for weights of each image; see `WeightedSum`.
        fuse_channels: width to which maps are brought before they are joined.

    Raises:
        ValueError: unknown kind, VGG or `fuse`, another word for `freeze`, "early" without a VGG branch; a fusion of
            maps or resolutions for a network alone; "features" for msgff; as `HybridClassifier` and
            `MapHybridClassifier`.
    """
    check_kind(kind, TEACHER_KINDS, "teacher")
    if vgg not in VGGS:
        raise ValueError(f"vgg must be one of {', '.join(VGGS)}, got {vgg!r}.")
    parts = TEACHER_BRANCHES[kind]
    paths = list(freeze) if not isinstance(freeze, str) else []
    if freeze == "early":
        paths = [f"branches.{i}.{_EARLY[vgg]}" for i, name in enumerate(parts) if name == "vgg"]
        if not paths:
            raise ValueError(f"freeze='early' means the early layers of a VGG; a {kind} teacher has none.")
    elif isinstance(freeze, str) and freeze != "none":
        raise ValueError(f"freeze must be 'none', 'early' or a list of paths, got {freeze!r}.")
    if fuse not in CLASSIFIER_FUSIONS:
        raise ValueError(f"fuse must be one of {', '.join(CLASSIFIER_FUSIONS)}, got {fuse!r}.")
    if len(parts) == 1 and (fuse in MAP_FUSIONS or resolutions):
        given = f"fuse={fuse!r}" if fuse in MAP_FUSIONS else f"resolutions={list(resolutions or ())}"
        raise ValueError(f"{given} joins the branches of a hybrid; a {kind} teacher is one network.")
    if kind == "msgff" and fuse == "features":
        raise ValueError(f"an msgff teacher joins maps: fuse must be logits or one of {', '.join(MAP_FUSIONS)}.")
    as_maps = kind == "msgff" or fuse in MAP_FUSIONS
    # a VGG takes any size; resolutions resize for all branches alike
    any_size = bool(resolutions)
    vit_sizes: dict[str, Any] = {
        "in_channels": in_channels,
        "img_size": vit_img_size,
        "patch_size": vit_patch,
        "hidden_size": vit_hidden,
        "num_layers": vit_layers,
        "num_heads": vit_heads,
        "dropout_rate": vit_dropout,
    }
    branches: list[nn.Module] = []
    sizes: list[int | None] = []
    for name in parts:
        if name == "lite":
            branches.append(_lite(as_maps, in_channels, num_classes, lite_weights))
            sizes.append(None)
        elif name == "vgg":
            vgg_branch = VGGS[vgg](in_channels, num_classes, vgg_width, vgg_weights, vgg_dropout)
            branches.append(VGGMaps(vgg_branch) if as_maps else vgg_branch)
            sizes.append(None if any_size else vgg_img_size)
        elif as_maps:
            branches.append(ViTMaps(**vit_sizes, weights=vit_weights))
        else:
            own: dict[str, Any] = {"num_classes": num_classes, "mlp_dim": 4 * vit_hidden, "any_size": any_size}
            branches.append(ViTClassifier(**vit_sizes, **own, weights=vit_weights))
            sizes.append(None if any_size else vit_img_size)
    if len(branches) == 1:
        if paths:
            freeze_modules(branches[0], paths)
        return branches[0]
    if as_maps:
        return MapHybridClassifier(
            branches,
            num_classes,
            fuse=fuse if fuse in MAP_FUSIONS else None,
            levels=3 if kind == "msgff" else 1,
            resolutions=resolutions,
            channels=fuse_channels,
            grid=max(1, vit_img_size // vit_patch),
            weights=map_weights,
            freeze=paths,
        )
    return HybridClassifier(branches, num_classes, fuse=fuse, branch_sizes=sizes, freeze=paths, resolutions=resolutions)


def _lite(as_maps: bool, in_channels: int, num_classes: int, weights: str | None) -> nn.Module:
    if not as_maps:
        return EfficientNetLiteClassifier(in_channels, num_classes, weights)
    branch = LiteMaps(in_channels)
    if weights:
        load_efficientnet_weights(branch, weights_file(weights, EFFICIENTNET_LITE[0]))
    return branch


def last_block(vit_layers: int) -> str:
    """Path of the normalisation in the last block of a Vision Transformer that is a teacher's first branch."""
    return f"branches.0.vit.blocks.{vit_layers - 1}.norm1"


def last_convolution(teacher: nn.Module) -> str | None:
    """Path of a convolutional teacher's last map at a sixteenth of the image, or None for one without convolutions.

    Of the first branch that has one: the activation behind VGG's last convolution, or the fifth stage of EfficientNet.
    Where maps of several resolutions are joined, the joined map.
    """
    if isinstance(teacher, MapHybridClassifier) and len(teacher.resolutions) > 1:
        return "joined"
    if isinstance(teacher, EfficientNetLiteClassifier):
        return _LITE_STAGE
    for index, branch in enumerate(teacher.branches):  # type: ignore[arg-type]
        if isinstance(branch, (EfficientNetLiteClassifier, LiteMaps)):
            return f"branches.{index}.{_LITE_STAGE}"
        if isinstance(branch, (VGG, VGGMaps)):
            last = max(i for i, layer in enumerate(branch.features) if isinstance(layer, nn.ReLU))
            return f"branches.{index}.features.{last}"
    return None


def classification_teacher_taps(teacher: nn.Module) -> dict[str, str]:
    """Paths of what a student can be compared with in a teacher; empty for networks of another kind.

    "msgff" is the map of :func:`last_convolution`; "s16", "s8" and "s4" are stages of the same network on a sixteenth,
    an eighth and a quarter of the image's grid, VGG's behind their poolings; "tokens" and "qkv" are those of its first
    Vision Transformer, see :func:`~ckdmed.networks.vit.transformer_taps`. Branches that see several resolutions run
    several times and have no one map: of them there is "msgff" as the joined map where maps are joined, else nothing.
    """
    if isinstance(teacher, EfficientNetLiteClassifier):
        return {"msgff": _LITE_STAGE, **_LITE_LEVELS}
    if not isinstance(teacher, (HybridClassifier, MapHybridClassifier)):
        return {}
    if len(teacher.resolutions) > 1:
        return {"msgff": "joined"} if isinstance(teacher, MapHybridClassifier) else {}
    taps = {"msgff": path, **_levels(teacher)} if (path := last_convolution(teacher)) else {}
    return {**taps, **transformer_taps(teacher)}


def _levels(teacher: nn.Module) -> dict[str, str]:
    """Paths of the first convolutional branch's stages, deepest first."""
    for index, branch in enumerate(teacher.branches):  # type: ignore[arg-type]
        if isinstance(branch, (EfficientNetLiteClassifier, LiteMaps)):
            return {name: f"branches.{index}.{path}" for name, path in _LITE_LEVELS.items()}
        if isinstance(branch, (VGG, VGGMaps)):
            poolings = [number for number, layer in enumerate(branch.features) if "Pool" in type(layer).__name__]
            found = {2**stage: path for stage, path in enumerate(poolings, start=1)}
            return {f"s{n}": f"branches.{index}.features.{found[n]}" for n in (16, 8, 4) if n in found}
    return {}
