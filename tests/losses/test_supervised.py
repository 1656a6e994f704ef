"""The supervised losses of the tasks, and weights of classes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from ckdmed.losses import (
    BatchDiceBCELoss,
    BCEDiceLoss,
    class_weights_of,
    supervised_classification_loss,
    supervised_segmentation_loss,
)

STUDENT = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
LABELS = torch.tensor([0, 1])


def test_empty_regions_are_left_out_where_asked():
    loss = supervised_segmentation_loss(skip_empty=True)
    assert isinstance(loss, BCEDiceLoss) and loss.skip_empty
    assert not supervised_segmentation_loss().skip_empty
    with pytest.raises(ValueError, match="skip_empty is for overlapping regions"):
        supervised_segmentation_loss("softmax", skip_empty=True)
    with pytest.raises(ValueError, match="skip_empty leaves samples out, but batch_dice takes the Dice over all"):
        supervised_segmentation_loss(skip_empty=True, batch_dice=True)


def test_dice_over_the_batch_and_cross_entropy_add_up():
    assert isinstance(supervised_segmentation_loss(batch_dice=True), BatchDiceBCELoss)
    torch.manual_seed(0)
    logits, label = torch.randn(2, 3, 6, 6), torch.randint(0, 3, (2, 1, 6, 6))
    p, y = logits.softmax(1), F.one_hot(label[:, 0], 3).movedim(-1, 1).float()
    overlap, sizes = (p * y).sum((0, 2, 3)), (p**2 + y**2).sum((0, 2, 3))
    expected = (1 - 2 * overlap / sizes).mean() + F.cross_entropy(logits, label[:, 0])
    torch.testing.assert_close(supervised_segmentation_loss("softmax", batch_dice=True)(logits, label), expected)


def test_class_weights_and_smoothing_by_hand():
    weights, smoothing = [1.0, 3.0, 1.0], 0.3
    value = supervised_classification_loss(weights, smoothing)(STUDENT, LABELS)
    log_p = STUDENT.log_softmax(1)
    w = torch.tensor(weights)
    picked = -log_p[torch.arange(2), LABELS] * w[LABELS]
    spread = -(log_p * w).sum(1) / 3
    expected = ((1 - smoothing) * picked + smoothing * spread).sum() / w[LABELS].sum()
    assert float(value) == pytest.approx(float(expected), abs=1e-6)
    # one-hot targets, as mixup without mixing would give them
    soft = supervised_classification_loss(None, 0.0)(STUDENT, F.one_hot(LABELS, 3).float())
    assert float(soft) == pytest.approx(0.68281303, abs=1e-6)


def test_balanced_weights():
    assert class_weights_of("balanced", [0, 0, 0, 1, 2, 2], 3) == pytest.approx([6 / 9, 2.0, 1.0])
    labels = [0, 0, 0, 1, 2, 2]
    weights = class_weights_of("balanced", labels, 3)
    assert weights is not None and sum(weights[i] for i in labels) == pytest.approx(len(labels))
    assert class_weights_of(None, labels, 3) is None
    assert class_weights_of([1, 2, 3], labels, 3) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "weights, message",
    [
        ("even", "got 'even'"),
        ("balanced", r"\[2, 0, 1\]"),
        ([1.0, 2.0], "must be 3 numbers above 0"),
        ([1.0, 0.0, 2.0], "must be 3 numbers above 0"),
    ],
)
def test_bad_weights(weights: object, message: str):
    with pytest.raises(ValueError, match=message):
        class_weights_of(weights, [0, 0, 2], 3)  # type: ignore[arg-type]
