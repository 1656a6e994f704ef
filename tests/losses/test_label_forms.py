from __future__ import annotations

import pytest
import torch

from ckdmed.losses import DistillationLoss, LossTerm
from ckdmed.losses.label_forms import with_teacher_labels
from ckdmed.networks.taps import TappedOutput

KNOWN = torch.tensor([True, False])
TEACHER = torch.tensor([[3.0, 1.0, 0.0], [0.0, -1.0, 2.0]])


def test_class_indices_and_probabilities() -> None:
    assert with_teacher_labels(torch.tensor([1, -7]), TEACHER, KNOWN, "softmax").tolist() == [1, 2]
    shares = torch.tensor([[0.0, 0.5, 0.5], [float("nan")] * 3])
    filled = with_teacher_labels(shares, TEACHER, KNOWN, "softmax")
    assert filled.tolist() == [[0.0, 0.5, 0.5], [0.0, 0.0, 1.0]] and filled.dtype == shares.dtype


def test_masks_of_regions_and_of_exclusive_ones() -> None:
    logits = torch.tensor([[[[9.0, 9.0]], [[9.0, 9.0]]], [[[-1.0, 2.0]], [[0.0, 1.0]]]])
    masks = torch.zeros(2, 2, 1, 2)
    # a logit of 0 is no region: a half is not above one half
    assert with_teacher_labels(masks, logits, KNOWN, "sigmoid").tolist() == [
        [[[0.0, 0.0]], [[0.0, 0.0]]],
        [[[0.0, 1.0]], [[0.0, 1.0]]],
    ]
    indices = torch.tensor([[[[1, 1]]], [[[-7, -7]]]])
    assert with_teacher_labels(indices, logits, KNOWN, "softmax").tolist() == [[[[1, 1]]], [[[1, 0]]]]
    with pytest.raises(ValueError, match="target has shape"):
        with_teacher_labels(torch.zeros(2, 1, 1, 2), logits, KNOWN, "sigmoid")


def test_a_teacher_on_another_grid_answers_on_that_of_the_student() -> None:
    seen: list[torch.Tensor] = []

    def loss(student: torch.Tensor, teacher: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen.append(target)
        return (student - teacher).mean()

    whole = DistillationLoss({"a": LossTerm(loss, "logits", with_label=True, teacher_labels="sigmoid")})
    student = TappedOutput(torch.zeros(2, 1, 4, 4, requires_grad=True), {}, {})
    teacher = torch.full((2, 1, 2, 2), -1.0)
    teacher[1, 0, 0, 0] = 9.0
    whole(student, TappedOutput(teacher, {}, {}), torch.full((2, 1, 4, 4), float("nan")), labelled=~KNOWN & KNOWN)
    whole(student, TappedOutput(teacher, {}, {}), torch.ones(2, 1, 4, 4))
    assert seen[0].shape == (2, 1, 4, 4) and not seen[0][0].any() and bool(seen[0][1, 0, 0, 0])
    assert not seen[0][1, 0, 3, 3] and bool(seen[1].all())
