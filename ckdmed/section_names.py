"""The two names of the training section: runs call it ``train``, datalists in MONAI's form ``training``."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["section_in"]

_OTHER_NAME = {"train": "training", "training": "train"}


def section_in(sections: Collection[str], section: str) -> str:
    """The name that a section has among ``sections``, whichever of its names was given.

    Args:
        sections: the names there are.
        section: as a user gave it; a name that is none of them in either form is given back.
    """
    other = _OTHER_NAME.get(section, section)
    return other if section not in sections and other in sections else section
