"""Labels in the layout of the logits that they are compared with, and the base of losses that need all three."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ckdmed.losses.conventions import (
    LINKS,
    check_same_shape,
    choose,
    full_precision,
    plain,
    resolve_link,
    working_dtype,
)

__all__ = ["LabelledLogitsLoss", "as_probabilities", "with_teacher_labels"]


def as_probabilities(target: torch.Tensor, logits: torch.Tensor, link: str) -> torch.Tensor:
    """The label as probabilities of the logits' shape and type.

    Args:
        target: of that shape already (masks; probabilities, as mixup gives them), or of the softmax link class indices
            [B], [B, *S] or [B, 1, *S].
        logits: [B, C] or [B, C, *S].
        link: "softmax" or "sigmoid".

    Raises:
        ValueError: a target that fits no such logits.
    """
    if tuple(target.shape) == tuple(logits.shape):
        return plain(target.detach(), logits.dtype)
    if link == "softmax":
        labels = target[:, 0] if target.ndim == logits.ndim and target.shape[1] == 1 else target
        if tuple(labels.shape) == (logits.shape[0], *logits.shape[2:]):
            return F.one_hot(plain(labels.detach(), torch.long), logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    raise ValueError(
        f"target has shape {tuple(target.shape)}, which does not match logits of shape {tuple(logits.shape)}."
    )


def with_teacher_labels(target: torch.Tensor, teacher: torch.Tensor, labelled: torch.Tensor, link: str) -> torch.Tensor:
    """The label, and for samples without one what the teacher finds most likely, in the label's own form.

    Args:
        target: as in :func:`as_probabilities`, whose rows of unlabelled samples are not read.
        teacher: logits [B, C] or [B, C, *S], on the label's grid.
        labelled: [B] booleans.
        link: "softmax": the class of the largest logit; "sigmoid": 1 where a logit is above 0.

    Raises:
        ValueError: a target that fits no such logits.
    """
    logits = plain(teacher.detach(), torch.float32)
    if link == "sigmoid":
        said = (logits > 0).float()
    else:
        said = logits.argmax(dim=1)
        if tuple(target.shape) == tuple(logits.shape):
            said = F.one_hot(said, logits.shape[1]).movedim(-1, 1)
        elif target.ndim == logits.ndim:
            said = said.unsqueeze(1)
    if said.shape != target.shape:
        raise ValueError(
            f"target has shape {tuple(target.shape)}, which does not match logits of shape {tuple(teacher.shape)}."
        )
    known = labelled.to(device=target.device, dtype=torch.bool).reshape(-1, *[1] * (target.ndim - 1))
    return torch.where(known, plain(target.detach(), target.dtype), said.to(target.dtype))


class LabelledLogitsLoss(nn.Module):
    """Base of losses between a student's logits, a teacher's and the label: autocast off, the teacher cut off.

    Args:
        link: "softmax", "sigmoid", or "auto" (one channel only).
    """

    def __init__(self, link: str = "auto") -> None:
        super().__init__()
        self.link = choose("link", link, LINKS)

    def forward(self, student: torch.Tensor, teacher: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        dtype = working_dtype(student)
        with full_precision(student):
            z, t = plain(student, dtype), plain(teacher.detach(), dtype)
            check_same_shape(z, t)
            link = resolve_link(self.link, z.shape[1])
            return self.compare(z, t, as_probabilities(target, z, link), link)

    def compare(self, z: torch.Tensor, t: torch.Tensor, label: torch.Tensor, link: str) -> torch.Tensor:
        """The formula; ``z`` and ``t`` are the logits, ``label`` has their shape, ``link`` is never "auto"."""
        raise NotImplementedError
