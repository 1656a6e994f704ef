"""Which settings take effect in a run, by following the references from what it begins with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from monai.bundle.reference_resolver import ReferenceResolver

__all__ = ["IneffectiveSettingError", "check_effect", "content_at", "ineffective", "reached", "strings"]

_SEPARATOR = "::"


class IneffectiveSettingError(ValueError):
    """A setting that the bundle has, and that this run never reads."""


def check_effect(
    config: Mapping[str, Any], given: Iterable[str], entry_points: Iterable[str], files: Iterable[str]
) -> None:
    """Refuse settings that change nothing in this run, such as ``--epochs`` in an evaluation.

    Args:
        config: content of all configuration files and settings, merged.
        given: ids of what was given. Those that the configuration does not have are somebody else's business.
        entry_points: ids of the lists that the run evaluates.
        files: names of the configuration files, for the message.

    Raises:
        IneffectiveSettingError: names each such setting.
    """
    found = ineffective(config, given, entry_points)
    if found:
        names = ", ".join(f"--{name.replace(_SEPARATOR, '#')}" for name in found)
        raise IneffectiveSettingError(
            f"{names}: no effect in this run, since nothing that {' with '.join(files)} builds or runs reads "
            f"{'it' if len(found) == 1 else 'them'}; leave {'it' if len(found) == 1 else 'them'} out."
        )


def ineffective(config: Mapping[str, Any], given: Iterable[str], entry_points: Iterable[str]) -> list[str]:
    """The ids of ``given`` that lie in ``config`` and in nothing that the entry points reach, sorted.

    All references of an expression count as read, those of the branch that is not taken too.
    """
    read = reached(config, entry_points)
    ids = {ReferenceResolver.normalize_id(name) for name in given}
    # the top of the configuration has to have it: the rest of a command line is no setting
    return sorted(id_ for id_ in ids if id_.split(_SEPARATOR)[0] in config and not _touches(id_, read))


def strings(value: Any) -> Iterator[str]:
    """Every text in nested mappings and lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from strings(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from strings(entry)


def reached(config: Mapping[str, Any], entry_points: Iterable[str]) -> set[str]:
    """The ids that ids of a configuration refer to, over any number of steps, and these themselves."""
    found: set[str] = set()
    waiting = list(entry_points)
    while waiting:
        id_ = waiting.pop()
        if id_ not in found:
            found.add(id_)
            for text in strings(content_at(config, id_)):
                waiting.extend(ReferenceResolver.match_refs_pattern(text))
    return found


def content_at(config: Any, id_: str) -> Any:
    """What lies at an id; None where nothing does, of which MONAI tells."""
    for part in id_.split(_SEPARATOR):
        if isinstance(config, Mapping):
            config = config.get(part)
        elif isinstance(config, list) and part.isdecimal() and int(part) < len(config):
            config = config[int(part)]
        else:
            return None
    return config


def _touches(id_: str, reached: set[str]) -> bool:
    """Whether it is reached itself, with the section around it, or by an entry of its own."""
    parts = id_.split(_SEPARATOR)
    around = {_SEPARATOR.join(parts[: i + 1]) for i in range(len(parts))}
    return bool(around & reached) or any(other.startswith(id_ + _SEPARATOR) for other in reached)
