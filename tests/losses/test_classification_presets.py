"""The classification total, its parts by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from ckdmed.losses import class_weights_of, classification_distillation_loss, supervised_classification_loss
from ckdmed.networks.taps import TappedOutput

STUDENT = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
TEACHER = torch.tensor([[2.0, 0.0, -2.0], [0.0, 3.0, 0.0]])
LABELS = torch.tensor([0, 1])


def said(logits: torch.Tensor, **features: torch.Tensor) -> TappedOutput:
    return TappedOutput(logits=logits, features=features, projected={})


def test_the_reports_total_on_the_worked_example():
    values = classification_distillation_loss("report", layers=())(said(STUDENT), said(TEACHER), LABELS)
    assert float(values.terms["supervised"]) == pytest.approx(0.68281303, abs=1e-6)
    assert float(values.terms["soft_targets"]) == pytest.approx(0.62926944, abs=1e-6)
    assert float(values.total) == pytest.approx(0.63462380, abs=1e-6)
    assert values.weights == {"supervised": pytest.approx(0.1), "soft_targets": pytest.approx(0.9)}


def test_alpha_temperature_and_beta_replace_the_presets():
    ours, theirs = torch.rand(2, 4, 3, 3), torch.rand(2, 4, 3, 3)
    loss = classification_distillation_loss("report", alpha=0.4, temperature=1.0, beta=2.0)
    values = loss(said(STUDENT, msgff=ours), said(TEACHER, msgff=theirs), LABELS)
    expected = 0.4 * 0.68281303 + 0.6 * 0.36483840 + 2.0 * float(((ours - theirs) ** 2).mean())
    assert float(values.total) == pytest.approx(expected, abs=1e-6)


def test_ours_normalises_features_and_ramps():
    ours = torch.rand(2, 4, 3, 3)
    loss = classification_distillation_loss("ours")
    scaled = said(TEACHER, msgff=7 * ours)
    assert float(loss(said(STUDENT, msgff=ours), scaled, LABELS, progress=0.5).terms["msgff"]) == pytest.approx(
        0, abs=1e-6
    )
    assert [loss.terms["msgff"].weight_at(p) for p in (0.05, 0.5, 0.95)] == [pytest.approx(0.5), 1.0, 0.0]
    assert loss.projection_side == "student" and loss.projected_layers == ("msgff",)
    assert classification_distillation_loss("report").projection_side == "teacher"


def test_grids_meet_on_the_smaller_one():
    loss = classification_distillation_loss("report")
    ours, theirs = torch.rand(2, 4, 8, 8), torch.rand(2, 4, 4, 4)
    values = loss(said(STUDENT, msgff=ours), said(TEACHER, msgff=theirs), LABELS)
    expected = F.mse_loss(F.adaptive_avg_pool2d(ours, 4), theirs)
    assert float(values.terms["msgff"]) == pytest.approx(float(expected), abs=1e-6)


def test_alone_needs_no_teacher():
    loss = classification_distillation_loss("alone")
    assert not loss.needs_teacher and loss.layers == ()
    assert float(loss(said(STUDENT), None, LABELS).total) == pytest.approx(0.68281303, abs=1e-6)


def test_class_weights_and_smoothing_by_hand():
    weights, smoothing = [1.0, 3.0, 1.0], 0.3
    value = supervised_classification_loss(weights, smoothing)(STUDENT, LABELS)
    log_p = STUDENT.log_softmax(1)
    w = torch.tensor(weights)
    picked = -log_p[torch.arange(2), LABELS] * w[LABELS]
    spread = -(log_p * w).sum(1) / 3
    expected = ((1 - smoothing) * picked + smoothing * spread).sum() / w[LABELS].sum()
    assert float(value) == pytest.approx(float(expected), abs=1e-6)
    # one-hot targets, as mixup without mixing would give them
    soft = supervised_classification_loss(None, 0.0)(STUDENT, F.one_hot(LABELS, 3).float())
    assert float(soft) == pytest.approx(0.68281303, abs=1e-6)


def test_balanced_weights():
    assert class_weights_of("balanced", [0, 0, 0, 1, 2, 2], 3) == pytest.approx([6 / 9, 2.0, 1.0])
    labels = [0, 0, 0, 1, 2, 2]
    weights = class_weights_of("balanced", labels, 3)
    assert weights is not None and sum(weights[i] for i in labels) == pytest.approx(len(labels))
    assert class_weights_of(None, labels, 3) is None
    assert class_weights_of([1, 2, 3], labels, 3) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "weights, message",
    [
        ("even", "got 'even'"),
        ("balanced", r"\[2, 0, 1\]"),
        ([1.0, 2.0], "must be 3 numbers above 0"),
        ([1.0, 0.0, 2.0], "must be 3 numbers above 0"),
    ],
)
def test_bad_weights(weights: object, message: str):
    with pytest.raises(ValueError, match=message):
        class_weights_of(weights, [0, 0, 2], 3)  # type: ignore[arg-type]


def test_bad_settings():
    with pytest.raises(ValueError, match="preset must be one of .* got 'seed'"):
        classification_distillation_loss("seed")
    with pytest.raises(ValueError, match=r"alpha must lie in \[0, 1\], got 1.5"):
        classification_distillation_loss(alpha=1.5)
    with pytest.raises(ValueError, match=r"label_smoothing must lie in \[0, 1\), got 1.0"):
        supervised_classification_loss(None, 1.0)
