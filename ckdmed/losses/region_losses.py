"""Supervised losses for overlapping regions by name, for configurations that try several."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.losses import DiceFocalLoss, TverskyLoss
from torch import nn

from ckdmed.losses.bce_dice import BCEDiceLoss
from ckdmed.losses.conventions import PairLoss, region_cross_entropy

__all__ = ["REGION_LOSSES", "BatchDiceBCELoss", "RegionCombinationLoss", "region_loss"]


class RegionCombinationLoss(PairLoss):
    """(Dice + Jaccard + binary cross entropy) / 3 for overlapping regions; zero for a sure, correct prediction.

    The reading of `CombinationLoss` where classes do not exclude each other: p = sigmoid per channel, y the mask of
    the region. Dice loss 1 - (2 sum p y + stab) / (sum p + sum y + stab), Jaccard loss 1 - (sum p y + stab) /
    (sum p + sum y - sum p y + stab), per channel, then the mean; cross entropy as the mean over batch, channels and
    positions. A reconstruction: the published loss is for exclusive classes only.

    Args:
        batch: whether the sums run over the batch as well, as in the published code, or over each sample alone. With
            slices, of which many lack a region, the sums of samples alone make a single false voxel on such a slice
            cost as much as a missed tumour.
        stab: > 0; the default is that of `BCEDiceLoss`.

    Shape:
        student: raw logits [B, C, *S]; second input: mask in [0, 1] (bool and integer too) of the same shape;
        mask [B, 1, *S]. Returns a scalar.

    Raises:
        ValueError: unequal shapes; no spatial axes; a label map with values outside [0, 1]; stab <= 0.

    Source:
        after Ahmad et al. 2024, MTCM-KD (Knowledge-Based Systems 297) and its code.
    """

    def __init__(self, batch: bool = True, stab: float = 1e-5) -> None:
        super().__init__()
        if not stab > 0:
            raise ValueError(f"stab is {stab}; it must be above 0.")
        self.batch = batch
        self.stab = stab

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        cross_entropy = region_cross_entropy(student, teacher, mask)
        weight = 1.0 if mask is None else mask
        p, y = torch.sigmoid(student) * weight, teacher * weight
        dims = [*([0] if self.batch else []), *range(2, student.ndim)]
        overlap, sizes = (p * teacher).sum(dim=dims), p.sum(dim=dims) + y.sum(dim=dims)
        dice = 1 - (2 * overlap + self.stab) / (sizes + self.stab)
        jaccard = 1 - (overlap + self.stab) / (sizes - overlap + self.stab)
        return (dice.mean() + jaccard.mean() + cross_entropy) / 3


class BatchDiceBCELoss(PairLoss):
    """Dice over the whole batch with squared denominators, and binary cross entropy, added up; zero as `BCEDiceLoss`.

    p = sigmoid per channel, y the mask of the region. Dice loss 1 - (2 sum p y + stab) / (sum p^2 + sum y^2 + stab) per
    channel, the sums over the batch and all positions, then the mean; cross entropy as the mean over batch, channels
    and positions. For several regions MONAI's ``DiceCELoss`` takes the cross entropy of a softmax, see `BCEDiceLoss`.

    Args:
        stab: > 0; the default is that of `BCEDiceLoss`.

    Shape:
        student: raw logits [B, C, *S]; second input: mask in [0, 1] (bool and integer too) of the same shape;
        mask [B, 1, *S]. Returns a scalar.

    Raises:
        ValueError: unequal shapes; no spatial axes; a label map with values outside [0, 1]; stab <= 0.

    Source:
        Lachinov et al. 2019 (arXiv 2002.03688) and its code, which has a stabiliser of 2e-6 and weighs the cross
        entropy of the background by 0.005; here all positions count alike.
    """

    def __init__(self, stab: float = 1e-5) -> None:
        super().__init__()
        if not stab > 0:
            raise ValueError(f"stab is {stab}; it must be above 0.")
        self.stab = stab

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        cross_entropy = region_cross_entropy(student, teacher, mask)
        weight = 1.0 if mask is None else mask
        p, y = torch.sigmoid(student), teacher
        dims = [0, *range(2, student.ndim)]
        overlap, sizes = (weight * p * y).sum(dim=dims), (weight * (p**2 + y**2)).sum(dim=dims)
        dice = 1 - (2 * overlap + self.stab) / (sizes + self.stab)
        return dice.mean() + cross_entropy


REGION_LOSSES: dict[str, Callable[[], nn.Module]] = {
    "bce_dice": BCEDiceLoss,
    "combination": RegionCombinationLoss,
    "dice": lambda: BCEDiceLoss(bce_weight=0.0, dice_weight=1.0),
    "bce": lambda: BCEDiceLoss(bce_weight=1.0, dice_weight=0.0),
    "dice_focal": lambda: DiceFocalLoss(sigmoid=True, gamma=2.0),
    "tversky": lambda: TverskyLoss(sigmoid=True, alpha=0.3, beta=0.7),
    "batch_dice_bce": BatchDiceBCELoss,
}


def region_loss(kind: str = "bce_dice") -> nn.Module:
    """A supervised loss on raw logits and masks of overlapping regions, both (B, C, *spatial).

    ============== =================================================================================
    kind           loss
    ============== =================================================================================
    bce_dice       half cross entropy, half Dice: `BCEDiceLoss`, the bundles' own
    combination    Dice, Jaccard and cross entropy in equal parts: `RegionCombinationLoss`
    dice, bce      the one or the other alone
    dice_focal     MONAI's `DiceFocalLoss`, gamma 2
    tversky        MONAI's `TverskyLoss`, which with 0.3 and 0.7 minds a miss more than a false alarm
    batch_dice_bce Dice over the whole batch and cross entropy, added up: `BatchDiceBCELoss`
    ============== =================================================================================

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in REGION_LOSSES:
        raise ValueError(f"the loss must be one of {', '.join(REGION_LOSSES)}, got {kind!r}.")
    return REGION_LOSSES[kind]()
