"""What all losses of the package have in common: precision, detachment, links, guards, masks and reduction."""

from __future__ import annotations

import math
import warnings
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn as nn
import torch.nn.functional as F

__all__ = ["PairLoss", "check_logits", "check_temperature", "probabilities", "reduce_values", "resolve_link"]

LINKS = ("auto", "softmax", "sigmoid")


def choose(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return `value` when it is one of `allowed`; otherwise raise ValueError that lists them."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(repr(a) for a in allowed)}.")
    return value


def check_temperature(temperature: float) -> float:
    """Return the temperature as float; raise ValueError unless it is finite and above 0."""
    if not math.isfinite(temperature) or temperature <= 0:
        raise ValueError(f"temperature is {temperature}; it must be a finite number above 0.")
    return float(temperature)


def check_same_shape(student: torch.Tensor, teacher: torch.Tensor, remedy: str = "") -> None:
    """Raise ValueError naming both shapes when they differ."""
    if student.shape != teacher.shape:
        raise ValueError(
            f"student has shape {tuple(student.shape)} and teacher {tuple(teacher.shape)}; they must be equal."
            + (f" {remedy}" if remedy else "")
        )


def resolve_link(link: str, channels: int) -> str:
    """Return "softmax" or "sigmoid" for logits with this many channels.

    Raises:
        ValueError: softmax with one channel (it is the constant 1 and teaches nothing), or "auto" with two or more
            channels, where exclusive classes and overlapping regions cannot be distinguished.
    """
    choose("link", link, LINKS)
    if link == "auto":
        if channels == 1:
            return "sigmoid"
        raise ValueError(
            f"link='auto' cannot be decided for {channels} channels: pass link='softmax' when exactly one class holds "
            "at each position, or link='sigmoid' when the channels are independent (overlapping regions)."
        )
    if link == "softmax" and channels == 1:
        raise ValueError(
            "link='softmax' with one channel is the constant 1: loss and gradient would be 0 for any input. "
            "Use link='sigmoid' for a one-channel mask."
        )
    return link


def check_logits(name: str, logits: torch.Tensor) -> None:
    """Warn when `logits` look like probabilities: two or more channels, in [0, 1], summing to 1 over the channels."""
    if torch.compiler.is_compiling() or logits.ndim < 2 or logits.shape[1] < 2 or logits.numel() == 0:
        return
    values = logits.detach()
    looks = (values.min() >= 0) & (values.max() <= 1) & ((values.sum(dim=1) - 1).abs().max() < 1e-3)
    if bool(looks):
        warnings.warn(
            f"The {name} values all lie in [0, 1] and sum to 1 over the channels: they look like probabilities. "
            "This loss expects raw logits; softmax of probabilities flattens the target.",
            stacklevel=4,
        )


def probabilities(logits: torch.Tensor, link: str) -> torch.Tensor:
    """Probabilities over axis 1 for a resolved link."""
    return torch.softmax(logits, dim=1) if link == "softmax" else torch.sigmoid(logits)


def full_precision(like: torch.Tensor) -> AbstractContextManager[object]:
    """A context without autocast on the device of `like`."""
    if torch.amp.is_autocast_available(like.device.type):
        return torch.autocast(device_type=like.device.type, enabled=False)
    return nullcontext()


def plain(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The same values as an ordinary tensor (MONAI's MetaTensor would carry its metadata through every operation)."""
    if type(tensor) is not torch.Tensor and not isinstance(tensor, nn.Parameter):
        tensor = tensor.as_subclass(torch.Tensor)
    return tensor.to(dtype)


def working_dtype(tensor: torch.Tensor) -> torch.dtype:
    """The type to compute in: float32, or float64 for float64 tensors (sums of squares overflow in half precision)."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def reduce_values(values: torch.Tensor, mask: torch.Tensor | None, reduction: str) -> torch.Tensor:
    """Reduce `values` [B, K, *S], weighted by `mask` [B, 1, *S].

    "mean" without a mask is the mean over everything; with one it is the weighted sum divided by
    max(sum of the mask, 1) and by K. "sum" is the (weighted) sum, "none" the (weighted) values.
    """
    if mask is not None:
        values = values * mask
    if reduction == "none":
        return values
    if reduction == "sum":
        return values.sum()
    if mask is None:
        return values.mean()
    return values.sum() / (mask.sum().clamp_min(1) * values.shape[1])


class PairLoss(nn.Module):
    """Base of the losses that compare a student tensor with a teacher tensor.

    `forward` turns autocast off, casts both to `working_dtype` of the student, cuts the teacher from the graph, joins
    `mask` with `ignore_index`, and calls `compute`, which a subclass writes.

    Args:
        teacher_grad: let gradients reach the teacher, as mutual learning wants. Off, so that no teacher is trained by
            mistake.
        ignore_index: positions whose label in `target` equals this value are left out; None uses all.
    """

    accepts_mask = True
    # a subclass that sees to the precision itself is given the tensors in their own
    casts = True

    def __init__(self, teacher_grad: bool = False, ignore_index: int | None = None) -> None:
        super().__init__()
        if ignore_index is not None and not self.accepts_mask:
            raise ValueError(f"{type(self).__name__} compares whole samples and cannot leave positions out.")
        self.teacher_grad = teacher_grad
        self.ignore_index = ignore_index

    def forward(
        self,
        student: torch.Tensor,
        teacher: torch.Tensor,
        mask: torch.Tensor | None = None,
        target: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Compare `student` with `teacher`.

        Args:
            student: student tensor, [B, C, *S] (dense) or [B, C].
            teacher: teacher tensor.
            mask: weights >= 0 per position, [B, 1, *S]; positions with 0 do not count.
            target: integer labels [B, 1, *S] or [B, *S]; only for `ignore_index` and for losses that need labels.
        """
        for name, tensor in (("student", student), ("teacher", teacher)):
            if tensor.ndim < 2:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}; at least batch and channel axes are needed.")
        dtype = working_dtype(student)
        with full_precision(student):
            labels = None if target is None else self._labels(target, student)
            return self.compute(
                plain(student, dtype if self.casts else student.dtype),
                plain(teacher if self.teacher_grad else teacher.detach(), dtype if self.casts else teacher.dtype),
                self._weights(mask, labels, student, dtype),
                labels,
            )

    def compute(
        self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None, target: torch.Tensor | None
    ) -> torch.Tensor:
        """The formula, on plain tensors (of full precision if `casts`); `mask` is [B, 1, *S] or None, `target` [B, *S]
        or None."""
        raise NotImplementedError

    @staticmethod
    def _labels(target: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
        labels = plain(target.detach(), torch.long)
        if labels.ndim == student.ndim and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim != student.ndim - 1 or labels.shape[0] != student.shape[0]:
            raise ValueError(
                f"target has shape {tuple(target.shape)}; labels for a student of shape {tuple(student.shape)} are "
                "[B, *S] or [B, 1, *S] integers."
            )
        return labels

    def _weights(
        self, mask: torch.Tensor | None, labels: torch.Tensor | None, student: torch.Tensor, dtype: torch.dtype
    ) -> torch.Tensor | None:
        if mask is not None and not self.accepts_mask:
            raise ValueError(f"{type(self).__name__} compares whole samples and accepts no mask.")
        weights = None
        if mask is not None:
            if mask.ndim != student.ndim or mask.shape[0] != student.shape[0] or mask.shape[1] != 1:
                raise ValueError(
                    f"mask has shape {tuple(mask.shape)}; for a student of shape {tuple(student.shape)} it must be "
                    "[B, 1, *S]."
                )
            weights = plain(mask.detach(), dtype)
        if self.ignore_index is not None:
            if labels is None:
                raise ValueError(f"ignore_index={self.ignore_index} needs the labels: pass target=... as well.")
            kept = (labels != self.ignore_index).unsqueeze(1).to(dtype)
            if weights is not None and weights.shape != kept.shape:
                raise ValueError(f"mask has shape {tuple(weights.shape)} and target {tuple(kept.shape)}.")
            weights = kept if weights is None else weights * kept
        return weights


def check_mask_grid(mask: torch.Tensor | None, student: torch.Tensor) -> None:
    """Raise ValueError unless the mask has the student's spatial shape."""
    if mask is not None and mask.shape[2:] != student.shape[2:]:
        raise ValueError(
            f"mask has spatial shape {tuple(mask.shape[2:])} and the student {tuple(student.shape[2:])}; "
            "they must be equal."
        )


def region_cross_entropy(logits: torch.Tensor, regions: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """The mean binary cross entropy of raw logits and regions that may overlap, once both are known to fit.

    Args:
        logits: [B, C, *S].
        regions: the truth in [0, 1], a channel for each of the logits', of the same shape.
        mask: weights per position, [B, 1, *S], or None.

    Raises:
        ValueError: unequal shapes; no spatial axes; a label map with values outside [0, 1].
    """
    check_same_shape(logits, regions, "The target holds one 0/1 channel per channel of the logits.")
    check_mask_grid(mask, logits)
    if logits.ndim < 3:
        raise ValueError(f"student has shape {tuple(logits.shape)}; this loss needs spatial axes, [B, C, *S].")
    if not torch.compiler.is_compiling() and bool(((regions < 0) | (regions > 1)).any()):
        raise ValueError(
            f"the target has values from {regions.min().item():g} to {regions.max().item():g}; [0, 1] is needed. "
            "Turn class labels into one channel per region first."
        )
    return reduce_values(F.binary_cross_entropy_with_logits(logits, regions, reduction="none"), mask, "mean")
