"""What a network computes besides its weights: how it is put together and configured."""

from __future__ import annotations

from enum import Enum
from typing import Any

from torch import nn

from ckdmed.data import fingerprint

__all__ = ["structure_fingerprint"]

# what every module has, such as its mode and its hooks, says nothing of what it computes
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_UNKNOWN = object()


def structure_fingerprint(network: nn.Module) -> str:
    """Of two networks with equal weights, different where they may compute different outputs.

    It is of the classes of all modules by their paths, their attributes that are plain values or lists of them (numbers
    of heads, channels that are picked, the hash of a deployed file that computes in a network's place), and the buffers
    that no state dict holds. Weights and other buffers are not part of it.
    """
    parts = []
    for path, module in network.named_modules():
        kind = type(module)
        plain = {name: _plain(value) for name, value in vars(module).items() if name not in _OF_EVERY_MODULE}
        kept = {name: value for name, value in plain.items() if value is not _UNKNOWN}
        own = module._non_persistent_buffers_set
        buffers = {name: value for name, value in module.named_buffers(recurse=False) if name in own}
        parts.append([path, kind.__module__, kind.__qualname__, sorted(kept.items()), sorted(buffers.items())])
    return fingerprint(parts)


def _plain(value: Any) -> Any:
    """The value where it is plain, its name where it is a function."""
    if isinstance(value, Enum):
        return repr(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        entries = [_plain(entry) for entry in value]
        return _UNKNOWN if any(entry is _UNKNOWN for entry in entries) else entries
    return getattr(value, "__qualname__", _UNKNOWN)
