"""The supervised term against MONAI's, which it equals for one channel and not for several."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss

from ckdmed.losses import BatchDiceBCELoss, BCEDiceLoss, HardPseudoLabelLoss, RegionCombinationLoss, SoftDiceKDLoss

P = torch.tensor([0.9, 0.2, 0.8, 0.1], dtype=torch.float64).view(1, 1, 2, 2)
Y = torch.tensor([1.0, 0, 1, 0], dtype=torch.float64).view(1, 1, 2, 2)
S = torch.tensor([0.0, 1, -2, 3], dtype=torch.float64).view(1, 1, 2, 2)
TARGET = torch.tensor([1.0, 1, 0, 0], dtype=torch.float64).view(1, 1, 2, 2)


def supervised() -> DiceCELoss:
    return DiceCELoss(sigmoid=True, lambda_dice=0.5, lambda_ce=0.5, smooth_nr=1e-5, smooth_dr=1e-5)


@pytest.mark.parametrize(("stab", "expected"), [(1.0, 0.12), (1e-5, 0.14999963)])
def test_dice_of_probabilities(stab: float, expected: float) -> None:
    assert DiceLoss(smooth_nr=stab, smooth_dr=stab)(P, Y).item() == pytest.approx(expected, abs=1e-7)


def test_dice_of_logits_leaves_its_range() -> None:
    value = DiceLoss(smooth_nr=1e-5, smooth_dr=1e-5)(torch.logit(P), Y).item()
    assert value == pytest.approx(-2.58350602, abs=1e-4)
    assert 0 <= DiceLoss(sigmoid=True, smooth_nr=1e-5, smooth_dr=1e-5)(torch.logit(P), Y).item() <= 1


def test_the_supervised_term() -> None:
    dice = DiceLoss(sigmoid=True, smooth_nr=1e-5, smooth_dr=1e-5)(S, TARGET)
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits(S, TARGET)
    assert dice.item() == pytest.approx(0.42779096, abs=1e-7)
    assert cross_entropy.item() == pytest.approx(1.04548106, abs=1e-7)
    assert supervised()(S, TARGET).item() == pytest.approx(0.73663601, abs=1e-7)


def test_dice_is_taken_per_sample_and_channel() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64)
    labels = (torch.rand(3, 2, 4, 4, generator=generator, dtype=torch.float64) > 0.7).double()
    separate = [
        supervised()(logits[b : b + 1, c : c + 1], labels[b : b + 1, c : c + 1]) for b in range(3) for c in range(2)
    ]
    mean = torch.stack(separate).mean().item()
    assert BCEDiceLoss()(logits, labels).item() == pytest.approx(mean, abs=1e-12)
    # MONAI's cross entropy is a softmax one as soon as there are two channels, whatever sigmoid=True says
    dice = DiceLoss(sigmoid=True, smooth_nr=1e-5, smooth_dr=1e-5)(logits, labels)
    softmax_entropy = torch.nn.functional.cross_entropy(logits, labels)
    assert supervised()(logits, labels).item() == pytest.approx(0.5 * (dice + softmax_entropy).item(), abs=1e-12)
    assert abs(supervised()(logits, labels).item() - mean) > 0.01


def test_one_channel_equals_monai() -> None:
    assert BCEDiceLoss()(S, TARGET).item() == pytest.approx(0.73663601, abs=1e-7)
    for stab in (1e-5, 1.0):
        theirs = DiceCELoss(sigmoid=True, lambda_dice=0.3, lambda_ce=0.7, smooth_nr=stab, smooth_dr=stab)
        logits, labels = torch.randn(3, 1, 4, 4, 4), (torch.rand(3, 1, 4, 4, 4) > 0.7).float()
        assert torch.allclose(BCEDiceLoss(0.7, 0.3, stab)(logits, labels), theirs(logits, labels), rtol=1e-6)


def test_empty_targets_can_be_left_out_of_the_dice() -> None:
    logits, labels = torch.randn(2, 1, 4, 4), (torch.rand(2, 1, 4, 4) > 0.5).float()
    labels[1] = 0
    only_dice = BCEDiceLoss(0, 1, skip_empty=True)
    assert torch.allclose(only_dice(logits, labels), BCEDiceLoss(0, 1)(logits[:1], labels[:1]))
    leaf = logits.clone().requires_grad_()
    only_dice(leaf, torch.zeros_like(labels)).backward()
    assert leaf.grad is not None and not leaf.grad.any()


def test_dice_of_an_empty_target_is_graded_by_the_stabiliser() -> None:
    logits = torch.full((1, 1, 4, 4), -4.0, dtype=torch.float64)
    size = torch.sigmoid(logits).sum().item()
    for stab in (1e-5, 1.0):
        value = DiceLoss(sigmoid=True, smooth_nr=stab, smooth_dr=stab)(logits, torch.zeros_like(logits)).item()
        assert value == pytest.approx(1 - stab / (size + stab), abs=1e-12)


def test_hard_pseudo_labels_use_it_on_the_teachers_decisions() -> None:
    teacher = torch.tensor([3.0, 0.5, -1, -5], dtype=torch.float64).view(1, 1, 2, 2)
    assert HardPseudoLabelLoss()(S, teacher).item() == pytest.approx(0.73663601, abs=1e-7)
    stricter = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64).view(1, 1, 2, 2)
    expected = supervised()(S, stricter).item()
    assert HardPseudoLabelLoss(threshold=0.7)(S, teacher).item() == pytest.approx(expected, abs=1e-12)


def test_hard_pseudo_labels_of_classes_are_the_most_likely_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    taken = HardPseudoLabelLoss(torch.nn.CrossEntropyLoss(), link="softmax")(student, teacher)
    expected = torch.nn.functional.cross_entropy(student, teacher.argmax(dim=1))
    assert taken.item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize(
    "loss",
    [
        BCEDiceLoss(),
        BCEDiceLoss(skip_empty=True),
        RegionCombinationLoss(),
        RegionCombinationLoss(batch=False),
        BatchDiceBCELoss(),
    ],
    ids=["bce_dice", "skip_empty", "combination", "combination_of_samples", "batch_dice_bce"],
)
def test_a_weight_of_two_counts_a_position_twice(loss: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 6, generator=generator, dtype=torch.float64)
    labels = (torch.rand(2, 3, 4, 6, generator=generator) > 0.5).double()
    mask = torch.ones(2, 1, 4, 6, dtype=torch.float64)
    mask[:, :, :, :2] = 2
    twice = [torch.cat([x, x[:, :, :, :2]], dim=3) for x in (logits, labels)]
    torch.testing.assert_close(loss(logits, labels, mask=mask), loss(*twice))
    # and what is right costs nothing whatever it weighs
    for weight in (0.5, 2.0):
        assert loss(60 * labels - 30, labels, mask=weight * mask).item() == pytest.approx(0, abs=1e-9)


def test_soft_dice_finds_what_the_teacher_finds_whatever_it_weighs() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 2, 1, 4, 6, generator=generator, dtype=torch.float64)
    loss = SoftDiceKDLoss("sigmoid", skip_empty=True)
    lightly = loss(student, teacher, mask=torch.full((2, 1, 4, 6), 0.4))
    torch.testing.assert_close(lightly, loss(student, teacher), atol=1e-4, rtol=1e-4)
