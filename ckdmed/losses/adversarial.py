"""A discriminator that tells a student's features from the teacher's, and the student's pull against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from ckdmed.losses.conventions import choose, full_precision, plain, working_dtype

__all__ = ["AdversarialLoss"]

FORMS = ("saturating", "non_saturating")


class AdversarialLoss(nn.Module):
    """The loss of a discriminator between teacher and student features, which also pulls the student's towards it.

    The value is that of the discriminator D, mean [-log D(h_t) - log(1 - D(h_s))]: 2 log 2 = 1.386 where it cannot tell
    them apart, 0 where it does so surely. Its gradient on D's weights is that of this value with both features cut off
    the graph, and on h_s that of the student's own loss with D's weights held: mean log(1 - D(h_s)) ("saturating", of
    the paper) or mean -log D(h_s). So one step of one optimiser moves both, each on its own loss, and neither needs an
    order: the published code steps D first, and a detach in the wrong place keeps the student's gradient from it. D
    learns at the student's learning rate.

    Args:
        layers: hidden widths of D, which looks at each position by itself and has LeakyReLUs of slope 0.2.
        form: of the student's loss.
        prefix: class and register tokens in front of the teacher's, left out. Maps have none.

    Shape:
        student [B, N, d] tokens or [B, d, *S] a map, teacher of the same kind, after :meth:`build`.

    Raises:
        ValueError: an unknown form; widths that differ.
        RuntimeError: it is called before it was built.

    Source:
        Liu et al. 2022 (arXiv 2207.05273), multi-view adversarial learning: a discriminator of three fully connected
        layers; their widths are of this project.
    """

    def __init__(self, layers: Sequence[int] = (256, 64), form: str = "saturating", prefix: int = 1) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.form = choose("form", form, FORMS)
        self.prefix = prefix
        self.discriminator: nn.Sequential | None = None

    def build(self, student: Mapping[str, Sequence[int]], teacher: Mapping[str, Sequence[int]]) -> None:
        """Make the discriminator for the width of the teacher's features."""
        (shape,) = (shape for name, shape in teacher.items() if name in student and name != "logits")
        self._make(shape[-1] if len(shape) == 3 else shape[1])

    def _make(self, width: int) -> None:
        parts: list[nn.Module] = []
        for hidden in self.layers:
            parts += [nn.Linear(width, hidden), nn.LeakyReLU(0.2)]
            width = hidden
        self.discriminator = nn.Sequential(*parts, nn.Linear(width, 1))

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        if self.discriminator is None:
            raise RuntimeError(
                "AdversarialLoss was used before it was built for its networks; attach_student builds it."
            )
        dtype = working_dtype(student)
        with full_precision(student):
            own, said = _rows(plain(student, dtype)), _rows(plain(teacher.detach(), dtype), self.prefix)
            if own.shape[-1] != said.shape[-1]:
                raise ValueError(
                    f"the student's features are {own.shape[-1]} wide, but the teacher's are {said.shape[-1]}."
                )
            # log D(h) = logsigmoid, log(1 - D(h)) = logsigmoid of the negative
            value = -F.logsigmoid(self.discriminator(said)).mean()
            value = value - F.logsigmoid(-self.discriminator(own.detach())).mean()
            held = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
            answer = functional_call(self.discriminator, held, (own,))
            pull = F.logsigmoid(-answer).mean() if self.form == "saturating" else -F.logsigmoid(answer).mean()
            return value + pull - pull.detach()


def _rows(features: torch.Tensor, prefix: int = 0) -> torch.Tensor:
    """Positions as rows: [B, N, d] of tokens, [B, N, C] of a map."""
    return features[:, prefix:] if features.ndim == 3 else features.flatten(2).transpose(1, 2)
