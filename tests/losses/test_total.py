from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ckdmed.losses import DistillationLoss, FeatureMSELoss, KDLoss, LossTerm, RampAndOff, supervised_segmentation_loss


class Output(NamedTuple):
    logits: torch.Tensor
    features: dict[str, torch.Tensor] = {}
    projected: dict[str, torch.Tensor] = {}


class Square(nn.Module):
    def forward(self, student: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return (student - other).square().mean()


class Refuse(nn.Module):
    def forward(self, student: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        raise AssertionError("this term must not be computed")


def outputs(batch: int = 4, size: int = 8) -> tuple[Output, Output, torch.Tensor]:
    student = Output(
        logits=torch.randn(batch, 1, size, size, requires_grad=True),
        features={"d1": torch.randn(batch, 2, size, size, requires_grad=True)},
        projected={"d1": torch.randn(batch, 3, size, size, requires_grad=True)},
    )
    teacher = Output(torch.randn(batch, 1, size, size), {"d1": torch.randn(batch, 3, size, size)}, {})
    return student, teacher, (torch.rand(batch, 1, size, size) > 0.5).float()


def full_loss(**weights: float) -> DistillationLoss:
    return DistillationLoss(
        {
            "supervised": LossTerm(supervised_segmentation_loss(), "target", weights.get("supervised", 0.5)),
            "soft_targets": LossTerm(KDLoss("sigmoid", temperature=2.0), "logits", weights.get("soft_targets", 2.0)),
            "features": LossTerm(FeatureMSELoss(), "features", weights.get("features", 0.25), layers=["d1"]),
        }
    )


def test_sum_equals_its_parts():
    student, teacher, target = outputs()
    total, terms, weights = full_loss()(student, teacher, target)
    assert weights == {"supervised": 0.5, "soft_targets": 2.0, "features": 0.25}
    expected = {
        "supervised": supervised_segmentation_loss()(student.logits, target),
        "soft_targets": KDLoss("sigmoid", temperature=2.0)(student.logits, teacher.logits),
        "features": F.mse_loss(student.projected["d1"], teacher.features["d1"]),
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)
    torch.testing.assert_close(total, sum(weights[name] * value for name, value in expected.items()))


@pytest.mark.parametrize("source", ["target", "logits", "features"])
def test_a_term_of_weight_zero_is_not_computed(source: str):
    layers = ["d1"] if source == "features" else []
    terms = {
        "kept": LossTerm(Square(), "target"),
        "off": LossTerm(Refuse(), source, weight=0.0, layers=layers),
        "ramped": LossTerm(Refuse(), source, layers=layers, schedule=RampAndOff(0.1, 0.9)),
    }
    loss = DistillationLoss(terms)
    student, teacher, target = outputs()
    values = loss(student, teacher, target, progress=0.95)
    assert list(values.terms) == list(values.weights) == ["kept"]
    with pytest.raises(AssertionError, match="must not be computed"):
        loss(student, teacher, target, progress=0.5)


def test_what_terms_of_weight_zero_read_needs_neither_taps_nor_teacher():
    loss = full_loss(soft_targets=0.0, features=0.0)
    assert not loss.needs_teacher and loss.layers == () and loss.projected_layers == ()
    assert loss.select_taps({"d1": "decoder.d1"}) == {}
    student, _, target = outputs()
    assert torch.isfinite(loss(student, None, target).total)


def test_taps_that_the_terms_read():
    loss = full_loss()
    assert loss.layers == loss.projected_layers == ("d1",)
    assert loss.select_taps({"d1": "decoder.d1", "d2": "decoder.d2"}) == {"d1": "decoder.d1"}
    with pytest.raises(ValueError, match=r"reads layers \['d1'\], for which no tap is given; taps: \['d9'\]"):
        loss.select_taps({"d9": "decoder.d9"})


def test_labels_of_unlabelled_samples_never_matter():
    student, teacher, target = outputs()
    labelled = torch.tensor([True, False, True, False])
    loss = full_loss()
    reference = loss(student, teacher, target, labelled=labelled)
    other = target.clone()
    other[~labelled] = torch.tensor(float("nan"))
    changed = loss(student, teacher, other, labelled=labelled)
    assert torch.equal(reference.total, changed.total)
    torch.testing.assert_close(
        reference.terms["supervised"], supervised_segmentation_loss()(student.logits[labelled], target[labelled])
    )
    # the teacher speaks on all of them
    torch.testing.assert_close(
        reference.terms["soft_targets"], KDLoss("sigmoid", temperature=2.0)(student.logits, teacher.logits)
    )
    flipped = target.clone()
    flipped[labelled] = 1 - flipped[labelled]
    assert not torch.equal(reference.total, loss(student, teacher, flipped, labelled=labelled).total)


def test_terms_on_chosen_samples():
    student, teacher, target = outputs()
    labelled = torch.tensor([True, False, False, True])
    loss = DistillationLoss(
        {name: LossTerm(Square(), "logits", samples=name) for name in ("all", "labelled", "unlabelled")}
        | {
            "feature": LossTerm(Square(), "features", layers=["d1"], samples="unlabelled"),
        }
    )
    terms = loss(student, teacher, target, labelled=labelled).terms
    difference = (student.logits - teacher.logits).square()
    torch.testing.assert_close(terms["all"], difference.mean())
    torch.testing.assert_close(terms["labelled"], difference[labelled].mean())
    torch.testing.assert_close(terms["unlabelled"], difference[~labelled].mean())
    feature = (student.projected["d1"] - teacher.features["d1"]).square()
    torch.testing.assert_close(terms["feature"], feature[~labelled].mean())
    # where all are labelled, "labelled" is all of them and "unlabelled" none
    for everything in (None, torch.ones(4, dtype=torch.bool)):
        terms = loss(student, teacher, target, labelled=everything).terms
        torch.testing.assert_close(terms["labelled"], terms["all"])
        assert "unlabelled" not in terms and "feature" not in terms


def test_all_unlabelled_batch():
    student, teacher, target = outputs()
    nobody = torch.zeros(4, dtype=torch.bool)
    values = full_loss()(student, teacher, target, labelled=nobody)
    assert "supervised" not in values.terms and "soft_targets" in values.terms
    values.total.backward()
    assert student.logits.grad.abs().sum() > 0


def test_batch_in_which_no_term_has_a_sample_has_a_gradient_of_zero():
    student, teacher, target = outputs()
    loss = DistillationLoss({"supervised": LossTerm(supervised_segmentation_loss(), "target")})
    values = loss(student, None, target, labelled=torch.zeros(4, dtype=torch.bool))
    assert values.terms == {} and values.total.item() == 0
    values.total.backward()
    assert student.logits.grad.abs().sum() == 0


def test_schedule_scales_the_weight():
    term = LossTerm(Square(), "logits", weight=2.0, schedule=RampAndOff(0.1, 0.9))
    assert [term.weight_at(p) for p in (0.05, 0.1, 0.5, 0.89, 0.9, 1.0)] == [1.0, 2.0, 2.0, 2.0, 0.0, 0.0]
    student, teacher, target = outputs()
    loss = DistillationLoss({"kd": term})
    half, full = (loss(student, teacher, target, progress=p) for p in (0.05, 0.5))
    assert half.weights == {"kd": 1.0} and full.weights == {"kd": 2.0}
    torch.testing.assert_close(2 * half.total, full.total)


@pytest.mark.parametrize("spatial", [(8, 8), (4, 8, 8)])
def test_teacher_logits_of_another_size_are_resampled(spatial: tuple[int, ...]):
    student = Output(torch.randn(2, 1, *spatial))
    coarse = torch.randn(2, 1, *(s // 2 for s in spatial))
    loss = DistillationLoss({"kd": LossTerm(Square(), "logits")})
    mode = "bilinear" if len(spatial) == 2 else "trilinear"
    fine = F.interpolate(coarse, size=spatial, mode=mode, align_corners=False)
    torch.testing.assert_close(loss(student, Output(coarse), None).total, (student.logits - fine).square().mean())


def test_teacher_logits_of_other_axes_are_refused():
    loss = DistillationLoss({"kd": LossTerm(Square(), "logits")})
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\) and the student's \(2, 3\)"):
        loss(Output(torch.zeros(2, 3)), Output(torch.zeros(2, 3, 4, 4)), None)


def test_classification():
    student, teacher = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)
    target = torch.tensor([0, 2, 1, 0])
    labelled = torch.tensor([True, True, False, True])
    loss = DistillationLoss(
        {
            "supervised": LossTerm(nn.CrossEntropyLoss(), "target", 0.1),
            "soft_targets": LossTerm(KDLoss("softmax", temperature=4.0), "logits", 0.9),
        }
    )
    values = loss(Output(student), Output(teacher), target, labelled=labelled)
    torch.testing.assert_close(values.terms["supervised"], F.cross_entropy(student[labelled], target[labelled]))
    divergence = F.kl_div(
        F.log_softmax(student / 4, 1), F.log_softmax(teacher / 4, 1), reduction="batchmean", log_target=True
    )
    torch.testing.assert_close(values.terms["soft_targets"], 16 * divergence)
    values.total.backward()
    assert student.grad.abs().sum() > 0


def test_layer_weights():
    student = Output(torch.zeros(1, 1), {"a": torch.ones(1, 1, 2, 2), "b": torch.full((1, 1, 2, 2), 3.0)})
    teacher = Output(torch.zeros(1, 1), {"a": torch.zeros(1, 1, 2, 2), "b": torch.zeros(1, 1, 2, 2)})

    def value(**kwargs) -> float:
        term = LossTerm(Square(), "features", layers=["a", "b"], **kwargs)
        return DistillationLoss({"f": term})(student, teacher, None).total.item()

    assert value() == pytest.approx((1 + 9) / 2)
    assert value(layer_weights=[1.0, 1.0]) == pytest.approx(10)
    assert value(layer_weights=[2.0, 0.0]) == pytest.approx(2)


def test_unprojected_features_where_the_term_asks_for_them():
    student = Output(torch.zeros(1, 1), {"a": torch.ones(1, 1, 2, 2)}, {"a": torch.full((1, 1, 2, 2), 5.0)})
    teacher = Output(torch.zeros(1, 1), {"a": torch.zeros(1, 1, 2, 2)})
    for projected, expected in ((True, 25.0), (False, 1.0)):
        term = LossTerm(Square(), "features", layers=["a"], projected=projected)
        loss = DistillationLoss({"f": term})
        assert loss(student, teacher, None).total.item() == expected
        assert loss.projected_layers == (("a",) if projected else ())


def test_projection_of_the_teacher_takes_the_place_of_its_feature():
    student = Output(torch.zeros(1, 1), {"a": torch.ones(1, 1, 2, 2)})
    teacher = Output(torch.zeros(1, 1), {"a": torch.zeros(1, 9, 2, 2)}, {"a": torch.full((1, 1, 2, 2), 3.0)})
    loss = DistillationLoss({"f": LossTerm(Square(), "features", layers=["a"])}, projection_side="teacher")
    assert loss(student, teacher, None).total.item() == 4.0


def test_losses_are_computed_in_full_precision_under_autocast():
    student = Output(torch.full((1, 1, 4, 4), 300.0, dtype=torch.bfloat16), {}, {})
    teacher = Output(torch.full((1, 1, 4, 4), -300.5), {}, {})
    loss = DistillationLoss({"kd": LossTerm(Square(), "logits")})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = loss(student, teacher, None).total
    assert total.dtype == torch.float32 and total.item() == 600.5**2


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"source": "label"}, "source must be one of"),
        ({"source": "logits", "samples": "some"}, "samples must be one of"),
        ({"source": "target", "samples": "all"}, "only labelled samples have a target"),
        ({"source": "logits", "weight": -0.1}, "cannot be negative, got -0.1"),
        ({"source": "features"}, "layers belong to source='features'"),
        ({"source": "logits", "layers": ["d1"]}, "layers belong to source='features'"),
        ({"source": "features", "layers": ["a", "b"], "layer_weights": [1.0]}, "1 layer weights for 2 layers"),
    ],
)
def test_impossible_terms_are_refused(kwargs: dict, message: str):
    with pytest.raises(ValueError, match=message):
        LossTerm(Square(), **kwargs)


def test_impossible_totals_are_refused():
    with pytest.raises(ValueError, match="at least one term"):
        DistillationLoss({})
    with pytest.raises(ValueError, match="projection_side must be"):
        DistillationLoss({"a": LossTerm(Square(), "target")}, projection_side="both")
    student, teacher, target = outputs()
    with pytest.raises(ValueError, match="given no teacher"):
        full_loss()(student, None, target)
    with pytest.raises(ValueError, match="given no target"):
        full_loss()(student, teacher, None)


def test_terms_that_read_the_label_or_several_samples():
    with pytest.raises(ValueError, match="with_label is for a teacher's output on labelled samples"):
        LossTerm(Square(), "logits", with_label=True, samples="all")
    with pytest.raises(ValueError, match="with_label is for"):
        LossTerm(Square(), "target", with_label=True)
    for kwargs in ({"with_label": True, "teacher_labels": "auto"}, {"teacher_labels": "softmax"}):
        with pytest.raises(ValueError, match="teacher_labels is for terms with_label"):
            LossTerm(Square(), "logits", **kwargs)  # type: ignore[arg-type]
    loss = DistillationLoss({"pairs": LossTerm(Square(), "logits", min_samples=2)})
    (student, teacher), target = outputs(2)[:2], torch.zeros(2)
    assert list(loss(student, teacher, target).terms) == ["pairs"]
    one = loss(student._replace(logits=student.logits[:1]), teacher._replace(logits=teacher.logits[:1]), target[:1])
    assert not one.terms and one.total.requires_grad


def test_a_layer_has_one_projector():
    def made(shape_s, shape_t):
        return torch.nn.Identity()

    def other(shape_s, shape_t):
        return torch.nn.Identity()

    def term(projector):
        return LossTerm(Square(), "features", layers=["a"], projector=projector)

    assert DistillationLoss({"x": term(made), "y": term(made), "z": term(None)}).projectors == {"a": made}
    with pytest.raises(ValueError, match="two terms project the layer 'a' in different ways"):
        DistillationLoss({"x": term(made), "y": term(other)})
    with pytest.raises(ValueError, match="projectors are for the student's side"):
        DistillationLoss({"x": term(made)}, projection_side="teacher")
    with pytest.raises(ValueError, match="a projector is only for a term that compares projected features"):
        LossTerm(Square(), "logits", projector=made)
