from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import nn

from ckdmed.losses import PRESETS, segmentation_distillation_loss, supervised_segmentation_loss

LAYERS = ("d4", "d3", "d2", "d1")


class Output(NamedTuple):
    logits: torch.Tensor
    features: dict[str, torch.Tensor]
    projected: dict[str, torch.Tensor]


def maps(channels: int, size: int = 32) -> dict[str, torch.Tensor]:
    return {
        name: torch.randn(2, channels * 2**level, size // 2**level, size // 2**level, requires_grad=True)
        for name, level in zip(LAYERS, (3, 2, 1, 0))
    }


def outputs(side: str, channels: int = 1) -> tuple[Output, Output]:
    student = Output(
        torch.randn(2, channels, 32, 32, requires_grad=True), maps(2), maps(4) if side == "student" else {}
    )
    teacher_maps = {name: value.detach() for name, value in maps(4).items()}
    projected = {name: value.detach() for name, value in maps(2).items()} if side == "teacher" else {}
    return student, Output(torch.randn(2, channels, 32, 32), teacher_maps, projected)


def toy() -> tuple[Output, Output, torch.Tensor]:
    student = torch.tensor([0.0, 1, -2, 3], dtype=torch.float64).reshape(1, 1, 2, 2)
    teacher = torch.tensor([2.0, 1, -4, 0], dtype=torch.float64).reshape(1, 1, 2, 2)
    target = torch.tensor([1.0, 1, 0, 0]).reshape(1, 1, 2, 2)
    return Output(student, {}, {}), Output(teacher, {}, {}), target


def test_report_kd_on_the_toy_values():
    student, teacher, target = toy()
    values = segmentation_distillation_loss("report_kd", w_feat=0)(student, teacher, target)
    assert values.weights == {"supervised": 0.1, "logit_mse": 0.9}
    assert values.terms["supervised"].item() == pytest.approx(1.04548106, abs=1e-6)
    assert values.terms["logit_mse"].item() == pytest.approx(16 * 4.25, rel=1e-6)
    assert values.total.item() == pytest.approx(61.30454811, rel=1e-6)


def test_report_kd_at_temperature_one_has_no_factor():
    student, teacher, target = toy()
    loss = segmentation_distillation_loss("report_kd", w_feat=0, temperature=1.0)
    assert loss(student, teacher, target).total.item() == pytest.approx(3.92954811, rel=1e-6)


def test_supervised_term_on_the_toy_values():
    student, _, target = toy()
    assert supervised_segmentation_loss()(student.logits.float(), target).item() == pytest.approx(0.73663601, abs=1e-6)


def test_soft_targets_of_the_presets_on_the_toy_values():
    student, teacher, target = toy()
    ours = segmentation_distillation_loss("ours", layers=())(student, teacher, target)
    assert ours.terms["soft_targets"].item() == pytest.approx(0.43634092, abs=1e-6)
    assert ours.terms["soft_dice"].item() == pytest.approx(0.11022790, abs=1e-5)
    assert ours.weights["soft_targets"] == ours.weights["soft_dice"] == 0.5
    reported = segmentation_distillation_loss("report_kdpp", layers=())(student, teacher, target)
    assert reported.terms["soft_targets"].item() == pytest.approx(0.50147309, abs=1e-6)
    assert reported.weights["soft_targets"] == 1.0


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_term_is_finite_and_teaches(preset: str, pooled: bool):
    loss = segmentation_distillation_loss(preset, pooled_features=pooled)
    student, teacher = outputs(loss.projection_side)
    target = torch.zeros(2, 1, 32, 32)
    target[:, :, 8:20, 8:20] = 1
    values = loss(student, teacher, target, labelled=torch.tensor([True, preset != "hard_pseudo"]), progress=0.5)
    expected = {
        "ours": ["supervised", "soft_targets", "soft_dice", "features", "attention", "edges"],
        "alone": ["supervised"],
        "hard_pseudo": ["supervised", "pseudo_labels"],
        "report_kd": ["supervised", "logit_mse", "features"],
        "report_kdpp": ["supervised", "soft_targets", "features", "attention", "edges"],
    }
    assert list(values.terms) == expected[preset]
    assert torch.isfinite(values.total)
    inputs = [student.logits, *student.features.values(), *student.projected.values()]
    for name, value in values.terms.items():
        assert torch.isfinite(value) and value > 0, name
        gradients = torch.autograd.grad(value, inputs, retain_graph=True, allow_unused=True)
        assert sum(float(g.abs().sum()) for g in gradients if g is not None) > 0, name


@pytest.mark.parametrize("preset", ["ours", "report_kdpp"])
def test_exclusive_classes(preset: str):
    loss = segmentation_distillation_loss(preset, link="softmax")
    student, teacher = outputs(loss.projection_side, channels=3)
    target = torch.randint(0, 3, (2, 1, 32, 32)).float()
    values = loss(student, teacher, target, progress=0.5)
    assert torch.isfinite(values.total)
    for name in ("supervised", "soft_targets", "edges"):
        (gradient,) = torch.autograd.grad(values.terms[name], student.logits, retain_graph=True)
        assert gradient.abs().sum() > 0, name


def test_feature_terms_of_ours_rise_and_stop():
    loss = segmentation_distillation_loss("ours")
    student, teacher = outputs("student")
    target = torch.ones(2, 1, 32, 32)
    weights = {p: loss(student, teacher, target, progress=p).weights for p in (0.05, 0.5, 0.95)}
    assert weights[0.05]["features"] == pytest.approx(0.05) and weights[0.05]["attention"] == pytest.approx(0.25)
    assert weights[0.5]["features"] == pytest.approx(0.1) and weights[0.5]["attention"] == pytest.approx(0.5)
    assert "features" not in weights[0.95] and "attention" not in weights[0.95]


@pytest.mark.parametrize("preset", ["report_kd", "report_kdpp"])
def test_the_reports_have_no_ramps_and_sum_over_the_levels(preset: str):
    loss = segmentation_distillation_loss(preset)
    student, teacher = outputs("teacher")
    target = torch.ones(2, 1, 32, 32)
    values = {p: loss(student, teacher, target, progress=p) for p in (0.01, 1.0)}
    assert values[0.01].weights == values[1.0].weights
    each = [(student.features[n] - teacher.projected[n]).square().mean() for n in LAYERS]
    torch.testing.assert_close(values[1.0].terms["features"], sum(each))


def test_pseudo_labels_are_the_teachers_masks_on_images_without_labels():
    student, teacher = outputs("student")
    target = torch.zeros(2, 1, 32, 32)
    target[:, :, 8:20, 8:20] = 1
    loss, sup = segmentation_distillation_loss("hard_pseudo"), supervised_segmentation_loss()
    values = loss(student, teacher, target, labelled=torch.tensor([True, False]))
    torch.testing.assert_close(values.terms["supervised"], sup(student.logits[:1], target[:1]))
    torch.testing.assert_close(values.terms["pseudo_labels"], sup(student.logits[1:], (teacher.logits[1:] > 0).float()))
    assert values.weights == {"supervised": 1.0, "pseudo_labels": 1.0} and loss.layers == ()
    assert list(loss(student, teacher, target).terms) == ["supervised"]


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_masks_of_whole_numbers(preset: str):
    loss = segmentation_distillation_loss(preset)
    student, teacher = outputs(loss.projection_side)
    mask = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    mask[:, :, 8:20, 8:20] = 1
    torch.testing.assert_close(loss(student, teacher, mask).total, loss(student, teacher, mask.float()).total)


def test_sides_of_the_projections():
    assert segmentation_distillation_loss("ours").projection_side == "student"
    assert segmentation_distillation_loss("report_kd").projection_side == "teacher"
    assert segmentation_distillation_loss("report_kdpp").projection_side == "teacher"
    assert segmentation_distillation_loss("ours").projected_layers == LAYERS[:2]
    assert segmentation_distillation_loss("report_kdpp").layers == LAYERS


def test_weights_given_replace_the_presets():
    loss = segmentation_distillation_loss("ours", w_sup=3, w_logit=0, w_att=0, w_edge=0.25)
    assert {name: term.weight for name, term in loss.terms.items()} == {
        "supervised": 3.0,
        "features": 0.1,
        "edges": 0.25,
    }
    alone = segmentation_distillation_loss("ours", w_logit=0, w_feat=0, w_att=0)
    assert not alone.needs_teacher and alone.layers == ()
    assert loss.needs_teacher


def test_a_supervised_loss_of_ones_own():
    loss = segmentation_distillation_loss("ours", layers=(), supervised=nn.MSELoss(), w_logit=0, w_edge=0)
    student, teacher, target = toy()
    assert loss(student, teacher, target).total.item() == pytest.approx((1 + 0 + 4 + 9) / 4)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"preset": "mine"}, r"preset must be one of \[.*'ours'.*\], got 'mine'"),
        ({"preset": "report_kd", "link": "softmax"}, "is binary"),
        ({"link": "tanh"}, "link must be"),
        ({"w_sup": -1}, "cannot be negative"),
        ({"w_sup": 0, "w_logit": 0, "w_feat": 0, "w_att": 0, "w_edge": 0}, "at least one term"),
    ],
)
def test_impossible_settings_are_refused(kwargs: dict, message: str):
    with pytest.raises(ValueError, match=message):
        segmentation_distillation_loss(**kwargs)
