"""One short text for what a chain of transforms does and for which file an item is, to name what is kept of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

import monai
import numpy as np
import torch
from monai.transforms import Compose, Transform
from monai.transforms.traits import RandomizableTrait

from ckdmed import __version__

__all__ = ["describe", "deterministic_part", "fingerprint", "item_fingerprint", "transforms_fingerprint"]

# what an object holds without its work depending on it
_WITHOUT_EFFECT = (np.random.RandomState, np.random.Generator, torch.Generator)


def describe(value: Any, _above: tuple[int, ...] = ()) -> Any:
    """Plain values that are equal when two objects are configured alike, whichever process made them.

    Objects are described by their class and their attributes, arrays by their content, functions by their name and
    code. Random states are left out.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return repr(value)
    if id(value) in _above:
        return "above"
    above = (*_above, id(value))
    if isinstance(value, Enum):
        return [type(value).__qualname__, describe(value.value, above)]
    if isinstance(value, Mapping):
        return {str(key): describe(entry, above) for key, entry in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(json.dumps(describe(entry, above), sort_keys=True) for entry in value)
    if isinstance(value, (list, tuple)):
        return [describe(entry, above) for entry in value]
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().float().numpy()
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()]
    if isinstance(value, (np.generic, torch.dtype, torch.device, np.dtype, os.PathLike)):
        return str(value)
    name = getattr(value, "__qualname__", None)
    if name is not None:
        code = getattr(value, "__code__", None)
        return [value.__module__, name, "" if code is None else code.co_code.hex()]
    state = {k: v for k, v in getattr(value, "__dict__", {}).items() if not isinstance(v, _WITHOUT_EFFECT)}
    return [type(value).__module__, type(value).__qualname__, describe(state, above)]


def fingerprint(*parts: Any) -> str:
    """32 hexadecimal digits of the description of ``parts``."""
    text = json.dumps([describe(part) for part in parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def deterministic_part(transform: Compose | Sequence[Any]) -> list[Transform]:
    """The transforms before the first random one: what MONAI's datasets keep the results of."""
    chain = transform if isinstance(transform, Compose) else Compose(transform)
    kept: list[Transform] = []
    for entry in chain.flatten().transforms:
        if isinstance(entry, RandomizableTrait) or not isinstance(entry, Transform):
            break
        kept.append(entry)
    return kept


def transforms_fingerprint(transforms: Iterable[Any]) -> str:
    """Of transforms in their order, with the versions of the packages whose code they are."""
    return fingerprint(__version__, monai.__version__, list(transforms))


def item_fingerprint(item: Mapping[str, Any], file_keys: Sequence[str] = ("image", "label")) -> str:
    """Of an item of a datalist with size and time of its files, so that a file put in its place counts as another."""
    stamps = []
    for key in file_keys:
        files = item.get(key)
        for file in files if isinstance(files, (list, tuple)) else [files]:
            if isinstance(file, (str, os.PathLike)) and os.path.isfile(file):
                status = os.stat(file)
                stamps.append([key, status.st_size, status.st_mtime_ns])
    return fingerprint(dict(item), stamps)
