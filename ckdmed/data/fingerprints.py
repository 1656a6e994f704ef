"""Short fingerprints of a chain of transforms and of the files of an item, by which their cached results are named."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import partial
from types import CodeType, ModuleType
from typing import Any

import monai
import numpy as np
import torch
from monai.transforms import Compose, Transform
from monai.transforms.traits import RandomizableTrait

from ckdmed import __version__
from ckdmed.checked_entries import file_stamps

__all__ = ["describe", "deterministic_part", "fingerprint", "flat_chain", "item_fingerprint", "transforms_fingerprint"]

# What an object holds without its work depending on it. In a thread-local MONAI notes, from the first call of an
# invertible transform on, whether it traces.
_WITHOUT_EFFECT = (
    np.random.RandomState,
    np.random.Generator,
    torch.Generator,
    threading.local,
    type(threading.Lock()),
    type(threading.RLock()),
)


def describe(value: Any, _above: tuple[int, ...] = ()) -> Any:
    """Plain values that are equal when two objects are configured alike, whichever process made them.

    Objects are described by their class and their attributes, arrays by their content, functions by their name, code,
    constants and what they enclose. Random states, thread-locals and locks are left out, so that an object is described
    alike before and after it was used.
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
        return _described(value, above)
    if isinstance(value, (set, frozenset)):
        return sorted(json.dumps(describe(entry, above), sort_keys=True) for entry in value)
    if isinstance(value, (list, tuple)):
        return [describe(entry, above) for entry in value]
    if isinstance(value, torch.Tensor):
        return [str(value.dtype), describe(value.detach().cpu().float().numpy(), above)]
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()]
    if isinstance(value, (np.generic, torch.dtype, torch.device, np.dtype, os.PathLike)):
        return str(value)
    if isinstance(value, CodeType):
        return [value.co_code.hex(), list(value.co_names), describe(value.co_consts, above)]
    if isinstance(value, partial):
        return ["partial", describe([value.func, value.args, value.keywords], above)]
    name = getattr(value, "__qualname__", None)
    if name is not None:
        return [value.__module__, name, *_function_parts(value, above)]
    state = {k: v for k, v in _attributes(value).items() if not isinstance(v, _WITHOUT_EFFECT)}
    # The order of an attribute's entries may matter to the object: that of regions is the order of a label's channels.
    names = {key: list(map(str, entry)) for key, entry in state.items() if isinstance(entry, Mapping)}
    orders = {f"order of {key}": found for key, found in names.items() if found != sorted(found)}
    return [type(value).__module__, type(value).__qualname__, {**_described(state, above), **orders}]


def _described(mapping: Mapping[Any, Any], above: tuple[int, ...]) -> dict[str, Any]:
    return {str(key): describe(entry, above) for key, entry in mapping.items()}


def _function_parts(value: Any, above: tuple[int, ...]) -> list[Any]:
    owner = getattr(value, "__self__", None)
    code = getattr(value, "__code__", None)
    if code is None:
        return [""]
    enclosed = [_content(cell) for cell in getattr(value, "__closure__", None) or ()]
    bound = [] if isinstance(owner, (type(None), ModuleType)) else [owner]
    return describe([code, getattr(value, "__defaults__", None), enclosed, bound], above)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        # not yet filled: a function that encloses itself
        return None


def _attributes(value: Any) -> dict[str, Any]:
    slots = [name for kind in type(value).__mro__ for name in _names(getattr(kind, "__slots__", ()))]
    held = {name: getattr(value, name) for name in slots if not name.startswith("__") and hasattr(value, name)}
    return {**held, **getattr(value, "__dict__", {})}


def _names(slots: Any) -> Iterable[str]:
    return (slots,) if isinstance(slots, str) else slots


def fingerprint(*parts: Any) -> str:
    """32 hexadecimal digits of the description of ``parts``."""
    text = json.dumps([describe(part) for part in parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def flat_chain(transform: Callable | Sequence[Callable]) -> Compose:
    """The chain without chains in it, as MONAI's caching datasets need it: they take a nested one for random."""
    chain = transform if isinstance(transform, Compose) else Compose(transform)
    return chain.flatten()


def deterministic_part(transform: Callable | Sequence[Callable]) -> list[Transform]:
    """The transforms before the first random one: what MONAI's datasets keep the results of."""
    kept: list[Transform] = []
    for entry in flat_chain(transform).transforms:
        if isinstance(entry, RandomizableTrait) or not isinstance(entry, Transform):
            break
        kept.append(entry)
    return kept


def transforms_fingerprint(transforms: Iterable[Any]) -> str:
    """Of transforms in their order, with the versions of the packages whose code they are."""
    versions = [__version__, monai.__version__, torch.__version__, np.__version__]
    return fingerprint(versions, list(transforms))


def item_fingerprint(item: Mapping[str, Any], file_keys: Sequence[str] = ("image", "label")) -> str:
    """Of an item of a datalist with size and times of its files, so that a file put in its place counts as another.

    See :func:`~ckdmed.checked_entries.file_stamps` for what is noticed and what is not.
    """
    stamps = []
    for key in file_keys:
        files = item.get(key)
        paths: Sequence[Any] = files if isinstance(files, (list, tuple)) else [files]
        there = [file for file in paths if isinstance(file, (str, os.PathLike)) and os.path.exists(file)]
        stamps.append([key, file_stamps(there)])
    return fingerprint(dict(item), stamps)
