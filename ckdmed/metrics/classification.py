from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from monai.metrics import compute_roc_auc

__all__ = [
    "classification_scores",
    "confusion_matrix",
    "expected_calibration_error",
    "patient_probabilities",
    "patients_of_several_classes",
    "scores_from_confusion",
]


def classification_scores(
    probabilities: np.ndarray | torch.Tensor, labels: np.ndarray | torch.Tensor | Sequence[int], n_bins: int = 15
) -> dict[str, Any]:
    """Every score of a classifier over a set of slices (or patients); accuracy 1 and ECE 0 when certain and right.

    The predicted class is the most probable one (the first of equals). With M[i, j] the number of items of class i
    predicted as j: accuracy = trace / sum; recall of i = M[i, i] / row sum; precision = M[i, i] / column sum;
    F1 = 2 M[i, i] / (row sum + column sum); balanced accuracy = mean recall over the classes that occur. AUC is one
    class against the rest. NaN where a denominator is 0: the precision of a class never predicted, the recall and
    AUC of a class that does not occur.

    Args:
        probabilities: (N, C), each row non-negative and of sum 1; not logits.
        labels: (N,) true classes 0 .. C-1.
        n_bins: bins of the expected calibration error, see there.

    Returns:
        ``n``, ``accuracy``, ``balanced_accuracy``, ``macro_f1``, ``macro_auc`` (means over classes where defined),
        ``ece``, ``nll``, ``precision``, ``recall``, ``f1``, ``auc``, ``support`` (lists by class) and ``confusion``
        (list of lists, rows the truth).

    Raises:
        ValueError: when the shapes do not fit, a row is not a distribution, or a label is out of range.

    Source: Fawcett, An introduction to ROC analysis, 2006; AUC by MONAI's compute_roc_auc.
    """
    prob, y = checked_distributions(probabilities, labels)
    matrix = confusion_matrix(prob.argmax(axis=1), y, prob.shape[1])
    scores = {name: value.tolist() for name, value in scores_from_confusion(matrix).items()}
    auc = _one_vs_rest_auc(prob, y)
    true_probability = prob[np.arange(len(y)), y]
    return {
        "n": len(y),
        **scores,
        "macro_auc": float(np.nanmean(auc)) if not np.isnan(auc).all() else float("nan"),
        "auc": auc.tolist(),
        "ece": expected_calibration_error(prob, y, n_bins),
        # the floor keeps one confident error from making the mean infinite; it is the smallest normal float32
        "nll": float(-np.log(np.maximum(true_probability, np.finfo(np.float32).tiny)).mean()),
        "support": matrix.sum(axis=1).tolist(),
        "confusion": matrix.tolist(),
    }


def confusion_matrix(predicted: Sequence[int] | np.ndarray, labels: Sequence[int] | np.ndarray, n: int) -> np.ndarray:
    """Counts (n, n): entry [i, j] is the number of items of true class i that were predicted as j.

    Raises:
        ValueError: when the lengths differ or a class is outside 0 .. n-1.
    """
    p, y = np.asarray(predicted), np.asarray(labels)
    if p.shape != y.shape or p.ndim != 1:
        raise ValueError(
            f"predicted and labels must be two lists of the same length, got shapes {p.shape} and {y.shape}"
        )
    for name, values in (("predicted", p), ("labels", y)):
        if values.size and (values.min() < 0 or values.max() >= n or not np.equal(values, values.astype(int)).all()):
            raise ValueError(f"{name} must be whole numbers from 0 to {n - 1}, got {values.min()} to {values.max()}")
    return np.bincount(y.astype(int) * n + p.astype(int), minlength=n * n).reshape(n, n)


def scores_from_confusion(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy, balanced accuracy, macro F1, precision, recall and F1 of confusion matrices (..., C, C).

    Leading axes are kept, so that thousands of resampled matrices go through at once. NaN where undefined.
    """
    m = np.asarray(matrix, dtype=float)
    hits, true, predicted = np.diagonal(m, axis1=-2, axis2=-1), m.sum(axis=-1), m.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision, f1 = hits / true, hits / predicted, 2 * hits / (true + predicted)
        accuracy = hits.sum(axis=-1) / true.sum(axis=-1)
    return {
        "accuracy": accuracy,
        "balanced_accuracy": _mean_defined(recall),
        "macro_f1": _mean_defined(f1),
        "precision": precision,
        "recall": recall,
        "f1": f1,
    }


def expected_calibration_error(
    probabilities: np.ndarray | torch.Tensor, labels: np.ndarray | torch.Tensor | Sequence[int], n_bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over bins of confidence; 0 when they agree in every bin.

    ECE = sum over bins of (n_bin / N) |accuracy of the bin - mean confidence of the bin|, with ``n_bins`` bins of equal
    width over (0, 1], each closed above, and confidence the largest probability.

    Args:
        probabilities: (N, C) distributions.
        labels: (N,) true classes.
        n_bins: 15 as in the source; fewer for small sets, where empty and nearly empty bins inflate the value.

    Raises:
        ValueError: when ``n_bins`` < 1, or as ``classification_scores``.

    Source: Guo et al., On calibration of modern neural networks, ICML 2017, equation 5.
    """
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    prob, y = checked_distributions(probabilities, labels)
    confidence, right = prob.max(axis=1), (prob.argmax(axis=1) == y).astype(float)
    # inner edges only, so that a confidence of 1 + rounding stays in the last bin
    bins = np.digitize(confidence, np.linspace(0, 1, n_bins + 1)[1:-1], right=True)
    gaps = np.bincount(bins, weights=right - confidence, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(y))


def patient_probabilities(
    probabilities: np.ndarray | torch.Tensor,
    labels: np.ndarray | torch.Tensor | Sequence[int],
    patients: Sequence[Hashable],
) -> tuple[np.ndarray, np.ndarray, list[Hashable]]:
    """One distribution per patient: the mean of the distributions of the patient's slices.

    Args:
        probabilities: (N, C) distributions of the slices.
        labels: (N,) true classes of the slices.
        patients: (N,) the patient of each slice.

    Returns:
        (P, C) probabilities, (P,) labels, and the patients in the order of their first slice.

    Raises:
        ValueError: when a patient's slices carry different labels, ``patients`` is not of length N, or as
            ``classification_scores``.
    """
    prob, y = checked_distributions(probabilities, labels)
    if len(patients) != len(y):
        raise ValueError(f"there are {len(patients)} patients for {len(y)} slices; name the patient of every slice")
    order = list(dict.fromkeys(patients))
    position = {patient: i for i, patient in enumerate(order)}
    index = np.array([position[patient] for patient in patients])
    counts = np.bincount(index)
    means = np.stack([np.bincount(index, weights=column) for column in prob.T], axis=1) / counts[:, None]
    patient_labels = np.zeros(len(order), dtype=int)
    patient_labels[index] = y
    if mixed := patients_of_several_classes(patients, y):
        raise ValueError(f"slices of one patient carry different labels: {list(map(str, mixed))[:5]}")
    return means, patient_labels, order


def patients_of_several_classes(
    patients: Sequence[Hashable], labels: np.ndarray | Sequence[Hashable]
) -> list[Hashable]:
    """The patients whose slices have different labels, and who so have no class of their own, sorted by their names.

    Args:
        patients: (N,) the patient of each slice.
        labels: (N,) classes of the slices.
    """
    found: dict[Hashable, set[Hashable]] = {}
    for patient, label in zip(patients, labels, strict=True):
        found.setdefault(patient, set()).add(label)
    return sorted((patient for patient, own in found.items() if len(own) > 1), key=str)


def _one_vs_rest_auc(prob: np.ndarray, y: np.ndarray) -> np.ndarray:
    values = []
    for c in range(prob.shape[1]):
        truth = y == c
        if truth.all() or not truth.any():
            values.append(float("nan"))
            continue
        auc: Any = compute_roc_auc(torch.from_numpy(prob[:, c]), torch.from_numpy(truth.astype(int)))
        values.append(float(auc))
    return np.array(values)


def _mean_defined(values: np.ndarray) -> np.ndarray:
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(defined, values, 0).sum(axis=-1) / defined.sum(axis=-1)


def checked_distributions(
    probabilities: np.ndarray | torch.Tensor, labels: np.ndarray | torch.Tensor | Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    prob = _numpy(probabilities).astype(float)
    y = _numpy(labels)
    if prob.ndim != 2 or prob.shape[1] < 2 or not len(prob) or y.shape != (len(prob),):
        raise ValueError(
            f"probabilities must be (N, C) with C >= 2 and labels (N,), got shapes {prob.shape} and {y.shape}"
        )
    if not np.isfinite(prob).all() or prob.min() < -1e-6 or np.abs(prob.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError("each row of probabilities must be non-negative and sum to 1; apply softmax to logits first")
    if y.min() < 0 or y.max() >= prob.shape[1] or not np.equal(y, y.astype(int)).all():
        raise ValueError(f"labels must be whole numbers from 0 to {prob.shape[1] - 1}, got {y.min()} to {y.max()}")
    return prob, y.astype(int)


def _numpy(values: np.ndarray | torch.Tensor | Sequence[int]) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
