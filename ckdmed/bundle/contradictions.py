"""Entries of components that were given another value than the setting that they follow beside others.

``--train#trainer#max_epochs 3`` would leave the learning rate's schedule with the ``epochs`` of before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from monai.bundle.reference_resolver import ReferenceResolver

from ckdmed.bundle.effective_settings import content_at
from ckdmed.bundle.settings_table import settings_for

__all__ = ["contradictions"]

_SEPARATOR = "::"
#: entries in which one component may differ from another without either being wrong
_OF_ITS_OWN = frozenset(
    {
        *("amp", "batch_size", "cache", "cache_dir", "cache_rate", "device", "last", "num_workers", "seed"),
        *("val_interval", "weight_decay", "workers"),
        # how much an epoch draws: a teacher may draw more than its student
        *("num_samples", "slices_per_epoch"),
        # the windows of a validation may be larger than the patches of the training
        "window_inferer::roi_size",
    }
)


def contradictions(
    config: Mapping[str, Any],
    declared: Mapping[str, Any],
    given: Mapping[str, Any],
    value_of: Callable[[str], Any],
) -> list[str]:
    """A sentence for each entry of a component that contradicts a setting, with the setting to give in its place.

    An entry follows a setting where its bundle's file has ``@epochs`` and the like for it. Whoever replaces a whole
    component has its entries in hand; who replaces all that follows the setting, too.

    Args:
        config: content of the configuration with what is given.
        declared: the same without it.
        given: id -> value of what is given.
        value_of: the value of a setting.
    """
    table, found = settings_for(config), []
    everything = list(_texts(config))
    for name, value in given.items():
        id_ = ReferenceResolver.normalize_id(name)
        follows = content_at(declared, id_)
        setting = follows[1:] if isinstance(follows, str) and follows.startswith("@") else None
        if setting not in table or _SEPARATOR not in id_ or _is_of_its_own(id_):
            continue
        if value == follows or value == value_of(setting):
            continue
        others = [
            other
            for other, text in everything
            if other != id_ and setting in ReferenceResolver.match_refs_pattern(text)
        ]
        if others:
            shown = ", ".join(_typed(other) for other in others[:3]) + (" and others" if len(others) > 3 else "")
            found.append(
                f"--{_typed(id_)} {value} contradicts the setting {setting}, which is also read by {shown}: give "
                f"--{setting} {value} instead."
            )
    return found


def _is_of_its_own(id_: str) -> bool:
    last = id_.split(_SEPARATOR)[-2:]
    return last[-1] in _OF_ITS_OWN or _SEPARATOR.join(last) in _OF_ITS_OWN


def _typed(id_: str) -> str:
    return id_.replace(_SEPARATOR, "#")


def _texts(value: Any, id_: str = "") -> Iterator[tuple[str, str]]:
    """The id of every text, with the text."""
    if isinstance(value, str):
        yield id_, value
    elif isinstance(value, (Mapping, list)):
        for key, entry in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _texts(entry, f"{id_}{_SEPARATOR}{key}" if id_ else str(key))
