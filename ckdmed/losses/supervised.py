"""The losses that compare a prediction with its label, as the tasks take them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from monai.losses import DiceCELoss
from torch import nn

from ckdmed.losses.bce_dice import BCEDiceLoss
from ckdmed.losses.region_losses import BatchDiceBCELoss

__all__ = [
    "binary_cross_entropy",
    "class_weights_of",
    "supervised_classification_loss",
    "supervised_segmentation_loss",
]


def supervised_segmentation_loss(
    link: str = "sigmoid", skip_empty: bool = False, batch_dice: bool = False
) -> nn.Module:
    """Half cross entropy, half Dice (per sample and channel, stabiliser 1e-5), on logits.

    Args:
        link: "sigmoid" for one mask or overlapping regions (target of the logits' shape), "softmax" for exclusive
            classes (target (B, 1, *spatial) of class indices; MONAI's ``DiceCELoss``, which for several channels takes
            the softmax cross entropy whatever its ``sigmoid`` says, and so does not serve the other link).
        skip_empty: with "sigmoid": leave out of the Dice the samples in which a region is empty. Slices mostly have no
            enhancing tumour, and a student that sees little of it in its one modality learns from their Dice, 1 for
            any false positive, to predict nothing.
        batch_dice: in place of the halves the sum of the cross entropy and of a Dice over the whole batch with squared
            denominators, see :class:`BatchDiceBCELoss`.

    Raises:
        ValueError: unknown link; ``skip_empty`` with exclusive classes or with ``batch_dice``, which leaves no sample
            out.
    """
    if skip_empty and batch_dice:
        raise ValueError("skip_empty leaves samples out, but batch_dice takes the Dice over all of them.")
    if link == "sigmoid":
        return BatchDiceBCELoss() if batch_dice else BCEDiceLoss(skip_empty=skip_empty)
    if link != "softmax":
        raise ValueError(f"link must be 'sigmoid' or 'softmax', got {link!r}.")
    if skip_empty:
        raise ValueError("skip_empty is for overlapping regions (link 'sigmoid').")
    weight = 1.0 if batch_dice else 0.5
    return DiceCELoss(
        softmax=True,
        to_onehot_y=True,
        squared_pred=batch_dice,
        batch=batch_dice,
        lambda_dice=weight,
        lambda_ce=weight,
        smooth_nr=1e-5,
        smooth_dr=1e-5,
    )


class _BinaryCrossEntropy(nn.BCEWithLogitsLoss):
    """torch's, for masks of any type: its own takes none but those of the logits' type."""

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return super().forward(input, target.to(input.dtype))


def binary_cross_entropy() -> nn.Module:
    """Mean binary cross entropy on logits, the supervised term of the reports' first total."""
    return _BinaryCrossEntropy()


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
                f"balanced class weights need samples of all {num_classes} classes; their counts are "
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
