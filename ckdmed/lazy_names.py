"""Packages whose modules are imported when a name of them is asked for: not all that use one module have the others'
libraries, or room for PyTorch."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(
    package: str, homes: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """What a package takes as its ``__getattr__`` and ``__dir__``.

    Args:
        package: its name.
        homes: module of it to the names that the package offers of that module.

    Raises:
        ValueError: a module is called as one of the names. Python sets a module's name in its package when it imports
            it, and whoever asks for the name later would get the module.
    """
    if twice := sorted({name for names in homes.values() for name in names} & set(homes)):
        raise ValueError(f"{package} offers {', '.join(twice)} of a module of the same name; rename the module.")
    home = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name in home:
            return getattr(importlib.import_module(f"{package}.{home[name]}"), name)
        # configurations name functions by the path of their module, which none of them imports
        if not name.startswith("_") and importlib.util.find_spec(f"{package}.{name}") is not None:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home})

    return get, names
