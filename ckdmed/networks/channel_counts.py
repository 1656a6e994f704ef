"""How many channels the layers of a network have, and a network with fewer of them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

__all__ = ["channel_counts", "with_channel_counts"]

# what of a layer says how many channels it has
_COUNTS = ("in_channels", "out_channels", "groups", "num_features", "num_channels", "in_features", "out_features")


def channel_counts(network: nn.Module) -> dict[str, dict[str, int]]:
    """The numbers of channels of each layer that has weights or statistics: path -> {"in_channels": ...}."""
    found = {}
    for name, module in network.named_modules():
        counts = {count: int(getattr(module, count)) for count in _COUNTS if _is_count(module, count)}
        if counts and isinstance(module, (_ConvNd, _NormBase, nn.GroupNorm, nn.Linear)):
            found[name] = counts
    return found


def with_channel_counts(network: nn.Module, counts: Mapping[str, Mapping[str, int]]) -> nn.Module:
    """The network with other numbers of channels in some layers, for the weights of a pruned one. Changed in place.

    Args:
        network: as its settings make it.
        counts: of the layers that differ, see `channel_counts`. New weights are without meaning until a checkpoint is
            loaded.

    Raises:
        ValueError: a path without such a layer.
    """
    for name, own in counts.items():
        try:
            module = network.get_submodule(name)
        except AttributeError:
            module = nn.Identity()
        wrong = [count for count in own if count not in _COUNTS or not _is_count(module, count)]
        if wrong:
            raise ValueError(f"channels of '{name}': {type(network).__name__} has no such layer with {wrong}.")
        for count, value in own.items():
            setattr(module, count, int(value))
        _remake(module)
    return network


def _is_count(module: nn.Module, name: str) -> bool:
    return isinstance(getattr(module, name, None), int)


def _remake(module: nn.Module) -> None:
    """Give a layer weights and statistics of the numbers of channels that it states."""
    shapes: dict[str, tuple[int, ...]] = {}
    if isinstance(module, _ConvTransposeNd):
        wide = module.out_channels // module.groups
        shapes = {"weight": (module.in_channels, wide, *module.kernel_size), "bias": (module.out_channels,)}
    elif isinstance(module, _ConvNd):
        narrow = module.in_channels // module.groups
        shapes = {"weight": (module.out_channels, narrow, *module.kernel_size), "bias": (module.out_channels,)}
    elif isinstance(module, nn.Linear):
        shapes = {"weight": (module.out_features, module.in_features), "bias": (module.out_features,)}
    else:
        size = int(module.num_channels if isinstance(module, nn.GroupNorm) else module.num_features)  # type: ignore
        shapes = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (size,))
    for name, shape in shapes.items():
        old = getattr(module, name, None)
        if isinstance(old, nn.Parameter):
            setattr(module, name, nn.Parameter(old.new_ones(shape), requires_grad=old.requires_grad))
        elif isinstance(old, torch.Tensor):
            setattr(module, name, old.new_ones(shape))
