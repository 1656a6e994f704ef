"""What a teacher does not know, put right by the label to first order."""

from __future__ import annotations

import torch

from ckdmed.losses.conventions import check_temperature
from ckdmed.losses.label_forms import LabelledLogitsLoss

__all__ = ["LossCorrection"]


class LossCorrection(LabelledLogitsLoss):
    """The correction of soft targets for the error of the teacher's probabilities; to be added to them.

    With p the teacher's probabilities (T = 1), p_T those at the temperature, y the label and z the student's logits,
    the soft targets l(z, p) = T^2 KL(p_T || softmax(z / T)) are corrected by (y - p)' (d/dp d/dz l)' z, that is

    softmax link: - sum_c r_c p_T,c (z_c - sum_j p_T,j z_j), r_c = (y_c - p_c) / max(p_c, floor);
    sigmoid link: - (y - p) p_T (1 - p_T) / max(p (1 - p), floor) z of each channel,

    as a mean over samples and positions (and channels). It is linear in z and may be negative; it is zero where the
    teacher's probabilities are the label. At T = 1, added to the soft targets, the gradient is that of the label; a
    weight below 1 lies between the teacher's bias and the label's noise.

    Args:
        link: "softmax", "sigmoid", or "auto" (one channel only).
        temperature: of the soft targets that are corrected.
        floor: lower bound of the denominators, above 0: the correction of a class that the teacher rules out would be
            of any size.

    Shape:
        student, teacher: raw logits [B, C] or [B, C, *S]. target: of the softmax link class indices [B], [B, 1, *S], or
        probabilities of the logits' shape; of the sigmoid link masks of the logits' shape.

    Raises:
        ValueError: a temperature or a floor that is not above 0; a link that does not fit; unequal shapes.

    Source:
        After Dao et al. 2021 (arXiv 2104.09732), section 4: a Neyman-orthogonal form of the loss. The derivative of
        the tempered divergence, the clipping by ``floor`` and the sigmoid link are derived here.
    """

    def __init__(self, link: str = "auto", temperature: float = 1.0, floor: float = 0.05) -> None:
        super().__init__(link)
        self.temperature = check_temperature(temperature)
        if floor <= 0:
            raise ValueError(f"floor is {floor}; it must be above 0.")
        self.floor = floor

    def compare(self, z: torch.Tensor, t: torch.Tensor, label: torch.Tensor, link: str) -> torch.Tensor:
        if link == "sigmoid":
            p, soft = torch.sigmoid(t), torch.sigmoid(t / self.temperature)
            slope = soft * (1 - soft) / (p * (1 - p)).clamp_min(self.floor)
            return -((label - p) * slope * z).mean()
        p, soft = torch.softmax(t, dim=1), torch.softmax(t / self.temperature, dim=1)
        error = (label - p) / p.clamp_min(self.floor)
        centred = z - (soft * z).sum(dim=1, keepdim=True)
        return -(error * soft * centred).sum(dim=1).mean()
