"""Binary cross entropy and Dice in one supervised term."""

from __future__ import annotations

import torch
from monai.losses import DiceLoss

from ckdmed.losses.conventions import PairLoss, region_cross_entropy

__all__ = ["BCEDiceLoss"]


class BCEDiceLoss(PairLoss):
    """Supervised loss for a binary mask or for overlapping regions; zero for a sure, correct prediction.

    w_bce * BCE(z, y) + w_dice * Dice(sigmoid(z), y). BCE is the mean over batch, channels and positions, Dice is
    1 - (2 sum p y + stab) / (sum p + sum y + stab) per sample and channel, then the mean.

    For one channel this is MONAI's `DiceCELoss(sigmoid=True)` with the same weights. For several channels it is not:
    there `DiceCELoss` pairs the sigmoid Dice with a softmax cross entropy over the channels, which is wrong where
    regions overlap.

    Args:
        bce_weight: w_bce >= 0.
        dice_weight: w_dice >= 0.
        stab: > 0. At 1e-5 any false positive on an empty target costs about 1; at 1 the cost is graded by its size.
        skip_empty: leave samples and channels with an empty target out of the Dice mean (BCE still sees them).
        ignore_index: label in `target` whose positions do not count.

    Shape:
        student: raw logits [B, C, *S]; second input: mask in [0, 1] (bool and integer too) of the same shape;
        mask [B, 1, *S]. Returns a scalar.

    Raises:
        ValueError: unequal shapes; no spatial axes; a label map with values outside [0, 1]; negative weights;
            stab <= 0.
    """

    def __init__(
        self,
        bce_weight: float = 0.5,
        dice_weight: float = 0.5,
        stab: float = 1e-5,
        skip_empty: bool = False,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        if bce_weight < 0 or dice_weight < 0:
            raise ValueError(f"bce_weight is {bce_weight} and dice_weight {dice_weight}; neither may be negative.")
        if not stab > 0:
            raise ValueError(f"stab is {stab}; it must be above 0.")
        self.bce_weight = bce_weight
        self.dice_weight = dice_weight
        self.skip_empty = skip_empty
        self.dice = DiceLoss(smooth_nr=stab, smooth_dr=stab, reduction="none")

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        cross_entropy = region_cross_entropy(student, teacher, mask)
        if mask is None:
            overlap_loss = self.dice(torch.sigmoid(student), teacher).flatten(1)
        else:
            # MONAI's masked Dice multiplies both sides, and so its overlap by the weight's square
            p = torch.sigmoid(student)
            overlap, size = ((x * mask).flatten(2).sum(dim=2) for x in (p * teacher, p + teacher))
            overlap_loss = 1 - (2 * overlap + self.dice.smooth_nr) / (size + self.dice.smooth_dr)
        if self.skip_empty:
            present = (teacher if mask is None else teacher * mask).flatten(2).sum(dim=2) > 0
            dice = (overlap_loss * present).sum() / present.sum().clamp_min(1)
        else:
            dice = overlap_loss.mean()
        return self.bce_weight * cross_entropy + self.dice_weight * dice
