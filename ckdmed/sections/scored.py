"""Whom an evaluation scores."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ckdmed.data.splits import GROUP_KEY
from ckdmed.section_names import section_in
from ckdmed.sections.record import NEW, SectionOverlapError, find_record, item_name, known_to, listed

__all__ = ["scored_items"]

logger = logging.getLogger(__name__)


def scored_items(
    sections: Mapping[str, Sequence[Mapping[str, Any]]],
    section: str,
    beside: str | None = None,
) -> list[Mapping[str, Any]]:
    """The items of the section that an evaluation scores: those with an answer, that is ``labelled``.

    An item of the training section may have none: its mask is then empty, and its class the first one, for a loss that
    looks at neither.

    Args:
        sections: of a bundle's data.
        section: "test", "validation", "train" (or "training"), or "new" for patients that came after the training.
        beside: a further checkpoint that is scored together with that of the sections.

    Raises:
        ValueError: no such section, or nothing is in it.
        SectionOverlapError: the further checkpoint was trained or chosen on patients of the section "test" or "new".
    """
    section = section_in(sections, section)
    if section not in sections:
        why = "; the checkpoint has no record of its patients, so it is unknown who is new" if section == NEW else ""
        raise ValueError(f"there is no section '{section}', only {', '.join(sections)}{why}.")
    items = [item for item in sections[section] if item.get("labelled", True)]
    if items and (without := len(sections[section]) - len(items)):
        logger.warning(f"left out {without} of {len(sections[section])} in the section {section}, which have no label")
    if not items:
        others = ", ".join(f"{name} {len(part)}" for name, part in sections.items())
        raise ValueError(
            f"the section '{section}' has nothing to score (items of each: {others}); choose another one with "
            "--section."
        )
    learned = {item_name(item) for item in items} & {item_name(item) for item in sections.get("train", ())}
    if section != "train" and learned:
        logger.warning(
            f"the network was trained on {len(learned)} of {len(items)} in the section {section} "
            "(train_on_validation): its scores say nothing about unseen patients"
        )
    if beside is not None and section in ("test", NEW):
        _check_scored_beside(beside, items, section)
    return items


def _check_scored_beside(checkpoint: str, items: Sequence[Mapping[str, Any]], section: str) -> None:
    other = find_record(checkpoint)
    if other is None:
        logger.warning(
            f"{checkpoint} has no record of its patients; whether it was trained on those that are scored is unknown"
        )
        return
    if other.by_item:
        used = {*other.items["train"], *other.items["validation"]}
        known = sorted({item_name(item) for item in items} & used)
    else:
        known = known_to(other, {str(item[GROUP_KEY]): [str(item["patient"])] for item in items})
    if known:
        raise SectionOverlapError(
            f"{checkpoint} was trained or chosen on {len(known)} of the section {section} ({listed(known)}; see "
            f"{other.path}), so it cannot be scored on them: give one that was trained on the same split."
        )
