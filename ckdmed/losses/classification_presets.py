"""Ready-made totals for classification: ours, and that of the reports that the project started from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import nn

from ckdmed.losses.feature_mse import FeatureMSELoss
from ckdmed.losses.schedules import RampAndOff
from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import DistillationLoss, LossTerm

__all__ = [
    "CLASSIFICATION_PRESETS",
    "class_weights_of",
    "classification_distillation_loss",
    "supervised_classification_loss",
]


class _Weights(NamedTuple):
    alpha: float
    temperature: float
    beta: float


# alpha and T are the reports'; they give no beta.
CLASSIFICATION_PRESETS = {
    "ours": _Weights(alpha=0.1, temperature=4.0, beta=1.0),
    "report": _Weights(alpha=0.1, temperature=4.0, beta=1.0),
    "alone": _Weights(alpha=1.0, temperature=4.0, beta=0.0),
}


def class_weights_of(
    weights: str | Sequence[float] | None, labels: Iterable[int], num_classes: int
) -> list[float] | None:
    """Turn a setting into one weight per class.

    Args:
        weights: None for none; numbers, one per class; or "balanced": N / (C n_c) with n_c of the N labels in class c,
            so that every class has the same say and the mean weight over the labels is 1.
        labels: of the training samples, 0 to num_classes - 1; read for "balanced" only.
        num_classes: C.

    Raises:
        ValueError: another word, not one number per class, a number that is not above 0, or a class without samples.
    """
    if weights is None:
        return None
    if isinstance(weights, str):
        if weights != "balanced":
            raise ValueError(f"class weights must be null, 'balanced' or {num_classes} numbers, got {weights!r}.")
        counts = torch.bincount(torch.as_tensor(list(labels), dtype=torch.long), minlength=num_classes)
        if len(counts) != num_classes or int(counts.min()) == 0:
            raise ValueError(
                f"balanced class weights need samples of all {num_classes} classes; their numbers are "
                f"{counts.tolist()}. Give the weights as numbers."
            )
        return (counts.sum() / (num_classes * counts.double())).tolist()
    given = [float(weight) for weight in weights]
    if len(given) != num_classes or min(given) <= 0:
        raise ValueError(f"class weights must be {num_classes} numbers above 0, got {given}.")
    return given


def supervised_classification_loss(
    class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0
) -> nn.Module:
    """Cross entropy on logits (B, C); the target is class indices (B,) or, as mixup gives them, probabilities (B, C).

    Args:
        class_weights: one number above 0 per class.
        label_smoothing: share of the target that is spread over all classes, in [0, 1).

    Raises:
        ValueError: a share outside [0, 1).
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must lie in [0, 1), got {label_smoothing}.")
    weight = None if class_weights is None else torch.tensor(list(class_weights), dtype=torch.float32)
    return nn.CrossEntropyLoss(weight=weight, label_smoothing=label_smoothing)


def classification_distillation_loss(
    preset: str = "ours",
    layers: Sequence[str] = ("msgff",),
    alpha: float | None = None,
    temperature: float | None = None,
    beta: float | None = None,
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    supervised: nn.Module | None = None,
) -> DistillationLoss:
    """alpha CE + (1 - alpha) T^2 KL(teacher || student) + beta MSGFF, with any of a preset's numbers replaced.

    MSGFF is the squared distance between the last convolution of the teacher's VGG and a stage of the student, on the
    smaller grid of the two (adaptive average pooling).

    ======= ==================================================================================================
    preset  total
    ======= ==================================================================================================
    ours    alpha 0.1, T 4, beta 1; features normalised at each position, so that the term lies in [0, 4] whatever
            the networks' scales; the student's are projected to the teacher's channels; the term rises over
            the first tenth of the training and is off for the last tenth
    report  alpha 0.1, T 4, beta 1 (not published); features as they are; the projection is on the teacher's side. It is
            random, orthogonal and frozen: trained there, it and the student's features would shrink to nothing
    alone   cross entropy and nothing else: the control without a teacher
    ======= ==================================================================================================

    Label smoothing and class weights act on the cross entropy only; the teacher's word is taken as it is.

    Args:
        preset: "ours", "report" or "alone".
        layers: tap names for MSGFF; none switches it off, as beta 0 does.
        alpha: weight of the cross entropy, in [0, 1]; 1 - alpha is that of the soft targets.
        temperature: of the soft targets, above 0.
        beta: weight of MSGFF, not negative.
        class_weights, label_smoothing: see :func:`supervised_classification_loss`.
        supervised: a supervised loss in place of the cross entropy.

    Raises:
        ValueError: unknown preset, or alpha outside [0, 1].

    Source: the project's reports (S0, S2); soft targets: Hinton, Vinyals, Dean 2015 (arXiv 1503.02531).
    """
    if preset not in CLASSIFICATION_PRESETS:
        raise ValueError(f"preset must be one of {sorted(CLASSIFICATION_PRESETS)}, got {preset!r}.")
    given = {"alpha": alpha, "temperature": temperature, "beta": beta}
    chosen = CLASSIFICATION_PRESETS[preset]._replace(**{k: float(v) for k, v in given.items() if v is not None})
    if not 0 <= chosen.alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], got {chosen.alpha}.")
    report = preset == "report"
    terms = {
        "supervised": LossTerm(
            supervised or supervised_classification_loss(class_weights, label_smoothing), "target", chosen.alpha
        ),
        "soft_targets": LossTerm(KDLoss("softmax", temperature=chosen.temperature), "logits", 1.0 - chosen.alpha),
    }
    if layers:
        terms["msgff"] = LossTerm(
            FeatureMSELoss(normalize="none" if report else "channel_l2", resize="min"),
            "features",
            chosen.beta,
            layers=layers,
            schedule=None if report else RampAndOff(0.1, 0.9),
        )
    return DistillationLoss(
        {name: term for name, term in terms.items() if term.weight > 0},
        projection_side="teacher" if report else "student",
    )
