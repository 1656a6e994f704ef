"""Removal of the channels that matter least, the matching inputs behind skip concatenations included."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ckdmed.losses.hard_pseudo import HardPseudoLabelLoss
from ckdmed.networks.channel_counts import channel_counts

__all__ = ["removed_channels", "without_channels"]


_BATCH = 16


def without_channels(
    network: nn.Module,
    input_shape: Sequence[int],
    ratio: float,
    images: torch.Tensor | None = None,
    link: str = "sigmoid",
) -> nn.Module:
    """A copy of a network without a share of the channels of each layer; its input and output stay.

    Channels that are joined (by a residual sum, or a normalisation) go together, and so do the inputs of every layer
    that reads them, behind concatenations too: Torch-Pruning follows the graph of the forward pass.

    With images the channels go that the network's masks depend on least: a channel counts by |weight times gradient|,
    the first order of what the loss changes by without it, where the loss is that of the network's logits against its
    own masks, so that no label is read. What is left has the statistics of its batch normalisations taken anew from the
    images. Without images the channels go that have the least |gamma| of batch normalisations, or in a
    network without those the least L2 norm of the weights: nothing is known then of what they do.

    Args:
        network: with one output; it is left as it is.
        input_shape: (C, *spatial) of an image that it takes.
        ratio: share of each layer's channels, above 0 and below 1. A layer keeps one at least.
        images: of the training, (N, C, *spatial) as the network takes them; None for none.
        link: of the logits, "sigmoid" or, for exclusive classes, "softmax".

    Raises:
        ValueError: another ratio, a network of which nothing can be removed, or one whose graph Torch-Pruning cannot
            follow, such as MONAI's residual U-Net.
        ModuleNotFoundError: Torch-Pruning is not installed.

    Source: Molchanov et al. 2019 (arXiv 1906.10771) for the first order; Liu et al. 2017 (arXiv 1708.06519) for
    |gamma|; Fang et al. 2023 (arXiv 2301.12900) for the graph.
    """
    if not 0 < ratio < 1:
        raise ValueError(f"the share of channels to remove must lie between 0 and 1, got {ratio}.")
    import torch_pruning

    small = copy.deepcopy(network).cpu().eval().requires_grad_(True)
    image = torch.rand(1, *input_shape)
    before = sum(parameter.numel() for parameter in small.parameters())
    try:
        pruner = torch_pruning.pruner.BasePruner(
            small,
            image,
            importance=_importance(small, images, link),
            pruning_ratio=ratio,
            ignored_layers=_last_layers(small, image),
        )
        pruner.step()
        with torch.no_grad():
            small(image)
    except (TypeError, RuntimeError, AttributeError, IndexError, KeyError) as error:
        raise ValueError(
            f"Torch-Pruning cannot follow the graph of this {type(network).__name__} ({error}). The kinds unet, "
            "attention_unet, unet_plus_plus, flexible_unet, efficientnet_lite, segresnet and dynunet can be pruned."
        ) from error
    small.zero_grad()
    if images is not None:
        _measure_anew(small, images)
    if sum(parameter.numel() for parameter in small.parameters()) == before:
        raise ValueError(f"no channels of this {type(network).__name__} can be removed: use a larger share.")
    return small.requires_grad_(True).eval()


def _importance(network: nn.Module, images: torch.Tensor | None, link: str) -> Any:
    """What Torch-Pruning ranks channels by; with images the network has their gradients afterwards."""
    from torch_pruning import importance

    if images is None:
        normalised = any(isinstance(module, _BatchNorm) and module.affine for module in network.modules())
        return importance.BNScaleImportance() if normalised else importance.GroupMagnitudeImportance(p=2)
    loss = HardPseudoLabelLoss(link=link)
    for batch in images.split(_BATCH):
        logits = network(batch)
        (loss(logits, logits.detach()) * len(batch) / len(images)).backward()
    return importance.GroupTaylorImportance()


def _measure_anew(network: nn.Module, images: torch.Tensor) -> None:
    """Give batch normalisations the statistics of the images: the mean over batches of what each batch has."""
    measured = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [module.momentum for module in measured]
    for module in measured:
        module.reset_running_stats()
        module.momentum = None
        module.train()
    with torch.no_grad():
        for batch in images.split(_BATCH) if measured else ():
            network(batch)
    for module, momentum in zip(measured, momenta):
        module.momentum = momentum
    network.eval()


def removed_channels(network: nn.Module, small: nn.Module) -> dict[str, dict[str, int]]:
    """The numbers of channels of the layers in which two networks differ, as `with_channel_counts` takes them."""
    whole = channel_counts(network)
    return {name: counts for name, counts in channel_counts(small).items() if counts != whole.get(name)}


def _last_layers(network: nn.Module, image: torch.Tensor) -> list[nn.Module]:
    """The layers that give the logits: the last one with weights whose channels are those of the output."""
    seen: list[nn.Module] = []
    handles = [
        module.register_forward_hook(lambda module, _inputs, _output: seen.append(module))
        for module in network.modules()
        if not list(module.children()) and any(True for _ in module.parameters(recurse=False))
    ]
    try:
        with torch.no_grad():
            network(image)
    finally:
        for handle in handles:
            handle.remove()
    return seen[-1:]
