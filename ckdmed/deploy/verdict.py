"""What a form changes on held-out slices, and whether it may be used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from monai.utils import CommonKeys
from tqdm import tqdm

from ckdmed.deploy.held_out import BundleData, Run
from ckdmed.sections.spread import spread_items

__all__ = ["Changes", "Limits", "changes_of", "problems"]


@dataclass(frozen=True)
class Limits:
    """How much an int8 form may change.

    Args:
        mean_drop: of mean Dice or accuracy.
        worst_drop: of one slice's Dice; of a classifier, of one slice's probability of its true class.
        changed: share of slices whose mask agrees with the float32 network's by a Dice below 0.95, or whose class is
            another.
    """

    mean_drop: float = 0.005
    worst_drop: float = 0.05
    changed: float = 0.05

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 <= value <= 1:
                raise ValueError(f"the limit {name} must be in [0, 1], got {value}.")


SAME_MASK = 0.95


@dataclass(frozen=True)
class Changes:
    """What a form gives on slices beside the float32 network in PyTorch.

    Args:
        metric: "Dice per slice" or "accuracy".
        before, after: its mean over slices (and regions) in which there is a tumour or one was found, by the network
            and by the form.
        worst_drop: see `Limits`; 0 where no slice got worse.
        worst_slice: which slice that is.
        changed: share of changed slices.
        slices: how many there are.
        probability_difference: the largest anywhere.
        first_changed: some of the changed slices.
    """

    metric: str
    before: float
    after: float
    worst_drop: float
    worst_slice: str
    changed: float
    slices: int
    probability_difference: float
    first_changed: Sequence[str] = field(default_factory=tuple)


def problems(changes: Changes, limits: Limits) -> list[str]:
    """Why a form fails; empty where it passes."""
    found = []
    if not math.isfinite(changes.probability_difference):
        found.append("its logits are not all numbers")
    if (drop := changes.before - changes.after) > limits.mean_drop:
        found.append(f"mean {changes.metric} falls by {drop:.4f} (allowed {limits.mean_drop:g})")
    if changes.worst_drop > limits.worst_drop:
        found.append(
            f"slice {changes.worst_slice} loses {changes.worst_drop:.3f} (allowed {limits.worst_drop:g} per slice)"
        )
    if changes.changed > limits.changed:
        found.append(f"{changes.changed:.1%} of the slices are changed (allowed {limits.changed:.1%})")
    return found


def changes_of(
    forms: dict[str, Run], reference: Run, data: BundleData, count: int | None = None, progress: bool = True
) -> dict[str, Changes]:
    """Judge forms on the held-out items of a bundle's data.

    Args:
        forms: name -> form.
        reference: the float32 network.
        data: of the bundle.
        count: of items at most, as many of each patient; all by default.
        progress: whether to show a bar.

    Returns:
        name -> what it changes.
    """
    items = list(data.held_out) if count is None else spread_items(data.held_out, count)
    rows: dict[str, list[_Row]] = {name: [] for name in forms}
    measure = _of_masks if data.finish is not None else _of_classes
    for number, raw in enumerate(tqdm(items, desc="judging", unit="item", leave=False, disable=not progress)):
        item = data.prepare(raw)
        name = str(raw.get("id", raw.get("case", number))) if isinstance(raw, dict) else str(number)
        expected = data.logits(item, reference)
        for form, run in forms.items():
            rows[form] += measure(data, item, name, expected, data.logits(item, run))
    # of slices in bundles of cases as well, whose evaluation scores whole cases
    metric = "Dice per slice" if data.finish is not None else "accuracy"
    return {name: _summary(metric, found) for name, found in rows.items()}


@dataclass(frozen=True)
class _Row:
    """One slice: scores of both, what one slice may lose, whether it is changed, largest difference; NaN for none."""

    name: str
    before: float
    after: float
    drop: float
    changed: bool
    difference: float


def _summary(metric: str, rows: Sequence[_Row]) -> Changes:
    before, after, drops = (np.array([getattr(row, key) for row in rows]) for key in ("before", "after", "drop"))
    worst = int(np.nanargmax(drops)) if np.isfinite(drops).any() else 0
    changed = list(dict.fromkeys(row.name for row in rows if row.changed))
    names = len({row.name for row in rows})
    return Changes(
        metric=metric,
        before=float(np.nanmean(before)) if np.isfinite(before).any() else float("nan"),
        after=float(np.nanmean(after)) if np.isfinite(after).any() else float("nan"),
        worst_drop=max(0.0, float(np.nan_to_num(drops[worst]))),
        worst_slice=rows[worst].name,
        changed=len(changed) / names,
        slices=names,
        # unlike max, NaN stays NaN
        probability_difference=float(np.max([row.difference for row in rows])),
        first_changed=tuple(changed[:5]),
    )


def _of_classes(data: BundleData, item: Any, name: str, expected: torch.Tensor, got: torch.Tensor) -> list[_Row]:
    label = int(item[CommonKeys.LABEL])
    first, second = (torch.softmax(logits.float(), -1) for logits in (expected, got))
    classes = int(first.argmax()), int(second.argmax())
    row = _Row(
        name,
        float(classes[0] == label),
        float(classes[1] == label),
        float(first[label] - second[label]),
        classes[0] != classes[1],
        float((first - second).abs().max()),
    )
    return [row]


def _of_masks(data: BundleData, item: Any, name: str, expected: torch.Tensor, got: torch.Tensor) -> list[_Row]:
    first, second = (_by_slice(data.masks(item, logits)) for logits in (expected, got))
    truth = _by_slice(np.asarray(item[CommonKeys.LABEL]) > 0)
    difference = float((torch.sigmoid(expected.float()) - torch.sigmoid(got.float())).abs().max())
    rows = []
    for number in range(truth.shape[-1]):
        for region in range(len(truth)):
            masks = [values[region, ..., number] for values in (truth, first, second)]
            if not any(mask.any() for mask in masks):
                continue
            before, after = _dice(masks[0], masks[1]), _dice(masks[0], masks[2])
            changed = _dice(masks[1], masks[2]) < SAME_MASK
            label = f"{name}[{number}]" if truth.shape[-1] > 1 else name
            rows.append(_Row(label, before, after, before - after, changed, difference))
    nan = float("nan")
    return rows or [_Row(name, nan, nan, nan, False, difference)]


def _by_slice(masks: np.ndarray) -> np.ndarray:
    """(R, H, W, S) of a case, (R, H, W) of a slice."""
    return masks[..., None] if masks.ndim == 3 else masks


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    """1 where both are empty, as a mask that says rightly that there is nothing."""
    total = int(one.sum()) + int(other.sum())
    return 1.0 if total == 0 else 2 * int((one & other).sum()) / total
