"""The classification total, its parts by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from ckdmed.losses import supervised_classification_loss
from ckdmed.methods import distillation_loss
from ckdmed.networks.projectors import token_projector
from ckdmed.networks.taps import TappedOutput

STUDENT = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
TEACHER = torch.tensor([[2.0, 0.0, -2.0], [0.0, 3.0, 0.0]])
LABELS = torch.tensor([0, 1])


def said(logits: torch.Tensor, **features: torch.Tensor) -> TappedOutput:
    return TappedOutput(logits=logits, features=features, projected={})


def test_the_reports_total_on_the_worked_example():
    values = distillation_loss("report_kd", "classification", layers=())(said(STUDENT), said(TEACHER), LABELS)
    assert float(values.terms["supervised"]) == pytest.approx(0.68281303, abs=1e-6)
    assert float(values.terms["soft_targets"]) == pytest.approx(0.62926944, abs=1e-6)
    assert float(values.total) == pytest.approx(0.63462380, abs=1e-6)
    assert values.weights == {"supervised": pytest.approx(0.1), "soft_targets": pytest.approx(0.9)}


def test_alpha_temperature_and_beta_replace_the_methods():
    ours, theirs = torch.rand(2, 4, 3, 3), torch.rand(2, 4, 3, 3)
    loss = distillation_loss("report_kd", "classification", alpha=0.4, temperature=1.0, beta=2.0)
    values = loss(said(STUDENT, msgff=ours), said(TEACHER, msgff=theirs), LABELS)
    expected = 0.4 * 0.68281303 + 0.6 * 0.36483840 + 2.0 * float(((ours - theirs) ** 2).mean())
    assert float(values.total) == pytest.approx(expected, abs=1e-6)


def test_ckd_normalises_features_and_ramps():
    ours = torch.rand(2, 4, 3, 3)
    loss = distillation_loss("ckd", "classification")
    scaled = said(TEACHER, msgff=7 * ours)
    assert float(loss(said(STUDENT, msgff=ours), scaled, LABELS, progress=0.5).terms["msgff"]) == pytest.approx(
        0, abs=1e-6
    )
    assert [loss.terms["msgff"].weight_at(p) for p in (0.05, 0.5, 0.95)] == [pytest.approx(0.5), 1.0, 0.0]
    assert loss.projection_side == "student" and loss.projected_layers == ("msgff",)
    assert distillation_loss("report_kd", "classification").projection_side == "teacher"


def test_grids_meet_on_the_smaller_one():
    loss = distillation_loss("report_kd", "classification")
    ours, theirs = torch.rand(2, 4, 8, 8), torch.rand(2, 4, 4, 4)
    values = loss(said(STUDENT, msgff=ours), said(TEACHER, msgff=theirs), LABELS)
    expected = F.mse_loss(F.adaptive_avg_pool2d(ours, 4), theirs)
    assert float(values.terms["msgff"]) == pytest.approx(float(expected), abs=1e-6)


def test_alone_needs_no_teacher():
    loss = distillation_loss("supervised", "classification")
    assert not loss.needs_teacher and loss.layers == ()
    assert float(loss(said(STUDENT), None, LABELS).total) == pytest.approx(0.68281303, abs=1e-6)


def test_outputs_by_hand():
    dkd = distillation_loss("dkd", "classification")(said(STUDENT), said(TEACHER), LABELS)
    assert float(dkd.terms["decoupled"]) == pytest.approx(1.19562635, rel=1e-5)
    assert dkd.weights == {"supervised": 1.0, "decoupled": 1.0}
    less = distillation_loss("dkd", "classification", beta=1.0)(said(STUDENT), said(TEACHER), LABELS)
    assert float(less.terms["decoupled"]) == pytest.approx(0.59216247 + 0.07543299, rel=1e-5)
    dist = distillation_loss("dist", "classification")(said(STUDENT), said(TEACHER), LABELS)
    assert float(dist.terms["correlation"]) == pytest.approx(0.25588142 + 1.68e-6, rel=1e-3)
    plain = distillation_loss("kd", "classification")(said(STUDENT), said(TEACHER), LABELS)
    assert float(plain.total) == pytest.approx(0.63462380, abs=1e-6)


@pytest.mark.parametrize(("name", "term"), [("dkd", "decoupled"), ("ofa", "output")])
def test_the_teachers_class_takes_the_place_of_a_missing_label(name: str, term: str):
    loss = distillation_loss(name, "classification", exits=["e"])
    maps = {"e": torch.rand(2, 4, 3, 3)}
    loss.build({"e": [2, 4, 3, 3], "logits": [2, 3]}, {}, {"logits": [2, 3]})
    student, likely = TappedOutput(STUDENT, maps, {}), TEACHER.argmax(dim=1)
    other = (likely[0] + 1) % 3
    half = loss(student, said(TEACHER), torch.tensor([int(other), -7]), labelled=torch.tensor([True, False]))
    filled = loss(student, said(TEACHER), torch.tensor([int(other), int(likely[1])]))
    for part in half.terms.keys() - {"supervised"}:
        torch.testing.assert_close(half.terms[part], filled.terms[part])
    # the label that there is stays, though the teacher thinks otherwise
    assert not torch.equal(half.terms[term], loss(student, said(TEACHER), likely).terms[term])
    nobody = loss(student, said(TEACHER), torch.tensor([-7, -7]), labelled=torch.tensor([False, False]))
    torch.testing.assert_close(nobody.terms[term], loss(student, said(TEACHER), likely).terms[term])


def test_decoupled_targets_rise_over_a_twelfth_and_need_one_class_an_image():
    loss = distillation_loss("dkd", "classification")
    assert [loss.terms["decoupled"].weight_at(p) for p in (1 / 24, 1 / 12, 1.0)] == [pytest.approx(0.5), 1.0, 1.0]
    with pytest.raises(ValueError, match="target has shape"):
        loss(said(STUDENT), said(TEACHER), F.one_hot(LABELS, 3).float())


def test_a_batch_of_one_has_no_relations():
    one = [said(x[:1], msgff=torch.rand(1, 4, 3, 3)) for x in (STUDENT, TEACHER)]
    for name in ("dist", "similarity"):
        assert list(distillation_loss(name, "classification")(*one, LABELS[:1]).terms) == ["supervised"]


def test_tokens_behind_the_class_token_by_hand():
    # layer norm of two numbers leaves their order: (-1, 1) or (1, -1)
    student = TappedOutput(STUDENT, {}, {"tokens": torch.tensor([[[0.0, 3.0]], [[5.0, 1.0]]])})
    student.features["tokens"] = torch.zeros(2, 1, 1, 1)
    teacher = said(TEACHER, tokens=torch.tensor([[[9.0, 9.0], [1.0, 4.0]], [[9.0, 9.0], [0.0, 2.0]]]))
    loss = distillation_loss("tokens", "classification", tokens=["tokens"])
    assert float(loss(student, teacher, LABELS).terms["tokens"]) == pytest.approx(2.0, rel=1e-4)
    assert loss.projectors["tokens"] is token_projector
    with pytest.raises(ValueError, match="this teacher has none"):
        distillation_loss("tokens", "classification")


def test_a_teacher_without_a_convolutional_map():
    for name in ("ckd", "report_kd"):
        assert list(distillation_loss(name, "classification", layers=[]).terms) == ["supervised", "soft_targets"]
        with pytest.raises(ValueError, match="these two networks have none in common"):
            distillation_loss(name, "classification", layers=[], beta=1.0)


def test_scales_and_their_weights_are_settings_here_too():
    loss = distillation_loss("report_kd", "classification", scales=[None, 1], scale_weights="learned")
    f, g = torch.rand(2, 4, 3, 3), torch.rand(2, 4, 3, 3)
    value = loss(said(STUDENT, msgff=f), said(TEACHER, msgff=g), LABELS).terms["msgff"]
    # equal at the start
    expected = ((f - g) ** 2).mean() / 2 + ((f - g).mean(dim=(2, 3)) ** 2).mean() / 2
    torch.testing.assert_close(value.detach(), expected)
    assert len(list(loss.parameters())) == 1


def test_bad_settings():
    with pytest.raises(ValueError, match="there is no method 'seed' for classification. Those that fit: at "):
        distillation_loss("seed", "classification")
    with pytest.raises(ValueError, match=r"alpha must lie in \[0, 1\], got 1.5"):
        distillation_loss("ckd", "classification", alpha=1.5)
    with pytest.raises(ValueError, match=r"label_smoothing must lie in \[0, 1\), got 1.0"):
        supervised_classification_loss(None, 1.0)


LEVELS = {"student_taps": ["msgff", "s16", "s8", "s4", "exit1"], "teacher_taps": ["msgff", "s16", "s8", "s4"]}
OF_MAPS = ["at", "ckd", "coordinate", "fitnets", "hcl", "report_kd", "reviewkd", "rkd", "similarity"]


@pytest.mark.parametrize("method", OF_MAPS)
def test_several_stages_are_compared_where_they_are_chosen(method: str) -> None:
    assert tuple(distillation_loss(method, "classification", **LEVELS).layers) == ("msgff",)
    # deepest first, whatever the order of the choice
    chosen = distillation_loss(method, "classification", **LEVELS, feature_layers=["s4", "s16"])
    assert tuple(chosen.layers) == ("s16", "s4")
    with pytest.raises(ValueError, match=r"\['s2'\] are not among those of both.*'msgff', 's16', 's8', 's4'"):
        distillation_loss(method, "classification", **LEVELS, feature_layers=["s2"])


def test_the_stages_of_a_choice_weigh_as_much_as_one() -> None:
    loss = distillation_loss("report_kd", "classification", **LEVELS, feature_layers=["s8", "s4"], beta=3.0)
    ours = {"s8": torch.rand(2, 4, 4, 4), "s4": torch.rand(2, 5, 8, 8)}
    theirs = {"s8": torch.rand(2, 4, 2, 2), "s4": torch.rand(2, 5, 8, 8)}
    values = loss(said(STUDENT, **ours), said(TEACHER, **theirs), LABELS)
    pooled = F.mse_loss(F.adaptive_avg_pool2d(ours["s8"], 2), theirs["s8"])
    expected = (float(pooled) + float(F.mse_loss(ours["s4"], theirs["s4"]))) / 2
    assert float(values.terms["msgff"]) == pytest.approx(expected, abs=1e-6) and values.weights["msgff"] == 3.0


@pytest.mark.parametrize("method", ["ckd", "report_kd"])
def test_no_stages_are_no_features_and_contradictions_are_refused(method: str) -> None:
    assert "msgff" not in distillation_loss(method, "classification", **LEVELS, feature_layers=[]).terms
    assert "msgff" not in distillation_loss(method, "classification", **LEVELS, feature_layers=[], beta=0).terms
    with pytest.raises(ValueError, match="compared only where beta is above 0"):
        distillation_loss(method, "classification", **LEVELS, feature_layers=["s8"], beta=0)
    for idle in ({"beta": 1.0}, {"scales": [1, 2]}):
        with pytest.raises(ValueError, match=r"feature_layers=\[\] compares no features"):
            distillation_loss(method, "classification", **LEVELS, feature_layers=[], **idle)
    # a teacher without maps has nothing to choose
    with pytest.raises(ValueError, match="are not among those of both"):
        distillation_loss(method, "classification", layers=(), feature_layers=["s8"])


def test_a_method_that_compares_maps_alone_needs_one() -> None:
    with pytest.raises(ValueError, match="feature_layers cannot be an empty list"):
        distillation_loss("fitnets", "classification", feature_layers=[])
