"""Deep supervision: of the teachers by what they find together, and of the student's intermediate head."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ckdmed.losses.conventions import full_precision
from ckdmed.losses.soft_targets import KDLoss
from ckdmed.losses.total import LossTerm, LossValues, NetworkOutput

__all__ = ["HEAD", "CooperativeTeacherLoss", "DeepSupervisionTerm", "check_fusion_learns", "resize_labels"]

#: name of the student's intermediate head, and of the cooperative logits among the teachers' features
HEAD = "cooperative"


def check_fusion_learns(w_cooperative: float, learning: bool) -> None:
    """Refuse cooperative logits that nothing trains.

    Args:
        w_cooperative: weight of their loss.
        learning: whether the teachers learn as well; of frozen ones only the fusion does.

    Raises:
        ValueError: with the remedy.
    """
    if w_cooperative == 0 and not learning:
        raise ValueError(
            "of frozen teachers only the fusion learns, and w_cooperative 0 takes its loss away: give a "
            "w_cooperative above 0, or teachers without a fusion (teacher_mode frozen)."
        )


def resize_labels(labels: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """A label map or mask [B, C, *S] at another size, by the nearest neighbour; its type stays."""
    if tuple(labels.shape[2:]) == tuple(size):
        return labels
    return F.interpolate(labels.float(), size=tuple(size), mode="nearest-exact").to(labels.dtype)


class DeepSupervisionTerm(LossTerm):
    """A term that compares logits of an intermediate head with the label, resized to the head's grid.

    The head is a projection of a tapped feature of the student to the classes. It learns with the student and is no
    part of it.

    Args:
        loss: supervised, called as ``loss(logits, label)``.
        layer: name of the tap whose projection is the head.
        weight: not negative.
        schedule: see :class:`~ckdmed.losses.LossTerm`.

    Raises:
        ValueError: a negative weight; in the forward pass, a head of that name is missing.
    """

    def __init__(
        self,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        layer: str,
        weight: float = 1.0,
        schedule: Callable[[float], float] | None = None,
    ) -> None:
        super().__init__(loss, "target", weight, schedule=schedule)
        # the base class knows layers of features only; these two make the student's side tapped and projected
        self.layers, self.layer_weights = (layer,), (1.0,)

    def forward(
        self,
        student: NetworkOutput,
        teacher: NetworkOutput | None,
        target: torch.Tensor | None,
        chosen: torch.Tensor | None,
    ) -> torch.Tensor:
        """The raw term over the samples that ``chosen`` (B,) marks, or over all."""
        (layer,) = self.layers
        if target is None or layer not in student.projected:
            raise ValueError(
                f"deep supervision needs a label and the head '{layer}'; there are {sorted(student.projected)}."
            )
        logits, label = student.projected[layer], target
        if chosen is not None:
            logits, label = logits[chosen], label[chosen]
        return self.loss(logits.float(), resize_labels(label, logits.shape[2:]))


class CooperativeTeacherLoss(nn.Module):
    """What several teachers that learn together minimise: sum_i sup(teacher_i, y) + w_cooperative sup(cooperative, y').

    ``cooperative`` are the logits of :class:`~ckdmed.networks.CooperativeFusion` on its own, coarser grid, y' the label
    resized to it. Zero where the supervised loss is.

    Args:
        supervised: sup, called as ``loss(logits, label)``.
        names: of the teachers; their terms are called ``teacher_<name>``.
        w_cooperative: weight of the cooperative term, not negative. Default 0.08, as published.
        learning: False for frozen teachers, whose own terms are left out: the fusion alone learns.
        w_mutual: weight of what each teacher learns from its peers, the student and the other teachers: the mean of
            T^2 KL(peer || teacher) over them, on labelled and unlabelled samples. Peers are cut off the graph. 0 for
            none; 1 is deep mutual learning. The terms are called ``mutual_<name>``.
        link, temperature: of that divergence.

    Shape:
        teachers: [B, K * C, *S], the K teachers' logits one after another along the channels; cooperative: [B, C, *s]
        or None; target: what ``supervised`` takes, [B, 1 or C, *S].

    Raises:
        ValueError: no names, two equal ones, or a negative weight; frozen teachers of whose fusion the weight is 0, so
            that nothing learns; logits whose channels K does not divide; peers that learn from a student whose logits
            are not given.

    Source: Ahmad et al. 2024, MTCM-KD, and its code (cooperative deep supervision fusion learning).
    """

    def __init__(
        self,
        supervised: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        names: Sequence[str],
        w_cooperative: float = 0.08,
        learning: bool = True,
        w_mutual: float = 0.0,
        link: str = "sigmoid",
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        if not names or len(set(names)) != len(names):
            raise ValueError(f"each teacher needs a name of its own, got {list(names)}.")
        if w_cooperative < 0:
            raise ValueError(f"w_cooperative cannot be negative, got {w_cooperative}.")
        if w_mutual < 0 or (w_mutual > 0 and not learning):
            raise ValueError(f"w_mutual is {w_mutual}: it cannot be negative, and frozen teachers learn from nobody.")
        check_fusion_learns(w_cooperative, learning)
        self.supervised = supervised
        self.names = list(names)
        self.w_cooperative = float(w_cooperative)
        self.learning = learning
        self.w_mutual = float(w_mutual)
        self.divergence = KDLoss(link, temperature=temperature)

    def forward(
        self,
        teachers: torch.Tensor,
        cooperative: torch.Tensor | None,
        target: torch.Tensor,
        labelled: torch.Tensor | None = None,
        student: torch.Tensor | None = None,
        for_student_image: torch.Tensor | None = None,
    ) -> LossValues:
        """The loss of one batch; rows of ``target`` that ``labelled`` (B,) does not mark are not read.

        ``student`` are the student's logits [B, C, *S], for peers that learn from it; ``for_student_image`` the
        teachers' logits for the image that the student saw, where ``teachers`` are of another one.
        """
        if teachers.shape[1] % len(self.names):
            raise ValueError(f"{teachers.shape[1]} channels are not those of {len(self.names)} teachers.")
        chosen = slice(None) if labelled is None else labelled.to(device=teachers.device, dtype=torch.bool)
        # a batch without labels still needs a graph for the backward pass
        total = 0.0 * _full(teachers).sum()
        if cooperative is not None:
            total = total + 0.0 * _full(cooperative).sum()
        terms: dict[str, torch.Tensor] = {}
        weights: dict[str, float] = {}
        if self.w_mutual > 0:
            seen = teachers if for_student_image is None else for_student_image
            total = total + self._mutual(seen, student, terms, weights)
        if labelled is not None and not bool(labelled.any()):
            return LossValues(total, terms, weights)
        learned = dict(terms)
        label = target[chosen]
        with full_precision(teachers):
            if self.learning:
                for name, logits in zip(self.names, teachers.chunk(len(self.names), dim=1)):
                    terms[f"teacher_{name}"] = self.supervised(_full(logits[chosen]), label)
                    weights[f"teacher_{name}"] = 1.0
            if cooperative is not None and self.w_cooperative > 0:
                small = resize_labels(label, cooperative.shape[2:])
                terms["cooperative"] = self.supervised(_full(cooperative[chosen]), small)
                weights["cooperative"] = self.w_cooperative
            for name, value in terms.items():
                if name not in learned:
                    total = total + weights[name] * value
        return LossValues(total, terms, weights)

    def _mutual(
        self,
        teachers: torch.Tensor,
        student: torch.Tensor | None,
        terms: dict[str, torch.Tensor],
        weights: dict[str, float],
    ) -> torch.Tensor:
        if student is None:
            raise ValueError("teachers that learn from the student need its logits.")
        total = teachers.new_zeros((), dtype=torch.float64 if teachers.dtype == torch.float64 else torch.float32)
        parts = teachers.chunk(len(self.names), dim=1)
        for number, name in enumerate(self.names):
            peers = [student, *(part for other, part in enumerate(parts) if other != number)]
            # the peer is what a teacher is to the loss: cut off the graph
            value = torch.stack([self.divergence(parts[number], peer) for peer in peers]).mean()
            terms[f"mutual_{name}"], weights[f"mutual_{name}"] = value, self.w_mutual
            total = total + self.w_mutual * value
        return total


def _full(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
