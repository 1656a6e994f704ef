from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import torch

from .bootstrap import percentile_limits, resample_groups
from .classification import checked_distributions, scores_from_confusion

__all__ = ["classification_intervals"]


def classification_intervals(
    probabilities: np.ndarray | torch.Tensor,
    labels: np.ndarray | torch.Tensor | Sequence[int],
    patients: Sequence[Hashable],
    n: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    n_bins: int = 15,
) -> dict[str, list[float]]:
    """Bootstrap intervals over patients of every single-number score of ``classification_scores``.

    Whole patients are drawn with replacement and each score is computed anew from the drawn slices: from resampled
    confusion matrices (accuracy, balanced accuracy, macro F1), bin sums (ECE) and weighted ranks (AUC). A draw in which
    a score is undefined (a class did not occur) averages over the classes that did.

    Args:
        probabilities: (N, C) distributions.
        labels: (N,) true classes.
        patients: (N,) the patient of each item.
        n, level, seed: see ``bootstrap_interval``.
        n_bins: of the expected calibration error.

    Returns:
        {"accuracy": [low, high], "balanced_accuracy", "macro_f1", "macro_auc", "ece"}; NaN for fewer than two patients.

    Raises:
        ValueError: when ``patients`` is not of length N, ``n`` < 1, ``level`` is not between 0 and 1, or as
            ``classification_scores``.
    """
    prob, y = checked_distributions(probabilities, labels)
    if len(patients) != len(y):
        raise ValueError(f"there are {len(patients)} patients for {len(y)} items; name the patient of every item")
    if n < 1 or not 0 < level < 1:
        raise ValueError(f"n must be at least 1 and level between 0 and 1, got n={n}, level={level}")
    names = sorted(set(patients), key=str)
    position = {name: i for i, name in enumerate(names)}
    group = np.array([position[patient] for patient in patients])
    n_groups, n_classes = len(names), prob.shape[1]
    if n_groups < 2:
        return {key: [float("nan")] * 2 for key in ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc", "ece")}

    predicted, confidence = prob.argmax(axis=1), prob.max(axis=1)
    matrices = np.zeros((n_groups, n_classes * n_classes))
    np.add.at(matrices, (group, y * n_classes + predicted), 1)
    gaps = np.zeros((n_groups, n_bins))
    bins = np.digitize(confidence, np.linspace(0, 1, n_bins + 1)[1:-1], right=True)
    np.add.at(gaps, (group, bins), (predicted == y) - confidence)

    draws: dict[str, list[np.ndarray]] = {}
    # the widest array below has one column per item, so the blocks are sized by items
    for index in resample_groups(n_groups, n, seed, width=max(n_groups, len(y))):
        times = _counts(index, n_groups)
        matrix = (times @ matrices).reshape(-1, n_classes, n_classes)
        scores = scores_from_confusion(matrix)
        block = {key: scores[key] for key in ("accuracy", "balanced_accuracy", "macro_f1")}
        block["ece"] = np.abs(times @ gaps).sum(axis=1) / matrix.sum(axis=(1, 2))
        weights = times[:, group]
        auc = np.stack([_weighted_auc(prob[:, c], y == c, weights) for c in range(n_classes)], axis=1)
        defined = ~np.isnan(auc)
        with np.errstate(invalid="ignore"):
            block["macro_auc"] = np.where(defined, auc, 0).sum(axis=1) / defined.sum(axis=1)
        for key, values in block.items():
            draws.setdefault(key, []).append(values)
    return {key: list(percentile_limits(np.concatenate(parts), level)) for key, parts in draws.items()}


def _counts(index: np.ndarray, n_groups: int) -> np.ndarray:
    """How often each group was drawn, (draws, groups)."""
    offset = np.arange(len(index))[:, None] * n_groups
    return np.bincount((index + offset).ravel(), minlength=len(index) * n_groups).reshape(-1, n_groups).astype(float)


def _weighted_auc(score: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUC of each row of weights (draws, N): the weighted share of pairs in order, equal scores counting half."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])
    up = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    down = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
    below = np.cumsum(down, axis=1) - 0.5 * down
    pairs = up.sum(axis=1) * down.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, (up * below).sum(axis=1) / pairs, np.nan)
