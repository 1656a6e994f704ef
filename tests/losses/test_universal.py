"""Properties (a) to (g) that every distillation loss has, and the exceptions with their reasons."""

from __future__ import annotations

import pytest
import torch

from ckdmed.losses import (
    AttentionTransferLoss,
    BCEDiceLoss,
    ChannelWiseLoss,
    ClassAffinityLoss,
    CoordinateLoss,
    DISTLoss,
    DKDLoss,
    EdgeLoss,
    FeatureMSELoss,
    HardPseudoLabelLoss,
    HCLoss,
    KDLoss,
    LogitMSELoss,
    MSGFFLoss,
    PairLoss,
    ProbMSELoss,
    SimilarityLoss,
    SoftDiceKDLoss,
)
from tests.losses.universal import Case

CELLS = "a fixed number of cells covers other parts of a tiled image"
SEAMS = "tiling makes new edges along the seams"
COUNT = "a mean or sum over positions of maps normalised over all positions"
BATCH = "compares the samples of the batch with each other"
DECISION = "a teacher that is not entirely sure differs from its own decisions"

CASES = [
    Case("kd-softmax", lambda: KDLoss("softmax")),
    Case("kd-softmax-T1", lambda: KDLoss("softmax", temperature=1.0), channels=4),
    Case("kd-standardized", lambda: KDLoss("softmax", standardize=True), channels=4),
    Case("kd-sigmoid", lambda: KDLoss("sigmoid"), channels=3),
    Case("kd-auto", lambda: KDLoss(), channels=1),
    Case("kd-balanced", lambda: KDLoss("sigmoid", balance="fg_bg")),
    Case("kd-balanced-softmax", lambda: KDLoss("softmax", balance="fg_bg"), channels=3),
    Case("logit-mse", LogitMSELoss),
    Case("logit-mse-literal", lambda: LogitMSELoss(literal_temperature=4.0)),
    Case("prob-mse-sigmoid", lambda: ProbMSELoss("sigmoid")),
    Case("prob-mse-softmax", lambda: ProbMSELoss("softmax")),
    Case("soft-dice-sigmoid", lambda: SoftDiceKDLoss("sigmoid")),
    Case("soft-dice-softmax", lambda: SoftDiceKDLoss("softmax", include_background=False), channels=3),
    Case("feature-mse", FeatureMSELoss),
    Case("feature-mse-l2", lambda: FeatureMSELoss(normalize="channel_l2"), channels=4),
    Case("feature-mse-layernorm", lambda: FeatureMSELoss(normalize="layernorm"), channels=4),
    Case("msgff", MSGFFLoss, not_tiling=CELLS),
    Case("msgff-coarse", lambda: MSGFFLoss(scales=(None, 1))),
    Case("msgff-learned", lambda: MSGFFLoss(weights="learned"), not_tiling=CELLS),
    Case("at-l2sum", AttentionTransferLoss),
    Case("at-paper", lambda: AttentionTransferLoss("paper")),
    Case("at-code", lambda: AttentionTransferLoss("code"), not_tiling=COUNT),
    Case("at-seed", lambda: AttentionTransferLoss("seed"), not_tiling=COUNT),
    Case("at-exponent-4", lambda: AttentionTransferLoss(exponent=4.0)),
    Case("edge-teacher", lambda: EdgeLoss("teacher", "sigmoid"), not_tiling=SEAMS),
    Case("edge-softmax", lambda: EdgeLoss("teacher", "softmax"), channels=3, not_tiling=SEAMS),
    Case(
        "edge-raw",
        lambda: EdgeLoss("teacher", "sigmoid", normalize=False),
        not_tiling=SEAMS,
        not_dimensional="the raw 3-D kernel smooths along the third axis too and is four times as large",
    ),
    Case(
        "edge-mask",
        lambda: EdgeLoss("mask", "sigmoid"),
        not_zero="logits against a mask",
        not_tiling=SEAMS,
        unit_target=True,
    ),
    Case("hard-pseudo", lambda: HardPseudoLabelLoss(link="sigmoid"), not_zero=DECISION, masked=False),
    Case("hard-pseudo-softmax", lambda: HardPseudoLabelLoss(link="softmax"), not_zero=DECISION, masked=False),
    Case("bce-dice", BCEDiceLoss, not_zero="logits against a mask", unit_target=True),
    Case("channel-wise", ChannelWiseLoss),
    Case("channel-wise-tau4", lambda: ChannelWiseLoss(temperature=4.0)),
    Case("dkd", DKDLoss, channels=4, labels=True),
    Case("dist-softmax", lambda: DISTLoss(link="softmax"), channels=4),
    Case("dist-sigmoid", lambda: DISTLoss(link="sigmoid")),
    Case("similarity", SimilarityLoss, not_doubling=BATCH, masked=False),
    Case("hcl", HCLoss, not_tiling=CELLS, masked=False),
    Case("coordinate", CoordinateLoss),
    Case("coordinate-free", lambda: CoordinateLoss(channel_free=True)),
    Case("class-affinity", ClassAffinityLoss, channels=3),
    Case("class-affinity-sigmoid", lambda: ClassAffinityLoss("sigmoid")),
]
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.mark.parametrize("case", [c for c in CASES if not c.unit_target], ids=lambda case: case.name)
def test_zero_at_equality_unless_stated(case: Case) -> None:
    student, _ = case.inputs()
    value = case(student, student.clone()).item()
    assert (value > 1e-3) if case.not_zero else abs(value) < 1e-7


@each
def test_positive_and_scalar_at_a_difference(case: Case) -> None:
    value = case(*case.inputs())
    assert value.shape == ()
    assert value.item() > 1e-4


@each
def test_gradient_reaches_the_student_and_not_the_teacher(case: Case) -> None:
    student, other = (x.requires_grad_() for x in case.inputs())
    case(student, other).backward()
    assert student.grad is not None and student.grad.abs().max() > 1e-6
    assert torch.isfinite(student.grad).all()
    assert other.grad is None


@each
def test_finite_in_half_precision_at_60_and_at_constants(case: Case) -> None:
    student, other = case.inputs(torch.float16)
    for s in (60 * torch.sign(student), torch.full_like(student, 60), torch.zeros_like(student)):
        for t in (other if case.unit_target else 60 * torch.sign(other), torch.zeros_like(other)):
            leaf = s.clone().requires_grad_()
            value = case(leaf, t)
            value.backward()
            assert value.dtype == torch.float32
            assert torch.isfinite(value) and leaf.grad is not None and torch.isfinite(leaf.grad).all()


@each
def test_same_value_under_autocast(case: Case) -> None:
    student, other = case.inputs(torch.float32)
    plain = case(student, other)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(case(student, other), plain)


@each
def test_duplicating_the_batch(case: Case) -> None:
    student, other = case.inputs()
    once, twice = case(student, other), case(torch.cat([student] * 2), torch.cat([other] * 2))
    assert torch.isclose(once, twice, rtol=1e-9) != bool(case.not_doubling)


@each
def test_tiling_the_image(case: Case) -> None:
    student, other = case.inputs()
    once, tiled = case(student, other), case(student.repeat(1, 1, 2, 2), other.repeat(1, 1, 2, 2))
    # the stabilisers of the overlaps do not grow with the image: their share is up to 1e-5 / (sum of squares)
    assert torch.isclose(once, tiled, rtol=1e-5) != bool(case.not_tiling)


@each
def test_gradcheck(case: Case) -> None:
    student, other = case.inputs(size=(2, 3))
    loss = case.make().double()
    leaf = student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(s, other, **case.target(other)), (leaf,))


@each
def test_depth_one_equals_two_dimensions(case: Case) -> None:
    student, other = case.inputs()
    flat, deep = case(student, other), case(student.unsqueeze(2), other.unsqueeze(2))
    assert torch.isclose(flat, deep, rtol=1e-9) != bool(case.not_dimensional)


@each
def test_volumes(case: Case) -> None:
    student, other = case.inputs(size=(4, 5, 6))
    leaf = student.requires_grad_()
    value = case(leaf, other)
    value.backward()
    assert value.item() > 1e-4 and leaf.grad is not None and leaf.grad.abs().max() > 0


@each
def test_mask_of_ones_changes_nothing_and_masked_positions_do_not_count(case: Case) -> None:
    student, other = case.inputs()
    mask = torch.ones_like(student[:, :1])
    if not case.masked:
        with pytest.raises(ValueError, match="accepts no mask"):
            case(student, other, mask=mask)
        return
    assert torch.isclose(case(student, other, mask=mask), case(student, other), rtol=1e-9)
    mask[..., 3:] = 0
    changed = student.clone()
    changed[..., 3:] = torch.randn_like(changed[..., 3:])
    values = [case(s, other, mask=mask) for s in (student, changed)]
    if "edge" in case.name:  # an edge belongs to the position and to its neighbours
        changed[..., 3] = student[..., 3]
        values[1] = case(changed, other, mask=mask)
    assert torch.isclose(values[0], values[1], rtol=1e-9)
    assert values[0].item() > 1e-6


@each
def test_ignore_index_is_a_mask(case: Case) -> None:
    if not case.masked:
        return
    student, other = case.inputs()
    labels = other.argmax(dim=1, keepdim=True)
    labels[:, :, :2] = 255
    loss = case.make()
    expected_labels = {"target": labels.where(labels != 255, 0)} if case.labels else {}
    expected = loss(student, other, mask=(labels != 255).to(student), **expected_labels)
    loss.ignore_index = 255
    assert torch.isclose(loss(student, other, target=labels), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="ignore_index=255 needs the labels"):
        loss(student, other)


@each
def test_empty_mask_gives_zero_and_no_nan(case: Case) -> None:
    if not case.masked:
        return
    student, other = case.inputs()
    leaf = student.requires_grad_()
    value = case(leaf, other, mask=torch.zeros_like(student[:, :1]))
    value.backward()
    assert value.item() == pytest.approx(0.0, abs=1e-9)
    assert leaf.grad is not None and torch.isfinite(leaf.grad).all()


@each
def test_different_shapes_are_named(case: Case) -> None:
    student, other = case.inputs()
    with pytest.raises(ValueError, match=r"(?s)\(3, .*\(2, "):
        case(student, other[:2], **case.target(student))


def test_teacher_grad_opens_the_way_to_the_teacher() -> None:
    student, other = CASES[0].inputs()
    for make in (KDLoss, LogitMSELoss, ChannelWiseLoss, AttentionTransferLoss):
        leaf = other.clone().requires_grad_()
        loss = make(link="softmax", teacher_grad=True) if make is KDLoss else make(teacher_grad=True)
        loss(student, leaf).backward()
        assert leaf.grad is not None and leaf.grad.abs().max() > 0


def test_bad_masks_and_labels_are_named() -> None:
    student, other = CASES[0].inputs()
    loss = LogitMSELoss(ignore_index=255)
    with pytest.raises(ValueError, match=r"mask has shape \(3, 2, 4, 6\)"):
        loss(student, other, mask=torch.ones_like(student), target=torch.zeros(3, 4, 6))
    with pytest.raises(ValueError, match=r"mask has spatial shape \(4, 5\) and the student \(4, 6\)"):
        LogitMSELoss()(student, other, mask=torch.ones(3, 1, 4, 5))
    with pytest.raises(ValueError, match=r"target has shape \(3, 2, 4, 6\)"):
        loss(student, other, target=torch.zeros(3, 2, 4, 6))
    with pytest.raises(ValueError, match="cannot leave positions out"):
        _IgnoringSimilarity()
    with pytest.raises(ValueError, match=r"student has shape \(3,\); at least batch and channel"):
        LogitMSELoss()(torch.zeros(3), torch.zeros(3))


class _IgnoringSimilarity(SimilarityLoss):
    def __init__(self) -> None:
        PairLoss.__init__(self, ignore_index=1)
