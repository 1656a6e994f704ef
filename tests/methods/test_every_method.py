"""What holds of every method of the registry, with real networks: nothing here names a method but for an exception."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from ckdmed.engines import FrozenTeacher, attach_student
from ckdmed.losses import HEAD, TeacherShares
from ckdmed.methods import Method, distillation_loss, registered
from ckdmed.networks import (
    TRANSFORMER_TAPS,
    classification_student,
    classification_student_taps,
    classification_teacher,
    classification_teacher_taps,
    segmentation_student,
    segmentation_student_taps,
    segmentation_teacher,
    segmentation_teacher_taps,
    transformer_taps,
    with_transformer_taps,
)
from ckdmed.networks.taps import TappedOutput

# terms that compare with a label, or whose least value is not 0, each with its reason
NOT_ZERO = {
    "supervised": "the label",
    "edges": "the label's edges",
    "deep_label": "the label",
    "pseudo_labels": "the teacher's decisions",
    "correction": "linear",
    "output": "the least value is an entropy",
    "exits": "the student's exits are networks",
    "review": "the student's fusion is a network",
    "adversarial": "least where the discriminator tells the two apart",
}


class Classifier(nn.Module):
    """A student with EfficientNet's names of stages."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 4, 6, 8, 10)
        self._blocks = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(a, b, 3, stride=1 + (b > 4), padding=1), nn.BatchNorm2d(b), nn.ReLU())
                for a, b in zip(widths, widths[1:])
            )
        )
        self.head = nn.Linear(10, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self._blocks(x).mean(dim=(2, 3)))


def networks(task: str, dims: int = 2) -> tuple[nn.Module, nn.Module, dict[str, str], dict[str, str], torch.Tensor]:
    """Student, teacher, their taps and a batch of three."""
    generator = torch.Generator().manual_seed(3)
    vit = {"vit_hidden": 8, "vit_layers": 1, "vit_heads": 2, "vit_img_size": 32}
    if task == "classification":
        teacher = classification_teacher("vgg_vit", vgg_width=0.03, vgg_img_size=32, **vit)
        taps = classification_teacher_taps(teacher)
        image = torch.rand(3, 3, 32, 32, generator=generator)
        return Classifier(), teacher, classification_student_taps(Classifier(), 3), taps, image
    channels = 1 if task == "segmentation" else 3
    shared = {"in_channels": 1, "out_channels": channels, "spatial_dims": dims}
    student = segmentation_student("unet", base=2, **shared)
    teacher = segmentation_teacher("unet_vit", base=3, **shared, **vit)
    image = torch.rand(3, 1, *(32,) * dims, generator=generator)
    taps = segmentation_teacher_taps("unet_vit") | transformer_taps(teacher)
    return student, teacher, with_transformer_taps(segmentation_student_taps("unet")), taps, image


def labels(task: str, image: torch.Tensor) -> torch.Tensor:
    if task == "classification":
        return torch.tensor([0, 2, 1])
    mask = torch.zeros(3, 1 if task == "segmentation" else 3, *image.shape[2:])
    mask[:, :, 4:20, 8:20] = 1
    if task != "segmentation":
        mask[:, 1, 4:12] = 0
    return mask


def attached(name: str, task: str, dims: int = 2, **options: Any) -> Any:
    torch.manual_seed(1)
    student, teacher, student_taps, teacher_taps, image = networks(task, dims)
    common = [n for n in student_taps if n in teacher_taps and n not in TRANSFORMER_TAPS]
    loss = distillation_loss(
        name,
        task,
        layers=common,
        tokens=[n for n in TRANSFORMER_TAPS if n in student_taps and n in teacher_taps],
        exits=[n for n in student_taps if n.startswith(("exit", "d"))],
        heads=2,
        **options,
    )
    frozen = FrozenTeacher(teacher, loss.select_taps(teacher_taps))
    made = attach_student(student, frozen, student_taps, loss, tuple(image.shape))
    return made, frozen, loss, image, labels(task, image)


CASES = [
    pytest.param(one, task, id=f"{task}-{one.name}") for one in registered() for task in one.tasks if task != "unimodal"
]
each = pytest.mark.parametrize(("method", "task"), CASES)
# regions differ from one mask in the number of channels alone
once = pytest.mark.parametrize(
    ("method", "task"),
    [
        pytest.param(*case.values, id=case.id, marks=[pytest.mark.slow] if case.values[1] == "regions" else [])
        for case in CASES
    ],
)


def flags(method: Method) -> torch.Tensor:
    return torch.tensor([True, True, method.name != "hard_pseudo"])


@once
def test_its_terms_are_finite_and_move_the_student_and_never_the_teacher(method: Method, task: str):
    student, teacher, loss, image, label = attached(method.name, task)
    before = teacher.state_hash()
    said = teacher(image)
    values = loss(student(image), said, label, labelled=flags(method), progress=0.5)
    # all of them, and each reaches the student
    assert list(values.terms) == list(loss.terms)
    weights = list(student.student.parameters())
    for name, value in values.terms.items():
        assert value.shape == () and torch.isfinite(value), name
        gradients = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
        assert sum(float(g.abs().sum()) for g in gradients if g is not None) > 0, name
    values.total.backward()
    own = dict(student.projections.named_parameters()) | {
        f"loss.{number}": weight for number, weight in enumerate(student.loss_parameters)
    }
    assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in own.values()), own.keys()
    assert all(weight.grad is None for weight in teacher.network.parameters()) and teacher.state_hash() == before
    # what only the training needs is no part of the student
    assert student.student.state_dict().keys() == networks(task)[0].state_dict().keys()
    assert all(any(weight is mine for mine in student.parameters()) for weight in loss.parameters())


@once
def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it(method: Method, task: str):
    _, teacher, loss, image, label = attached(method.name, task)
    loss.eval()
    said = teacher(image)
    # behind a projection the tokens of the class are gone
    projected = {n: f[:, 1:] if n in TRANSFORMER_TAPS else f for n, f in said.features.items()}
    # a projection on the teacher's side is of both
    on_side = said._replace(projected=said.features if loss.projection_side == "teacher" else {})
    student_features = {
        **said.features,
        **{n: torch.rand(3, 4, 8, 8) for n in loss.student_layers if n not in loss.layers},
    }
    same = TappedOutput(said.logits.clone().requires_grad_(), student_features, projected)
    for name, term in loss.terms.items():
        if name in NOT_ZERO:
            continue
        value = term(same, on_side, label.float() if task != "classification" else label, None)
        # DIST bounds the roots of nearly constant outputs from below
        assert abs(float(value)) < (1e-3 if name == "correlation" else 1e-5), (name, float(value))


@pytest.mark.slow
@each
def test_half_precision_gives_numbers(method: Method, task: str):
    student, teacher, loss, image, label = attached(method.name, task)
    said, own = teacher(image), student(image)

    def half(output: TappedOutput) -> TappedOutput:
        parts = ({k: 60 * torch.sign(v).half() for k, v in part.items()} for part in output[1:3])
        return TappedOutput(60 * torch.sign(output.logits).half(), *parts)

    leaf = half(own)
    leaf = leaf._replace(logits=leaf.logits.detach().requires_grad_())
    values = loss(leaf, half(said), label, labelled=flags(method), progress=0.5)
    values.total.backward()
    assert all(torch.isfinite(value) and value.dtype == torch.float32 for value in values.terms.values())
    assert leaf.logits.grad is None or torch.isfinite(leaf.logits.grad).all()


@pytest.mark.slow
@each
def test_steps_of_an_optimiser_lower_the_loss(method: Method, task: str):
    """Whatever the terms are, they can be minimised together: no sign is wrong and no weight is forgotten."""
    student, teacher, loss, image, label = attached(method.name, task)
    said = teacher(image)
    optimizer = torch.optim.Adam(student.parameters(), lr=3e-3)
    seen = []
    for _ in range(25):
        optimizer.zero_grad()
        torch.manual_seed(0)
        total = loss(student(image), said, label, labelled=flags(method), progress=0.5).total
        total.backward()
        optimizer.step()
        seen.append(float(total.detach()))
    assert seen[-1] < seen[0], seen


VOLUMES = [pytest.param(one, id=one.name) for one in registered() if "regions" in one.tasks]


@pytest.mark.slow
@pytest.mark.parametrize("method", VOLUMES)
def test_volumes(method: Method):
    student, teacher, loss, image, label = attached(method.name, "regions", dims=3)
    values = loss(student(image), teacher(image), label, labelled=flags(method), progress=0.5)
    assert list(values.terms) == list(loss.terms)
    values.total.backward()
    assert torch.isfinite(values.total) and all(w.grad is not None for w in student.student.parameters())


@pytest.mark.slow
def test_what_the_training_adds_leaves_the_exported_student_as_it_was():
    """Projections, exits and discriminators are in no checkpoint: a fresh network takes it and is scripted."""
    for name in ("cross_architecture", "reviewkd", "ofa"):
        made, _, _, image, _ = attached(name, "segmentation")
        fresh = networks("segmentation")[0].eval()
        fresh.load_state_dict(made.student.state_dict(), strict=True)
        torch.testing.assert_close(torch.jit.script(fresh)(image), made.eval()(image).logits)


@pytest.mark.parametrize("one", [m for m in registered() if "unimodal" in m.tasks], ids=lambda m: m.name)
def test_several_teachers(one: Method):
    loss = distillation_loss(one.name, "unimodal", shares=TeacherShares(2, 3), cooperative=False)
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, requires_grad=True)
    # an intermediate head
    own = TappedOutput(logits, {HEAD: logits[..., ::2, ::2]}, {HEAD: logits[..., ::2, ::2]})
    said = TappedOutput(torch.randn(2, 6, 8, 8), {}, {})
    label = (torch.rand(2, 3, 8, 8) > 0.5).float()
    values = loss(own, said, label, labelled=torch.tensor([True, False]))
    assert list(values.terms) == list(loss.terms) and torch.isfinite(values.total)
    for name, value in values.terms.items():
        (gradient,) = torch.autograd.grad(value, [own.logits], retain_graph=True)
        assert float(gradient.abs().sum()) > 0, name


@pytest.mark.parametrize("one", [m for m in registered() if "classification" in m.tasks], ids=lambda m: m.name)
def test_a_transformer_learns_of_a_convolutional_network(one: Method):
    torch.manual_seed(0)
    options = {"hidden_size": 8, "num_heads": 2, "num_layers": 4, "position_grid": 4}
    student = classification_student("vit", options=options)
    teacher = classification_teacher("vgg_vgg", vgg_width=0.03, vgg_img_size=None)
    taps, of_teacher = classification_student_taps(student), classification_teacher_taps(teacher)
    if one.name == "tokens":
        with pytest.raises(ValueError, match="the tokens of a Vision Transformer, but this teacher has none"):
            distillation_loss(one.name, "classification", student_taps=taps, teacher_taps=of_teacher)
        return
    loss = distillation_loss(one.name, "classification", student_taps=taps, teacher_taps=of_teacher)
    frozen = FrozenTeacher(teacher, loss.select_taps(of_teacher))
    image = torch.rand(3, 3, 32, 32)
    made = attach_student(student, frozen, taps, loss, tuple(image.shape))
    if one.name == "cross_architecture":
        # tokens to a map by a 1x1 convolution, and no attention
        assert list(loss.terms) == ["supervised", "projection", "adversarial"]
        assert made.projections["msgff"].conv.kernel_size == (1, 1)
    values = loss(made(image), frozen(image), torch.tensor([0, 2, 1]), progress=0.5)
    assert list(values.terms) == list(loss.terms)
    values.total.backward()
    deepest = student._blocks[3].blocks[0].attn.qkv.weight
    assert torch.isfinite(values.total) and bool(deepest.grad.any())
    # alone, as it is exported
    fresh = classification_student("vit", options=options)
    fresh.load_state_dict(made.student.state_dict(), strict=True)
    torch.testing.assert_close(fresh.eval()(image), made.eval()(image).logits)
