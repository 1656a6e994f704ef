"""A student with several heads: every head learns from the label, or without labels from the
teacher; beside labels the teacher's terms read the main one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ckdmed.engines import DistilledStudent
from ckdmed.losses import BatchDiceBCELoss, BCEDiceLoss, DistillationLoss, KDLoss, LossTerm, MultiHeadLoss
from ckdmed.networks import UNetPlusPlus, segmentation_teacher
from ckdmed.networks.taps import TappedOutput
from ckdmed.recipes import loss_for

IMAGE = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
TARGET = (IMAGE > 0.7).float()


def test_the_supervised_term_is_the_weighted_sum_over_heads_and_validation_sees_one() -> None:
    torch.manual_seed(0)
    plain = UNetPlusPlus(features=(2, 2, 2, 2, 2, 2))
    student = DistilledStudent(plain)
    output = student(IMAGE)
    assert output.logits.shape == TARGET.shape and len(output.heads) == 3
    loss = BCEDiceLoss()
    value = DistillationLoss({"supervised": LossTerm(loss, "target")})(output, None, TARGET)
    expected = sum(loss(head, TARGET) for head in (output.logits, *output.heads)) / 4
    assert torch.allclose(value.total, expected)
    value.total.backward()
    assert all(p.grad is not None for p in plain.parameters())
    assert student.eval()(IMAGE).heads == ()


def test_only_labelled_samples_count() -> None:
    student = DistilledStudent(UNetPlusPlus(features=(2, 2, 2, 2, 2, 2)))
    output, loss = student(IMAGE), BCEDiceLoss()
    term = DistillationLoss({"supervised": LossTerm(loss, "target")})
    value = term(output, None, TARGET, labelled=torch.tensor([False, True])).total
    expected = sum(loss(head[1:], TARGET[1:]) for head in (output.logits, *output.heads)) / 4
    assert torch.allclose(value, expected)


@pytest.mark.parametrize("labels", [False, True])
def test_without_labels_the_teachers_answer_is_that_for_every_head(labels: bool) -> None:
    torch.manual_seed(0)
    student = DistilledStudent(UNetPlusPlus(features=(2, 2, 2, 2, 2, 2)))
    output, loss = student(IMAGE), KDLoss("sigmoid")
    teacher = TappedOutput(torch.randn(2, 1, 32, 32), {}, {})
    terms = {"soft_targets": LossTerm(loss, "logits")}
    if labels:
        terms["supervised"] = LossTerm(BCEDiceLoss(), "target")
    value = DistillationLoss(terms)(output, teacher, TARGET).terms["soft_targets"]
    heads = (output.logits,) if labels else (output.logits, *output.heads)
    assert torch.allclose(value, sum(loss(head, teacher.logits) for head in heads) / len(heads))


def test_nnu_nets_weights_halve_from_head_to_head() -> None:
    own = {"deep_supervision": True, "deep_supr_num": 3}
    network = segmentation_teacher("dynunet", in_channels=1, out_channels=1, base=2, options=own)
    loss = loss_for(network, BCEDiceLoss())
    assert isinstance(loss, MultiHeadLoss) and loss.weights == [8 / 15, 4 / 15, 2 / 15, 1 / 15]
    heads = network.train()(IMAGE)
    expected = sum(w * BCEDiceLoss()(head, TARGET) for w, head in zip(loss.weights, heads.unbind(1)))
    assert torch.allclose(loss(heads, TARGET), expected)
    assert torch.equal(loss(heads[:, 0], TARGET), BCEDiceLoss()(heads[:, 0], TARGET))


def test_a_network_with_one_head_keeps_its_loss() -> None:
    loss = BCEDiceLoss()
    assert loss_for(nn.Conv2d(1, 1, 1), loss, recipe="amsgrad") is loss_for(nn.Conv2d(1, 1, 1), loss) is loss
    assert isinstance(loss_for(nn.Conv2d(1, 1, 1), recipe="amsgrad"), BatchDiceBCELoss)
    assert isinstance(loss_for(nn.Conv2d(1, 1, 1), recipe="nnunet"), BCEDiceLoss)


def test_heads_without_weights_are_refused() -> None:
    class Bare(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([x, x], dim=1)

    with pytest.raises(ValueError, match="gives 2 heads in training, but names 0 weights"):
        DistilledStudent(Bare())(IMAGE)
