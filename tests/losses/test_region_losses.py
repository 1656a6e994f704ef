from __future__ import annotations

import math

import pytest
import torch
from monai.losses import DiceLoss
from torch.nn import functional

from ckdmed.losses import REGION_LOSSES, BatchDiceBCELoss, BCEDiceLoss, RegionCombinationLoss, region_loss


def softplus(value: float) -> float:
    return math.log(1 + math.exp(value))


def test_combination_by_hand() -> None:
    # p 1/2, 1/2, 3/4 against 1, 0, 1: overlap 5/4, sizes 7/4 and 2
    logits = torch.tensor([0.0, 0.0, math.log(3)], dtype=torch.float64).reshape(1, 1, 3)
    target = torch.tensor([1, 0, 1]).reshape(1, 1, 3)
    dice, jaccard = 1 - 2.5 / 3.75, 1 - 1.25 / 2.5
    entropy = (2 * softplus(0) + softplus(-math.log(3))) / 3
    value = RegionCombinationLoss(stab=1e-12)(logits, target)
    assert value.item() == pytest.approx((dice + jaccard + entropy) / 3, abs=1e-10)


@pytest.mark.parametrize("batch", [True, False])
def test_combination_is_that_of_monais_parts(batch: bool) -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 5, 4), (torch.rand(2, 3, 5, 4) > 0.6).float()
    # MONAI's Jaccard is 1 - 2 overlap / (2 union), with the same stabiliser on both
    parts = [DiceLoss(sigmoid=True, jaccard=jaccard, batch=batch)(logits, target) for jaccard in (False, True)]
    parts.append(functional.binary_cross_entropy_with_logits(logits, target))
    torch.testing.assert_close(RegionCombinationLoss(batch)(logits, target), sum(parts) / 3, rtol=0, atol=1e-6)


def test_combination_forgives_a_false_alarm_on_an_empty_slice() -> None:
    """One slice found whole, one empty with a single false position."""
    target = torch.zeros(2, 1, 20)
    target[0, :, :10] = 1.0
    logits = 60 * (2 * target - 1)
    logits[1, 0, 0] = 60.0
    entropy = 60 / 40
    together, alone = (3 * RegionCombinationLoss(batch)(logits, target).item() - entropy for batch in (True, False))
    assert together == pytest.approx((1 - 20 / 21) + (1 - 10 / 11), abs=1e-4)
    assert alone == pytest.approx((0 + 1) / 2 + (0 + 1) / 2, abs=1e-4)


@pytest.mark.parametrize("batch", [True, False])
def test_combination_counts_what_the_mask_says(batch: bool) -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 6), (torch.rand(2, 3, 6) > 0.5).float()
    mask = torch.tensor([1.0, 1, 1, 1, 0, 0]).expand(2, 1, 6)
    loss = RegionCombinationLoss(batch)
    torch.testing.assert_close(loss(logits, target, mask=mask), loss(logits[..., :4], target[..., :4]))


def test_combination_gradient() -> None:
    torch.manual_seed(0)
    target = (torch.rand(2, 2, 3, 3) > 0.5).double()
    logits = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: RegionCombinationLoss()(z, target), (logits,))


def test_batch_dice_by_hand() -> None:
    # p 1/2, 1/2 | 3/4, 1/2 of two samples against 1, 0 | 1, 0: overlap 5/4, squares 1/4 + 1/4 + 9/16 + 1/4 and 2
    logits = torch.tensor([0.0, 0.0, math.log(3), 0.0], dtype=torch.float64).reshape(2, 1, 2)
    target = torch.tensor([1, 0, 1, 0]).reshape(2, 1, 2)
    dice, entropy = 1 - 2.5 / (21 / 16 + 2), (3 * softplus(0) + softplus(-math.log(3))) / 4
    assert BatchDiceBCELoss(stab=1e-12)(logits, target).item() == pytest.approx(dice + entropy, abs=1e-10)


def test_batch_dice_is_that_of_monais_parts_and_counts_what_the_mask_says() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 5, 4), (torch.rand(2, 3, 5, 4) > 0.6).float()
    dice = DiceLoss(sigmoid=True, squared_pred=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5)(logits, target)
    entropy = functional.binary_cross_entropy_with_logits(logits, target)
    loss = BatchDiceBCELoss()
    torch.testing.assert_close(loss(logits, target), dice + entropy)
    mask = torch.tensor([1.0, 1, 1, 0]).expand(2, 1, 5, 4)
    torch.testing.assert_close(loss(logits, target, mask=mask), loss(logits[..., :3], target[..., :3]))


def test_batch_dice_gradient() -> None:
    torch.manual_seed(0)
    target = (torch.rand(2, 2, 3, 3) > 0.5).double()
    logits = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: BatchDiceBCELoss()(z, target), (logits,))


@pytest.mark.parametrize("kind", REGION_LOSSES)
@pytest.mark.parametrize("dims", [2, 3])
def test_every_kind_falls_towards_the_truth(kind: str, dims: int) -> None:
    torch.manual_seed(0)
    loss, target = region_loss(kind), (torch.rand(2, 3, *(4,) * dims) > 0.5).float()
    sure, unsure, wrong = (loss(scale * (2 * target - 1), target).item() for scale in (20.0, 0.5, -2.0))
    assert 0 <= sure < 1e-3 < unsure < wrong
    logits = torch.zeros_like(target, requires_grad=True)
    loss(logits, target).backward()
    assert logits.grad is not None and bool(((logits.grad < 0) == (target > 0)).all())


def test_parts_of_the_bundles_loss() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 5, 5), (torch.rand(2, 3, 5, 5) > 0.5).float()
    half = (region_loss("dice")(logits, target) + region_loss("bce")(logits, target)) / 2
    torch.testing.assert_close(region_loss()(logits, target), half)
    assert isinstance(region_loss(), BCEDiceLoss)


def test_tversky_minds_a_miss_more() -> None:
    target = torch.tensor([1.0, 1, 0, 0]).reshape(1, 1, 4)
    miss = region_loss("tversky")(torch.tensor([9.0, -9, -9, -9]).reshape(1, 1, 4), target)
    alarm = region_loss("tversky")(torch.tensor([9.0, 9, 9, -9]).reshape(1, 1, 4), target)
    # 1 found, 1 missed: 1 - 1 / (1 + 0.7); 2 found, 1 false: 1 - 2 / (2 + 0.3)
    assert miss.item() == pytest.approx(1 - 1 / 1.7, abs=1e-3)
    assert alarm.item() == pytest.approx(1 - 2 / 2.3, abs=1e-3)


def test_refusals() -> None:
    with pytest.raises(
        ValueError, match="bce_dice, combination, dice, bce, dice_focal, tversky, batch_dice_bce, got 'focal'"
    ):
        region_loss("focal")
    with pytest.raises(ValueError, match="stab is 0"):
        RegionCombinationLoss(stab=0)
    with pytest.raises(ValueError, match="stab is -1"):
        BatchDiceBCELoss(stab=-1)
    loss, logits = RegionCombinationLoss(), torch.zeros(1, 3, 4)
    with pytest.raises(ValueError, match="they must be equal"):
        loss(logits, torch.zeros(1, 1, 4))
    with pytest.raises(ValueError, match=r"values from 0 to 2; \[0, 1\] is needed"):
        loss(logits, torch.full((1, 3, 4), 2).index_fill_(2, torch.tensor(0), 0))
    with pytest.raises(ValueError, match="needs spatial axes"):
        loss(torch.zeros(2, 3), torch.zeros(2, 3))
