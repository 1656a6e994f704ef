"""What values a setting may have: each kind turns what was given, a command line's text too, into such a value."""

from __future__ import annotations

import difflib
import math
import numbers
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from ckdmed.section_names import section_in

__all__ = [
    "Kind",
    "LateKind",
    "boolean",
    "choice",
    "device",
    "either",
    "list_of",
    "mapping",
    "mapping_of",
    "nothing",
    "number",
    "path",
    "section_name",
    "text",
    "whole",
]

_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True)
class Kind:
    """A kind of values.

    Args:
        legal: what a value of it is, such as "a whole number from 1 on".
        convert: gives the value, unchanged where it is one already; raises ValueError or TypeError for another.
        is_path: a file or folder, whose name is taken as it was typed.
        is_function: a component of one's own in its place is handed over as a function, instead of being called.
    """

    legal: str
    convert: Callable[[Any], Any]
    is_path: bool = False
    is_function: bool = False


class LateKind(Kind):
    """A kind that is made when it is first used: what it needs is imported by those bundles alone that have it.

    Args:
        make: the kind.
        is_function: see :class:`Kind`.
    """

    def __init__(self, make: Callable[[], Kind], is_function: bool = False) -> None:
        object.__setattr__(self, "made", cache(make))
        object.__setattr__(self, "is_function", is_function)

    made: Callable[[], Kind]

    @property
    def legal(self) -> str:  # type: ignore[override]
        """As the made kind has it."""
        return self.made().legal

    @property
    def convert(self) -> Callable[[Any], Any]:  # type: ignore[override]
        """As the made kind has it."""
        return self.made().convert


def boolean() -> Kind:
    """True or false, or one of the words true, yes, on, 1, false, no, off, 0 in any case."""

    def convert(value: Any) -> bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, (str, int)) and str(value).lower() in _WORDS:
            return _WORDS[str(value).lower()]
        raise ValueError

    return Kind("true or false", convert)


def whole(low: int | None = None, high: int | None = None, multiple: int = 1) -> Kind:
    """A whole number of at least ``low`` and at most ``high``, and a multiple of ``multiple``."""

    def convert(value: Any) -> int:
        found = _real(value)
        if found != int(found) or not _within(found, low, high) or int(found) % multiple:
            raise ValueError
        return int(found)

    return Kind(("a whole number" if multiple == 1 else f"a multiple of {multiple}") + _range(low, high), convert)


def number(low: float | None = None, high: float | None = None, above: bool = False, below: bool = False) -> Kind:
    """A finite number in [low, high]; ``above`` and ``below`` leave out the lower and the upper end."""

    def convert(value: Any) -> float:
        found = _real(value)
        if not _within(found, low, high) or (above and found == low) or (below and found == high):
            raise ValueError
        return found

    return Kind("a number" + _range(low, high, above, below), convert)


def choice(*words: Any) -> Kind:
    """One of the words, written exactly so."""

    def convert(value: Any) -> Any:
        if isinstance(value, bool) or value not in words:
            near = difflib.get_close_matches(str(value).lower(), [str(word) for word in words], n=1)
            raise ValueError(f"did you mean '{near[0]}'?" if near else "")
        return value

    return Kind("one of " + ", ".join(map(str, words)), convert)


def text(legal: str = "a name") -> Kind:
    """Any text but an empty one."""

    def convert(value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise ValueError
        return value

    return Kind(legal, convert)


def section_name() -> Kind:
    """The name of a section; that of the training is ``train``, whichever of its two names is given."""
    plain = text("the name of a section")
    return Kind(plain.legal, lambda value: section_in({"train"}, plain.convert(value)))


def path(legal: str) -> Kind:
    """A file or folder, there or not; what looks for it says so."""

    def convert(value: Any) -> str:
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if not isinstance(value, str) or not value.strip():
            raise ValueError
        return value

    return Kind(legal, convert, is_path=True)


def device() -> Kind:
    """A device of PyTorch that this machine has."""

    def convert(value: Any) -> Any:
        try:
            found = torch.device(value)
        except RuntimeError as error:
            raise ValueError(str(error).splitlines()[0]) from error
        if found.type == "cuda" and not torch.cuda.is_available():
            raise ValueError("PyTorch finds no CUDA device here.")
        return value

    return Kind("a device of PyTorch, such as cpu or cuda:0", convert)


def mapping(legal: str) -> Kind:
    """Names with values, which the constructor that takes them checks."""

    def convert(value: Any) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise ValueError
        return value

    return Kind(legal, convert)


def mapping_of(kind: Kind, legal: str) -> Kind:
    """Names with values of a kind each."""

    def convert(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ValueError
        found = {}
        for name, entry in value.items():
            try:
                found[str(name)] = kind.convert(entry)
            except (TypeError, ValueError, OverflowError) as error:
                raise ValueError(f"For '{name}' it must be {kind.legal}, got {entry!r}.") from error
        return found

    return Kind(legal, convert)


def nothing() -> Kind:
    """``null`` for none."""

    def convert(value: Any) -> None:
        if value is not None and not (isinstance(value, str) and value.lower() == "null"):
            raise ValueError

    return Kind("null", convert)


def list_of(kind: Kind, what: str, length: int | None = None, different: bool = False, empty: bool = False) -> Kind:
    """A list of values of a kind; a single value is a list of one.

    Args:
        kind: of each.
        what: they are, in the plural.
        length: how many there must be; None for any number.
        different: none stands twice.
        empty: whether there may be none.
    """

    def convert(value: Any) -> list[Any]:
        given = [value] if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence) else value
        found = [kind.convert(entry) for entry in given]
        if not (found or empty) or (length is not None and len(found) != length):
            raise ValueError
        if different and any(entry in found[:n] for n, entry in enumerate(found)):
            raise ValueError("one appears twice.")
        return found

    many = "a list of" if length is None else f"a list of {length}"
    none = "an empty list or " if empty else ""
    return Kind(f"{none}{many} {'different ' if different else ''}{what}, each {kind.legal}", convert)


def either(*kinds: Kind) -> Kind:
    """A value of one of several kinds; the first that takes it counts."""

    def convert(value: Any) -> Any:
        hints = []
        for kind in kinds:
            try:
                return kind.convert(value)
            except (TypeError, ValueError, OverflowError) as error:
                hints.append(str(error))
        raise ValueError(next((hint for hint in hints if hint.endswith(("?", "."))), ""))

    return Kind(" or ".join(kind.legal for kind in kinds), convert, any(kind.is_path for kind in kinds))


def _real(value: Any) -> Any:
    if isinstance(value, str):
        # quotes on a command line, or a file of arguments, leave a number a text
        value = int(value) if value.strip().lstrip("+-").isdigit() else float(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise ValueError
    return value


def _within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def _range(low: float | None, high: float | None, above: bool = False, below: bool = False) -> str:
    lower = "" if low is None else f" above {low:g}" if above else f" of at least {low:g}"
    upper = "" if high is None else f" below {high:g}" if below else f" of at most {high:g}"
    return lower + (" and" if lower and upper else "") + upper
