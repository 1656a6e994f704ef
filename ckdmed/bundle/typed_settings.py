"""Settings as they were typed on the command line of this process, before Python's rules were applied to them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fire.parser import DefaultParseValue
from monai.bundle.reference_resolver import ReferenceResolver
from monai.utils import ensure_tuple

__all__ = ["named_files", "taken_from", "typed_path", "typed_settings"]

# words that stand for those of this process's command line
_TAKEN: list[Sequence[str]] = []


@contextmanager
def taken_from(words: Sequence[str]) -> Iterator[None]:
    """Take the settings from words as ``monai.bundle run`` is given them, for a command that is typed otherwise."""
    _TAKEN.append(words)
    try:
        yield
    finally:
        _TAKEN.pop()


def typed_settings() -> Mapping[str, str | None]:
    """Name -> text of every ``--name text`` and ``--name=text`` of ``monai.bundle run`` or ``ckdmed run``.

    None where no text follows a name. Empty for another command, whose options are not the settings of a bundle.
    """
    found: dict[str, str | None] = {}
    words = _TAKEN[-1] if _TAKEN else sys.argv[1:]
    for position, word in enumerate(words):
        if not word.startswith("-") or _is_number(word):
            continue
        name, equals, value = word.lstrip("-").partition("=")
        following = words[position + 1] if position + 1 < len(words) else None
        if following is not None and following.startswith("-") and not _is_number(following):
            following = None
        # as fire has it, which hands MONAI the settings
        found[name.replace("-", "_")] = value if equals else following
    return found if "config_file" in found else {}


def named_files() -> list[Path]:
    """The configuration files that the command line names, a later one over an earlier one."""
    named = DefaultParseValue(typed_settings().get("config_file") or "None")
    return [Path(str(path)) for path in ensure_tuple(named) if path]


def typed_path(name: str, value: Any) -> Any:
    """The text that was typed for a path, where ``value`` was made of it.

    ``fire`` makes a number of 2018 and a tuple of ``a,b``, and MONAI ``a::b`` of ``a#b``.

    Args:
        name: of the setting.
        value: as MONAI has it; it is given back where it is no reading of what was typed.
    """
    typed = typed_settings().get(name)
    if typed is None or typed == value or typed[:1] in ("'", '"'):
        return value
    read = DefaultParseValue(typed)
    # None is what the word stands for
    if isinstance(read, str):
        return typed if ReferenceResolver.normalize_id(read) == value else value
    return typed if read is not None and type(read) is type(value) and read == value else value


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
