"""How pseudo-labels are made of the networks' probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ckdmed.pseudo_labels.ensemble import combined

__all__ = ["PseudoLabelSettings"]


@dataclass(frozen=True)
class PseudoLabelSettings:
    """How labels are made.

    Attributes:
        average, min_confidence: see :func:`~ckdmed.pseudo_labels.combined`.
        min_agreement: in [0, 1]; images on which the networks agree less stay unlabelled.
        soft: the labels are the averaged probabilities instead of masks, and the mask stands beside them.
    """

    average: str = "prob"
    min_confidence: float = 0.5
    min_agreement: float = 0.0
    soft: bool = False

    def check(self, networks: int = 2) -> None:
        """Raise ValueError where one is out of its range, or would do nothing with so many networks."""
        if not 0 <= self.min_agreement <= 1:
            raise ValueError(f"min_agreement is {self.min_agreement}; it must lie in [0, 1].")
        combined([np.zeros(1)], self.average, self.min_confidence)
        if self.min_agreement > 0 and networks < 2:
            raise ValueError(
                f"min_agreement is {self.min_agreement}, but a single network agrees with itself everywhere; give "
                "several networks, or leave it out."
            )
        if self.soft and self.min_confidence > 0.5:
            raise ValueError(
                f"min_confidence is {self.min_confidence}, but soft labels hold all probabilities; leave one of the "
                "two out."
            )
