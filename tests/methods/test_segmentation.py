from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import nn

from ckdmed.losses import supervised_segmentation_loss
from ckdmed.methods import distillation_loss

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
    values = distillation_loss("report_kd", "segmentation", w_feat=0)(student, teacher, target)
    assert values.weights == {"supervised": 0.1, "logit_mse": 0.9}
    assert values.terms["supervised"].item() == pytest.approx(1.04548106, abs=1e-6)
    assert values.terms["logit_mse"].item() == pytest.approx(16 * 4.25, rel=1e-6)
    assert values.total.item() == pytest.approx(61.30454811, rel=1e-6)


def test_report_kd_at_temperature_one_has_no_factor():
    student, teacher, target = toy()
    loss = distillation_loss("report_kd", "segmentation", w_feat=0, temperature=1.0)
    assert loss(student, teacher, target).total.item() == pytest.approx(3.92954811, rel=1e-6)


def test_supervised_term_on_the_toy_values():
    student, _, target = toy()
    assert supervised_segmentation_loss()(student.logits.float(), target).item() == pytest.approx(0.73663601, abs=1e-6)


def test_soft_targets_on_the_toy_values():
    student, teacher, target = toy()
    made = distillation_loss("ckd", "segmentation", feature_layers=[])(student, teacher, target)
    assert made.terms["soft_targets"].item() == pytest.approx(0.43634092, abs=1e-6)
    assert made.terms["soft_dice"].item() == pytest.approx(0.11022790, abs=1e-5)
    assert made.weights["soft_targets"] == made.weights["soft_dice"] == 0.5
    reported = distillation_loss("report_kdpp", "segmentation", feature_layers=[])(student, teacher, target)
    assert reported.terms["soft_targets"].item() == pytest.approx(0.50147309, abs=1e-6)
    assert reported.weights["soft_targets"] == 1.0


# of methods without networks of their own
PLAIN = (
    "at",
    "ckd",
    "class_affinity",
    "coordinate",
    "cwd",
    "dist",
    "emkd",
    "fitnets",
    "function_matching",
    "hard_pseudo",
    "hcl",
    "kd",
    "msgff",
    "protokd",
    "report_kd",
    "report_kdpp",
    "similarity",
    "supervised",
)


def square() -> torch.Tensor:
    target = torch.zeros(2, 1, 32, 32)
    target[:, :, 8:20, 8:20] = 1
    return target


def test_volumes_have_the_same_methods():
    student, teacher = outputs("student", 3)

    def deep(output: Output) -> Output:
        return Output(
            output.logits.unsqueeze(2), *({k: v.unsqueeze(2) for k, v in part.items()} for part in output[1:])
        )

    target = square().expand(-1, 3, -1, -1)
    for name in sorted(set(PLAIN) - {"report_kd", "report_kdpp", "hard_pseudo"}):
        loss = distillation_loss(name, "regions")
        flat = loss(student, teacher, target, progress=0.5)
        volume = loss(deep(student), deep(teacher), target.unsqueeze(2), progress=0.5)
        for term, value in flat.terms.items():
            # pooling of an axis of one to several cells repeats it
            torch.testing.assert_close(volume.terms[term], value, rtol=1e-4, atol=1e-6, msg=f"{name} {term}")


def test_new_methods_by_hand():
    student, teacher, target = toy()
    made = {name: distillation_loss(name, layers=["a"])(*pair_of_maps(), progress=1.0) for name in FEATURES}
    made |= {name: distillation_loss(name)(student, teacher, target) for name in ("kd", "cwd", "dist")}
    found = {name: (list(v.terms)[-1], list(v.terms.values())[-1].item()) for name, v in made.items()}
    expected = {
        "kd": ("soft_dice", 0.11022790),
        "cwd": ("channels", 1.82161380),
        "dist": ("correlation", 0.43609595),
        "fitnets": ("hints", 17.5),
        "at": ("attention", 0.06777370),
        "coordinate": ("coordinates", 0.64183947),
        # one sample resembles itself, whatever it is: the term is left out
        "similarity": ("supervised", made["similarity"].terms["supervised"].item()),
        # of 2x2 maps the pool of 1 counts half: (17.5 + 0.5 * 16.25) / 1.5
        "hcl": ("context", (17.5 + 0.5 * 16.25) / 1.5),
    }
    assert {name: term for name, (term, _) in found.items()} == {name: term for name, (term, _) in expected.items()}
    for name, (_, value) in expected.items():
        assert found[name][1] == pytest.approx(value, rel=2e-5), name
    weights = {name: list(v.weights.values()) for name, v in made.items()}
    assert made["kd"].terms["soft_targets"].item() == pytest.approx(0.43634092, rel=2e-5)
    assert weights["kd"] == [1, 0.5, 0.5] and weights["cwd"] == [1, 5] and weights["at"] == [1, 1000]
    assert weights["coordinate"] == [1, 1, 0.1] and weights["dist"] == weights["hcl"] == weights["fitnets"] == [1, 1]


def test_soft_targets_alone_are_one_option_away():
    values = distillation_loss("kd", w_dice=0)(*toy(), progress=1.0)
    assert values.weights == {"supervised": 1.0, "soft_targets": 0.5}


def test_function_matching_has_soft_dice_where_it_is_asked_for():
    usual = distillation_loss("function_matching")(*toy(), progress=1.0)
    assert usual.weights == {"soft_targets": 1.0}
    values = distillation_loss("function_matching", w_logit=0.5, w_dice=0.5)(*toy(), progress=1.0)
    assert values.weights == {"soft_targets": 0.5, "soft_dice": 0.5}
    # of the worked example, at a temperature of 1
    assert values.terms["soft_targets"].item() == pytest.approx(0.31401479, rel=2e-5)
    assert values.terms["soft_dice"].item() == pytest.approx(0.11022790, rel=2e-5)
    assert values.total.item() == pytest.approx(0.5 * (0.31401479 + 0.11022790), rel=2e-5)


FEATURES = ("fitnets", "at", "coordinate", "similarity", "hcl")


def pair_of_maps() -> tuple[Output, Output, torch.Tensor]:
    """The two maps of the losses' worked examples as a layer "a"."""
    student, teacher, target = toy()
    f = torch.arange(1.0, 9.0).reshape(1, 2, 2, 2)
    g = torch.tensor([[[1.0, 1], [1, 1]], [[0, 2], [0, 2]]]).unsqueeze(0)
    return student._replace(features={"a": f}), teacher._replace(features={"a": g}), target


def test_similarities_of_two_samples_by_hand():
    student, teacher, target = toy()
    two = [Output(torch.cat([x.logits] * 2), {"a": f}, {}) for x, f in zip((student, teacher), _three_pairs())]
    value = distillation_loss("similarity", layers=["a"])(*two, torch.cat([target] * 2)).terms["similarity"]
    # rows (1, 0), (0, 1) against (1, 1), (0, 1): G_s = I, rows of G_t (2, 1) and (1, 1), scaled to length 1
    g = torch.tensor([[2.0, 1], [1, 1]])
    g = g / g.norm(dim=1, keepdim=True)
    assert value.item() == pytest.approx(float((torch.eye(2) - g).square().sum() / 4), rel=1e-5)


def _three_pairs() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([[1.0, 0], [0, 1]]).reshape(2, 2, 1, 1), torch.tensor([[1.0, 1], [0, 1]]).reshape(2, 2, 1, 1)


def test_scales_pool_the_features():
    f, g = (torch.randn(1, 2, 8, 8) for _ in range(2))
    student, teacher, target = toy()
    said = student._replace(features={"a": f}), teacher._replace(features={"a": g}), target
    pooled = distillation_loss("report_kd", layers=["a"], scales=[1, 2])(*said).terms["features"]
    each = [(torch.nn.functional.adaptive_avg_pool2d(f - g, k) ** 2).mean() for k in (1, 2)]
    torch.testing.assert_close(pooled, (each[0] + each[1]) / 2)
    learned = distillation_loss("msgff", layers=["a"], scales=[None, 1, 2], scale_weights="learned")
    assert [tuple(p.shape) for p in learned.parameters()] == [(3,)]
    assert not list(distillation_loss("msgff", layers=["a"]).parameters())
    with pytest.raises(ValueError, match="scale_weights='learned' needs the scales"):
        distillation_loss("ckd", scale_weights="learned")
    with pytest.raises(ValueError, match=r"learned weights need two or more scales; scales is \[4\]"):
        distillation_loss("msgff", scales=[4], scale_weights="learned")


def test_channel_wise_features_are_a_choice():
    loss = distillation_loss("cwd", w_feat=10)
    assert loss.projected_layers == ("d4",) and loss.terms["feature_channels"].weight == 10
    with pytest.raises(ValueError, match="give w_feat as well"):
        distillation_loss("cwd", feature_layers=["d4"])


@pytest.mark.parametrize("method", ["ckd", "report_kdpp"])
def test_exclusive_classes(method: str):
    loss = distillation_loss(method, "segmentation", link="softmax")
    student, teacher = outputs(loss.projection_side, channels=3)
    target = torch.randint(0, 3, (2, 1, 32, 32)).float()
    values = loss(student, teacher, target, progress=0.5)
    assert torch.isfinite(values.total)
    for name in ("supervised", "soft_targets", "edges"):
        (gradient,) = torch.autograd.grad(values.terms[name], student.logits, retain_graph=True)
        assert gradient.abs().sum() > 0, name


def exclusive_masks() -> torch.Tensor:
    """Three regions of which no two overlap, and background."""
    classes = torch.zeros(2, 32, 32, dtype=torch.long)
    for region in (1, 2, 3):
        classes[:, 8 * region : 8 * region + 7, 4:20] = region
    return torch.stack([classes == region for region in (1, 2, 3)], dim=1).float()


@pytest.mark.parametrize(("method", "term"), [("emkd", "contrast"), ("protokd", "prototypes")])
def test_regions_that_exclude_each_other_keep_their_masks(method: str, term: str):
    student, teacher = outputs("student", channels=4)
    masks = exclusive_masks()
    exclusive = distillation_loss(method, "segmentation", layers=["d1"], exclusive=True)
    value = exclusive(student, teacher, masks).terms[term]
    torch.testing.assert_close(value, exclusive.terms[term].loss(student.features["d1"], teacher.features["d1"], masks))
    assert value > 0
    with pytest.raises(ValueError, match=r"values from 0 to 3; masks in \[0, 1\] are needed: give one for each region"):
        exclusive.terms[term].loss(student.features["d1"], teacher.features["d1"], 3 * masks[:, :1])


def test_exits_average_the_masks_of_exclusive_regions_and_not_their_numbers():
    student, teacher = outputs("student", channels=4)
    masks = exclusive_masks()
    loss = distillation_loss("ofa", "segmentation", layers=["d3"], exclusive=True)
    shapes = {**{name: tuple(value.shape) for name, value in student.features.items()}, "logits": (2, 4, 32, 32)}
    loss.build(shapes, {}, shapes)
    exits = loss.terms["exits"].loss
    with_background = torch.cat([1 - masks.sum(dim=1, keepdim=True), masks], dim=1)
    said, label = (torch.nn.functional.adaptive_avg_pool2d(x, (8, 8)) for x in (teacher.logits, with_background))
    expected = exits.loss(exits.exits["d3"](student.features["d3"]), said, target=label)
    torch.testing.assert_close(loss(student, teacher, masks).terms["exits"], expected)


def test_feature_terms_of_ckd_rise_and_stop():
    loss = distillation_loss("ckd", "segmentation")
    student, teacher = outputs("student")
    target = torch.ones(2, 1, 32, 32)
    weights = {p: loss(student, teacher, target, progress=p).weights for p in (0.05, 0.5, 0.95)}
    assert weights[0.05]["features"] == pytest.approx(0.05) and weights[0.05]["attention"] == pytest.approx(0.25)
    assert weights[0.5]["features"] == pytest.approx(0.1) and weights[0.5]["attention"] == pytest.approx(0.5)
    assert "features" not in weights[0.95] and "attention" not in weights[0.95]


@pytest.mark.parametrize("method", ["report_kd", "report_kdpp"])
def test_the_reports_have_no_ramps_and_sum_over_the_levels(method: str):
    loss = distillation_loss(method, "segmentation")
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
    loss, sup = distillation_loss("hard_pseudo", "segmentation"), supervised_segmentation_loss()
    values = loss(student, teacher, target, labelled=torch.tensor([True, False]))
    torch.testing.assert_close(values.terms["supervised"], sup(student.logits[:1], target[:1]))
    torch.testing.assert_close(values.terms["pseudo_labels"], sup(student.logits[1:], (teacher.logits[1:] > 0).float()))
    assert values.weights == {"supervised": 1.0, "pseudo_labels": 1.0} and loss.layers == ()
    assert list(loss(student, teacher, target).terms) == ["supervised"]


@pytest.mark.parametrize("method", sorted(set(PLAIN) - {"class_affinity"}))
def test_masks_of_whole_numbers(method: str):
    loss = distillation_loss(method, "segmentation")
    student, teacher = outputs(loss.projection_side)
    mask = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    mask[:, :, 8:20, 8:20] = 1
    torch.testing.assert_close(loss(student, teacher, mask).total, loss(student, teacher, mask.float()).total)


def test_sides_of_the_projections():
    assert distillation_loss("ckd", "segmentation").projection_side == "student"
    assert distillation_loss("report_kd", "segmentation").projection_side == "teacher"
    assert distillation_loss("report_kdpp", "segmentation").projection_side == "teacher"
    assert distillation_loss("ckd", "segmentation").projected_layers == LAYERS[:2]
    assert distillation_loss("report_kdpp", "segmentation").layers == LAYERS


def test_weights_given_replace_the_methods():
    loss = distillation_loss("ckd", "segmentation", w_sup=3, w_logit=0, w_att=0, w_edge=0.25)
    assert {name: term.weight for name, term in loss.terms.items()} == {
        "supervised": 3.0,
        "features": 0.1,
        "edges": 0.25,
    }
    alone = distillation_loss("ckd", "segmentation", w_logit=0, w_feat=0, w_att=0)
    assert not alone.needs_teacher and alone.layers == ()
    assert loss.needs_teacher


def test_a_supervised_loss_of_ones_own():
    loss = distillation_loss("ckd", "segmentation", feature_layers=[], supervised=nn.MSELoss(), w_logit=0, w_edge=0)
    student, teacher, target = toy()
    assert loss(student, teacher, target).total.item() == pytest.approx((1 + 0 + 4 + 9) / 4)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"method": "mine"}, r"there is no method 'mine' for segmentation. Those that fit: at \(.*; ckd \("),
        ({"method": "class_affinity"}, "no method 'class_affinity' for segmentation. It fits other tasks"),
        ({"method": "cwd", "w_edge": 0.1}, "'cwd' has no use for w_edge=0.1; its options are: w_sup, w_logit"),
        ({"feature_layers": ["d9"]}, r"layers \['d9'\] are not among those of both networks, \['d4', "),
        ({"method": "at", "layers": []}, "these two networks have none in common"),
        ({"method": "report_kd", "link": "softmax"}, "is binary"),
        ({"link": "tanh"}, "link must be"),
        ({"w_sup": -1}, "cannot be negative"),
        ({"w_sup": 0, "w_logit": 0, "w_feat": 0, "w_att": 0, "w_edge": 0}, "at least one term"),
    ],
)
def test_impossible_settings_are_refused(kwargs: dict, message: str):
    with pytest.raises(ValueError, match=message):
        distillation_loss(**kwargs)
