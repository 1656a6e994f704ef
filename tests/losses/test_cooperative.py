from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch

from ckdmed.losses import (
    HEAD,
    BCEDiceLoss,
    CombinationLoss,
    CooperativeTeacherLoss,
    DeepSupervisionTerm,
    DistillationLoss,
    KDLoss,
    PCRLoss,
    SoftDiceKDLoss,
    TeacherShares,
    resize_labels,
)
from ckdmed.methods import distillation_loss


class Output(NamedTuple):
    logits: torch.Tensor
    features: dict[str, torch.Tensor]
    projected: dict[str, torch.Tensor]


def outputs(channels: int = 3, teachers: int = 2, size: int = 8, dims: int = 2) -> tuple[Output, Output, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)

    def draw(c: int, edge: int) -> torch.Tensor:
        return torch.randn(2, c, *(edge,) * dims, generator=generator, dtype=torch.float64)

    student = Output(draw(channels, size), {HEAD: draw(4, size // 2)}, {HEAD: draw(channels, size // 2)})
    teacher = Output(draw(channels * teachers, size), {HEAD: draw(channels, size // 2)}, {})
    return student, teacher, (draw(channels, size) > 0).double()


def test_labels_keep_their_values_and_type() -> None:
    labels = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4)
    small = resize_labels(labels, (2, 2))
    assert small.dtype == torch.uint8 and small.flatten().tolist() == [5, 7, 13, 15]
    assert resize_labels(labels, (4, 4)) is labels
    assert resize_labels(labels[:, :, None].expand(-1, -1, 4, -1, -1), (2, 2, 2)).shape == (1, 1, 2, 2, 2)


def test_teacher_loss_by_hand() -> None:
    # logits 0 everywhere: BCE log 2; Dice of p = .5 against 3 of 4 positions: 1 - 2 * 1.5 / (2 + 3)
    label = torch.tensor([1.0, 1, 1, 0]).reshape(1, 1, 2, 2)
    zero = 0.5 * math.log(2) + 0.5 * (1 - 3 / 5)
    # the cooperative head sees the nearest of the four: position (1, 1), 0: BCE log 2, Dice 1
    small = 0.5 * math.log(2) + 0.5
    loss = CooperativeTeacherLoss(BCEDiceLoss(), ["t1", "t2"])
    values = loss(torch.zeros(1, 2, 2, 2), torch.zeros(1, 1, 1, 1), label)
    assert values.weights == {"teacher_t1": 1.0, "teacher_t2": 1.0, "cooperative": 0.08}
    assert values.terms["teacher_t1"].item() == pytest.approx(zero, abs=1e-5)
    assert values.terms["cooperative"].item() == pytest.approx(small, abs=1e-4)
    assert values.total.item() == pytest.approx(2 * zero + 0.08 * small, abs=1e-4)
    frozen = CooperativeTeacherLoss(BCEDiceLoss(), ["t1", "t2"], learning=False)
    assert list(frozen(torch.zeros(1, 2, 2, 2), torch.zeros(1, 1, 1, 1), label).terms) == ["cooperative"]


def test_unlabelled_rows_are_not_read() -> None:
    _, teacher, label = outputs()
    loss = CooperativeTeacherLoss(BCEDiceLoss(), ["a", "b"])
    spoiled = label.clone()
    spoiled[1] = math.nan
    flags = torch.tensor([True, False])
    got = loss(teacher.logits, teacher.features[HEAD], spoiled, flags).total
    torch.testing.assert_close(got, loss(teacher.logits[:1], teacher.features[HEAD][:1], label[:1]).total)
    logits = teacher.logits.clone().requires_grad_()
    none = loss(logits, None, spoiled, torch.tensor([False, False]))
    none.total.backward()
    assert none.total.item() == 0 and none.terms == {} and logits.grad is not None and not logits.grad.any()


def test_teacher_loss_gradcheck() -> None:
    _, teacher, label = outputs(channels=2, size=4)
    loss = CooperativeTeacherLoss(BCEDiceLoss(), ["a", "b"])

    def total(logits: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
        return loss(logits, head, label).total

    leaves = [t.detach().requires_grad_() for t in (teacher.logits, teacher.features[HEAD])]
    assert torch.autograd.gradcheck(total, leaves)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"names": []}, "name of its own"),
        ({"names": ["a", "a"]}, "name of its own"),
        ({"names": ["a"], "w_cooperative": -1.0}, "negative"),
        ({"names": ["a"], "w_cooperative": 0.0, "learning": False}, "only the fusion learns"),
    ],
)
def test_teacher_loss_refusals(kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CooperativeTeacherLoss(BCEDiceLoss(), **kwargs)
    with pytest.raises(ValueError, match="3 channels are not those of 2 teachers"):
        CooperativeTeacherLoss(BCEDiceLoss(), ["a", "b"])(torch.zeros(1, 3, 2, 2), None, torch.zeros(1, 1, 2, 2))


def test_deep_supervision_reads_the_head_and_the_resized_label() -> None:
    student, _, label = outputs()
    term = DeepSupervisionTerm(BCEDiceLoss(), HEAD, 0.07)
    expected = BCEDiceLoss()(student.projected[HEAD].float(), resize_labels(label, (4, 4)))
    torch.testing.assert_close(term(student, None, label, None), expected)
    one = torch.tensor([False, True])
    expected = BCEDiceLoss()(student.projected[HEAD][1:].float(), resize_labels(label[1:], (4, 4)))
    torch.testing.assert_close(term(student, None, label, one), expected)
    with pytest.raises(ValueError, match="needs a label and the head 'other'"):
        DeepSupervisionTerm(BCEDiceLoss(), "other")(student, None, label, None)


def test_total_of_ours_is_the_sum_of_its_parts() -> None:
    student, teacher, label = outputs()
    shares = TeacherShares(2, 3)
    shares.update([[0.9, 0.5, 0.1], [0.3, 0.5, 0.7]])
    values = distillation_loss("ckd", "unimodal", shares=shares, cooperative=True)(student, teacher, label)
    assert values.weights == {
        "supervised": 1.0,
        "response": 0.5,
        "response_dice": 0.5,
        "deep_label": pytest.approx(0.07),
        "deep_cooperative": pytest.approx(0.03),
    }
    s, t, head, coop = student.logits, teacher.logits, student.projected[HEAD], teacher.features[HEAD]
    weights = shares.shares
    response = dice = 0.0
    for i in range(2):
        for c in range(3):
            pair = s[:, c : c + 1].float(), t[:, 3 * i + c : 3 * i + c + 1].float()
            response += weights[i, c] / 3 * KDLoss("sigmoid", 2.0)(*pair)
            dice += weights[i, c] / 3 * SoftDiceKDLoss("sigmoid", skip_empty=True)(*pair)
    sup = BCEDiceLoss()
    expected = sup(s.float(), label) + 0.5 * response + 0.5 * dice
    expected = expected + 0.07 * sup(head.float(), resize_labels(label, (4, 4)))
    expected = expected + 0.03 * KDLoss("sigmoid", 2.0)(head.float(), coop.float())
    assert values.total.item() == pytest.approx(float(expected), rel=1e-5)


def test_soft_targets_come_with_the_overlap_unless_it_has_no_weight() -> None:
    student, teacher, label = outputs()
    shares = TeacherShares(2, 3)
    shares.update([[0.9, 0.5, 0.1], [0.3, 0.5, 0.7]])
    values = distillation_loss("kd", "unimodal", shares=shares, w_dice=0.25)(student, teacher, label)
    assert values.weights == {"supervised": 1.0, "response": 0.5, "response_dice": 0.25}
    # the same two terms as in the default method
    default = distillation_loss("ckd", "unimodal", shares=shares)(student, teacher, label)
    for name in values.weights:
        torch.testing.assert_close(values.terms[name], default.terms[name])
    plain = distillation_loss("kd", "unimodal", shares=shares, w_response=1.0, w_dice=0)(student, teacher, label)
    assert plain.weights == {"supervised": 1.0, "response": 1.0}
    assert not distillation_loss("kd", "unimodal", w_response=0, w_dice=0).needs_teacher


def test_soft_dice_without_what_the_teacher_does_not_find() -> None:
    student, teacher, _ = outputs(teachers=1)
    nothing = teacher.logits.clone()
    nothing[0, 1] = -5.0
    kept = SoftDiceKDLoss("sigmoid", skip_empty=True)
    # the same as the mean over the five maps that are left
    parts = [
        SoftDiceKDLoss("sigmoid")(student.logits[b : b + 1, c : c + 1], nothing[b : b + 1, c : c + 1])
        for b in range(2)
        for c in range(3)
        if (b, c) != (0, 1)
    ]
    torch.testing.assert_close(kept(student.logits, nothing), torch.stack(parts).mean())
    assert kept(student.logits, torch.full_like(nothing, -5.0)).item() == 0


def test_depth_one_equals_two_dimensions() -> None:
    student, teacher, label = outputs()

    def deep(output: Output) -> Output:
        return Output(
            output.logits.unsqueeze(2), *({k: v.unsqueeze(2) for k, v in part.items()} for part in output[1:])
        )

    loss = distillation_loss("ckd", "unimodal", shares=TeacherShares(2, 3), cooperative=True)
    flat, volume = loss(student, teacher, label), loss(deep(student), deep(teacher), label.unsqueeze(2))
    for name, value in flat.terms.items():
        torch.testing.assert_close(volume.terms[name], value)


def _total(method: str, shares: TeacherShares) -> DistillationLoss:
    return distillation_loss(method, "unimodal", shares=shares, link="softmax", cooperative=True)


def test_published_methods_with_exclusive_classes() -> None:
    student, teacher, _ = outputs(channels=4)
    label = torch.randint(4, (2, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    shares = TeacherShares(2)
    repo = _total("mtcm_repo", shares)(student, teacher, label)
    assert repo.weights == {
        "supervised": 0.75,
        "response": 0.15,
        "deep_label": pytest.approx(0.07),
        "deep_cooperative": pytest.approx(0.03),
    }
    coop = student.projected[HEAD].float(), teacher.features[HEAD].float()
    by_position = KDLoss("softmax", 20.0)(*coop)
    assert repo.terms["deep_cooperative"].item() == pytest.approx(4 * 4 / 20 * by_position.item(), rel=1e-5)
    expected = CombinationLoss("repo")(student.logits.float(), label)
    torch.testing.assert_close(repo.terms["supervised"], expected)
    ours = _total("mtcm", shares)(student, teacher, label)
    expected = PCRLoss(shares, "softmax", 4.0)(student.logits.float(), teacher.logits.float())
    torch.testing.assert_close(ours.terms["response"], expected)
    assert isinstance(_total("mtcm", shares).terms["supervised"].loss, CombinationLoss)
    overlapping = distillation_loss("mtcm", "unimodal", shares=shares).terms["supervised"].loss
    assert isinstance(overlapping, BCEDiceLoss) and overlapping.skip_empty


def test_warm_up_ends_with_its_epoch() -> None:
    student, teacher, label = outputs()
    loss = distillation_loss("ckd", "unimodal", shares=TeacherShares(2), cooperative=True, warm_up=1 / 7)
    during = loss(student, teacher, label, progress=3 / 21)
    assert set(during.terms) == {"supervised", "deep_label"}
    assert set(loss(student, teacher, label, progress=4 / 21).terms) > {"response", "deep_cooperative"}


def test_alone_and_without_fusion() -> None:
    student, teacher, label = outputs()
    alone = distillation_loss("supervised", "unimodal")
    assert not alone.needs_teacher and alone.layers == ()
    assert list(alone(student, None, label).terms) == ["supervised"]
    deep = distillation_loss("ckd", "unimodal", w_response=0)
    assert not deep.needs_teacher and deep.projected_layers == (HEAD,)
    frozen = distillation_loss("ckd", "unimodal", shares=TeacherShares(2))
    assert "deep_cooperative" not in frozen(student, teacher, label).terms


def test_hard_pseudo_labels_are_each_teachers_masks_of_the_unlabelled_images() -> None:
    student, teacher, label = outputs()
    shares = TeacherShares(2)
    shares.update([[0.9, 0.9, 0.9], [0.3, 0.5, 0.7]])
    loss = distillation_loss("hard_pseudo", "unimodal", shares=shares, w_sup=0.5, w_response=2.0)
    values = loss(student, teacher, label, labelled=torch.tensor([True, False]))
    supervised = BCEDiceLoss(skip_empty=True)
    masks = (teacher.logits[1:] > 0).double().chunk(2, dim=1)
    first, second = shares.shares[:, 0].tolist()
    expected = first * supervised(student.logits[1:], masks[0]) + second * supervised(student.logits[1:], masks[1])
    assert first > second and float(values.terms["pseudo_labels"]) == pytest.approx(float(expected))
    known = float(supervised(student.logits[:1], label[:1]))
    assert float(values.total) == pytest.approx(0.5 * known + 2 * float(expected))
    # where all are labelled nothing is left but the label
    assert list(loss(student, teacher, label).terms) == ["supervised"]
    # teachers that learn along have learned nothing in the warm-up
    warm = distillation_loss("hard_pseudo", "unimodal", shares=shares, warm_up=0.5)
    assert list(warm(student, teacher, label, torch.tensor([True, False]), 0.2).terms) == ["supervised"]
    assert not distillation_loss("hard_pseudo", "unimodal", w_response=0).needs_teacher


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"method": "best"}, "there is no method 'best' for unimodal"),
        ({"method": "ckd"}, "needs their shares"),
        ({"method": "mtcm"}, "needs the shares"),
        ({"method": "ckd", "shares": TeacherShares(2), "deep_label": 2.0}, "deep_label is 2.0"),
        ({"method": "supervised", "warm_up": -1.0}, "warm_up is -1.0"),
        ({"method": "supervised", "link": "tanh"}, "link must be"),
        ({"method": "supervised", "w_deep": 0.1}, "has no use for w_deep=0.1; its options are: w_sup"),
    ],
)
def test_method_refusals(kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        distillation_loss(task="unimodal", **kwargs)
