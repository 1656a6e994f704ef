"""Which identifiers belong to one person."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

# Six digits and ONE capital letter: the suffix of a further examination of the same person.
_SUFFIXED = re.compile(r"(MR\d{6})[A-Z]", flags=re.ASCII)


def patient_group(pid: str) -> str:
    """The person behind a patient identifier of the Figshare set.

    Some persons have several identifiers, `MR` and six digits with or without a letter: `MR040240`, `MR040240B`,
    `MR040240C`. The group is the identifier without that letter. Every other identifier is its own group: of numbers
    that follow one another nothing is known, and identifiers of other sets are left alone.

    Args:
        pid: identifier as stored in the file.

    Examples:
        >>> patient_group("MR040240B"), patient_group("101016"), patient_group("MR1B")
        ('MR040240', '101016', 'MR1B')
    """
    match = _SUFFIXED.fullmatch(pid)
    return match.group(1) if match else pid


def joined_groups(same: Iterable[Iterable[str]]) -> dict[str, str]:
    """Names of groups that belong together, each with the first of them in the alphabet.

    Args:
        same: sets of groups that are one; those with a group in common are one too.

    Examples:
        >>> joined_groups([["b", "c"], ["a", "b"], ["x", "y"]])
        {'b': 'a', 'c': 'a', 'a': 'a', 'y': 'x', 'x': 'x'}
    """
    members: dict[str, set[str]] = {}
    for groups in same:
        together: set[str] = set()
        for group in groups:
            together |= members.get(group, {group})
        for group in together:
            members[group] = together
    return {group: min(together) for group, together in members.items()}


def spelt_alike(groups: Iterable[str]) -> list[set[str]]:
    """Names of groups that differ by case, by spaces, or by spaces, hyphens and underscores for one another alone.

    Lists that were put together from several tables hold one person as `P-1`, `p_1` and `P 1 `. Numbers are left
    alone: `01` and `1` may be two persons.

    Returns:
        sets of two names or more.

    Examples:
        >>> [sorted(names) for names in spelt_alike(["P-1", "p_1 ", "P1", "P2"])]
        [['P-1', 'p_1 ']]
    """
    alike: dict[str, set[str]] = defaultdict(set)
    for group in groups:
        words = re.split(r"[\s_-]+", unicodedata.normalize("NFKC", group).casefold().strip())
        alike["_".join(words)].add(group)
    return [names for names in alike.values() if len(names) > 1]
