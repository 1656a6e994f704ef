"""Splits by patient group, stratified by class: seeded, and the same on every machine."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ckdmed.counted import counted

GROUP_KEY = "patient_group"
CLASS_KEY = "tumor_label"
_ATTEMPTS = 16
_MAX_SWEEPS = 100


def hash_order(names: Sequence[str], seed: int, salt: str = "") -> list[str]:
    """The names in an order that depends on the seed, not on their given order, library or platform.

    It is the order of SHA-256("seed:salt:name"), so the relative order of two names stays when others are added.
    """
    return sorted(names, key=lambda name: (hashlib.sha256(f"{seed}:{salt}:{name}".encode()).digest(), name))


def split_by_group(
    groups: Sequence[str], labels: Sequence[int], fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0
) -> list[list[int]]:
    """Split items into sections so that no group is in two, with each class shared out by the fractions.

    Groups are dealt in a seeded order to the section that lacks most and then moved singly while that lowers

        imbalance = sum over sections s and columns c of (n[s,c] - fraction[s] * N[c])^2 / (fraction[s] * N[c] * N)

    where n and N count items and the columns are the classes and all items together. Of 16 such attempts the best
    is kept.
    A section without any group counts more than every imbalance, a section without a class nearly as much: a class
    with at least as many groups as there are sections is in all of them (where a group holds one class only), at the
    cost of the fractions in very small sets.

    Args:
        groups: the group of each item.
        labels: the class of each item.
        fractions: the share of each section, each >= 0, sum 1. A section of share 0 stays empty.
        seed: any integer.

    Returns:
        for each section the ascending indices of its items.

    Raises:
        ValueError: lengths differ; fractions are negative, not finite or do not sum to 1; fewer groups than sections of
            a share above 0.

    Examples:
        >>> split_by_group(["a", "a", "b", "c"], [1, 1, 1, 1], (0.5, 0.25, 0.25))[0]
        [0, 1]
    """
    if len(groups) != len(labels):
        raise ValueError(f"groups and labels must have the same length, got {len(groups)} and {len(labels)}.")
    shares = np.asarray(fractions, dtype=np.float64)
    if shares.ndim != 1 or not np.isfinite(shares).all() or (shares < 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(f"fractions must be >= 0 and sum to 1, got {tuple(fractions)}.")
    names = sorted(set(groups))
    used = np.flatnonzero(shares > 0)
    if len(names) < len(used):
        raise ValueError(
            f"{counted(len(names), 'patient group')} cannot fill {len(used)} sections; give more, or 0 as the "
            "fraction of a section that may stay empty."
        )
    counts = _count(groups, labels, names)
    best: tuple[float, dict[str, int]] | None = None
    for attempt in range(_ATTEMPTS):
        order = hash_order(names, seed, str(attempt))
        cost, section_of = _deal(order, counts, shares[used])
        if best is None or cost < best[0] - 1e-8:
            best = cost, section_of
    assignment = best[1] if best else {}
    sections: list[list[int]] = [[] for _ in shares]
    for index, group in enumerate(groups):
        sections[used[assignment[group]]].append(index)
    return sections


def _count(groups: Sequence[str], labels: Sequence[int], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Items of each class, and of all classes together in the last column, for each group."""
    column = {label: i for i, label in enumerate(sorted(set(labels)))}
    counts = {name: np.zeros(len(column) + 1) for name in names}
    for group, label in zip(groups, labels, strict=True):
        counts[group][column[label]] += 1
        counts[group][-1] += 1
    return counts


def _deal(order: Sequence[str], counts: dict[str, np.ndarray], shares: np.ndarray) -> tuple[float, dict[str, int]]:
    totals = np.sum([counts[name] for name in order], axis=0)
    target = shares[:, None] * totals
    # The larger a section, the worse that a class is missing there: a single group of a class goes to training.
    missing_cost = np.repeat(1e4 * (1 + shares)[:, None], len(totals), axis=1)
    missing_cost[:, -1] *= 1e2

    def costs(filled: np.ndarray) -> np.ndarray:
        """Cost of each section; `filled` is (..., sections, columns)."""
        return ((filled - target) ** 2 / (target * totals[-1]) + missing_cost * (filled <= 0)).sum(axis=-1)

    filled = np.zeros_like(target)
    section_of: dict[str, int] = {}
    for name in order:
        gain = costs(filled) - costs(filled + counts[name])
        section_of[name] = int(np.argmax(gain))
        filled[section_of[name]] += counts[name]
    for _ in range(_MAX_SWEEPS):
        moved = False
        for name in order:
            source = section_of[name]
            now = costs(filled)
            leave = now[source] - costs(filled - counts[name])[source]
            gain = leave + now - costs(filled + counts[name])
            gain[source] = 0.0
            best = int(np.argmax(gain))
            if gain[best] > 1e-8:
                filled[source] -= counts[name]
                filled[best] += counts[name]
                section_of[name] = best
                moved = True
        if not moved:
            break
    return float(costs(filled).sum()), section_of


def k_folds(groups: Sequence[str], labels: Sequence[int], k: int = 5, seed: int = 0) -> list[list[int]]:
    """k sections of equal share by `split_by_group`: every item is in exactly one.

    Raises:
        ValueError: k is below 2 or above the number of groups; lengths differ.
    """
    if k < 2:
        raise ValueError(f"k must be at least 2, got {k}.")
    if k > (patients := len(set(groups))):
        raise ValueError(f"{counted(patients, 'patient group')} cannot fill {k} folds; give more, or fewer folds.")
    return split_by_group(groups, labels, [1 / k] * k, seed)


def check_fold(fold: int, n_folds: int) -> None:
    """Raise ValueError unless a fold can be the test section of so many, beside others that validate and train."""
    if n_folds < 3:
        raise ValueError(f"n_folds must be at least 3 (training, validation and test), got {n_folds}.")
    if not 0 <= fold < n_folds:
        raise ValueError(f"fold must be 0 to {n_folds - 1}, got {fold}.")


def sections_of_fold(
    items: Sequence[dict[str, Any]], fold_of: Sequence[int | None], fold: int, n_folds: int
) -> list[list[dict[str, Any]]]:
    """Training, validation and test: test is the fold, validation the next one, training the rest.

    Args:
        items: in any order.
        fold_of: the fold of each, None for one that stays in training.
        fold, n_folds: see :func:`check_fold`.
    """
    validation_fold = (fold + 1) % n_folds
    test = [item for item, f in zip(items, fold_of, strict=True) if f == fold]
    validation = [item for item, f in zip(items, fold_of, strict=True) if f == validation_fold]
    train = [item for item, f in zip(items, fold_of, strict=True) if f not in (fold, validation_fold)]
    return [train, validation, test]


def check_no_group_crosses(sections: Mapping[str, Sequence[Mapping[str, Any]]], key: str = GROUP_KEY) -> None:
    """Make sure that no group has items in two sections.

    Args:
        sections: name of the section to its items.
        key: the key of the group in an item.

    Raises:
        ValueError: an item lacks the key, or a group is in two or more sections (all such groups are counted, the
            first are named with their sections).
    """
    seen: dict[str, set[str]] = defaultdict(set)
    for name, items in sections.items():
        for item in items:
            if key not in item:
                raise ValueError(f"An item of section '{name}' has no '{key}': {dict(item)}.")
            seen[str(item[key])].add(name)
    crossing = {group: names for group, names in seen.items() if len(names) > 1}
    if crossing:
        shown = "; ".join(f"'{g}' is in {', '.join(sorted(names))}" for g, names in sorted(crossing.items())[:5])
        cross = "crosses" if len(crossing) == 1 else "cross"
        raise ValueError(f"{counted(len(crossing), 'patient group')} {cross} a split: {shown}.")


def stored_folds(items: Sequence[Mapping[str, Any]], n_folds: int) -> list[int] | None:
    """The folds that all items of a datalist hold under ``fold``; None where these are not `n_folds`.

    Raises:
        ValueError: they part a patient, be it that both folds are for training beside the one that is tested.
    """
    if {item.get("fold") for item in items} != set(range(n_folds)):
        return None
    folds = {f"fold {fold}": [item for item in items if item["fold"] == fold] for fold in range(n_folds)}
    try:
        check_no_group_crosses(folds)
    except ValueError as error:
        raise ValueError(
            f"the folds of the datalist split patients: {error} Give all items of a patient the same 'fold', or leave "
            "'fold' out of all items to have folds drawn."
        ) from error
    return [item["fold"] for item in items]


def labelled_subset(items: Sequence[Mapping[str, Any]], fraction: float, seed: int = 0) -> list[bool]:
    """Choose the patients whose labels may be used, class by class.

    Within each class the groups stand in a seeded order, and the shortest run from its start is taken whose number of
    items is nearest to fraction * (items of the class), at least one group. So the subset for a smaller fraction lies
    inside the subset for a larger one with the same seed. A group of several classes counts to its commonest one.

    Args:
        items: with the keys `patient_group` and `tumor_label`.
        fraction: above 0, at most 1.
        seed: any integer.

    Returns:
        for each item whether it is labelled.

    Raises:
        ValueError: the fraction is outside (0, 1].
    """
    if not (math.isfinite(fraction) and 0 < fraction <= 1):
        raise ValueError(f"fraction must be above 0 and at most 1, got {fraction}.")
    names = sorted({str(item[GROUP_KEY]) for item in items})
    counts = _count([str(item[GROUP_KEY]) for item in items], [item[CLASS_KEY] for item in items], names)
    by_class: dict[int, list[str]] = defaultdict(list)
    for name in hash_order(names, seed, "labelled"):
        by_class[int(np.argmax(counts[name][:-1]))].append(name)
    chosen: set[str] = set()
    for members in by_class.values():
        sizes = np.cumsum([counts[name][-1] for name in members])
        chosen.update(members[: int(np.argmin(np.abs(sizes - fraction * sizes[-1]))) + 1])
    return [str(item[GROUP_KEY]) in chosen for item in items]
