"""What a student learns from a peer on an image that was translated to look like its own."""

from __future__ import annotations

import torch

from ckdmed.losses.conventions import PairLoss
from ckdmed.losses.total import LossTerm, NetworkOutput

__all__ = ["ALIGNED", "AlignedResponseTerm"]

#: name of the student's logits for the translated image, among its features
ALIGNED = "aligned"


class AlignedResponseTerm(LossTerm):
    """A term between the student's and the teacher's logits for one translated image.

    :class:`~ckdmed.engines.AlignedTrainer` runs both networks on it and leaves the student's logits among its features,
    as `ALIGNED`; the teacher's output is of that image.

    Args:
        loss: called as ``loss(student, teacher)``.
        weight: not negative.

    Raises:
        ValueError: a negative weight; in the forward pass, no teacher or no logits for a translated image.
    """

    def __init__(self, loss: PairLoss, weight: float = 1.0) -> None:
        super().__init__(loss, "logits", weight)

    def forward(
        self,
        student: NetworkOutput,
        teacher: NetworkOutput | None,
        target: torch.Tensor | None,
        chosen: torch.Tensor | None,
    ) -> torch.Tensor:
        """The raw term over the samples that ``chosen`` (B,) marks, or over all."""
        if teacher is None or ALIGNED not in student.features:
            raise ValueError("peers with alignment compare their logits for a translated image, but there are none.")
        sides = (student.features[ALIGNED], teacher.logits)
        return self.loss(*(side.float() if chosen is None else side[chosen].float() for side in sides))
