"""Methods whose terms bring projectors of their own, from a student to its teacher."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ckdmed.engines import FrozenTeacher, attach_student
from ckdmed.methods import distillation_loss
from ckdmed.networks import classification_teacher, classification_teacher_taps
from ckdmed.networks.projectors import ConvProjector, TokenProjector
from ckdmed.networks.token_projectors import TokenMapProjector
from ckdmed.networks.vit_classifier import ViTClassifier


class Student(nn.Module):
    """A classifier with one map."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 5, 3, stride=4, padding=1)
        self.head = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean(dim=(2, 3)))


def attached(method: str, layers: list[str], tokens: list[str]):  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    network = classification_teacher(
        "vgg_vit", vgg_width=0.03, vgg_img_size=32, vit_img_size=32, vit_hidden=8, vit_layers=1, vit_heads=2
    )
    loss = distillation_loss(method, "classification", layers=layers, tokens=tokens)
    teacher = FrozenTeacher(network, taps=loss.select_taps(classification_teacher_taps(network)))
    taps = dict.fromkeys(("msgff", "tokens"), "body")
    return loss, teacher, attach_student(Student(), teacher, taps, loss, (2, 3, 32, 32))


def test_tokens_and_regressors_reach_the_teachers_shapes_and_learn():
    for method, kind in (("tokens", TokenProjector), ("fitnets", ConvProjector), ("hcl", ConvProjector)):
        loss, teacher, student = attached(method, ["msgff"], ["tokens"])
        (name,) = student.projections
        assert isinstance(student.projections[name], kind)
        x, y = torch.rand(2, 3, 32, 32), torch.tensor([0, 2])
        answers, said = student(x), teacher(x)
        shape = said.features[name].shape
        # 2 x 2 patches and the class token
        assert shape == ((2, 5, 8) if method == "tokens" else shape)
        expected = (shape[0], shape[1] - 1, shape[2]) if method == "tokens" else shape
        assert answers.projected[name].shape == expected
        loss(answers, said, y, progress=0.5).total.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in student.projections.parameters())
        assert all(p.grad is None for p in teacher.network.parameters())
        assert not any("projection" in key for key in student.student.state_dict())


@pytest.mark.parametrize(
    ("kind", "method", "warned"),
    [("efficientnet_lite", "fitnets", True), ("efficientnet_lite", "hcl", False), ("vgg_vgg", "fitnets", False)],
)
def test_a_rectified_projection_to_values_below_zero_is_warned_of(
    kind: str, method: str, warned: bool, caplog: pytest.LogCaptureFixture
):
    torch.manual_seed(0)
    network = classification_teacher(kind, vgg_width=0.03, vgg_img_size=32)
    loss = distillation_loss(method, "classification", layers=["msgff"])
    teacher = FrozenTeacher(network, taps=loss.select_taps(classification_teacher_taps(network)))
    attach_student(Student(), teacher, {"msgff": "body"}, loss, (2, 3, 32, 32))
    assert ("tap 'msgff'" in caplog.text and "below 0" in caplog.text) == warned
    assert not any(p.grad is not None for p in teacher.parameters())


def test_taps_of_a_teacher_are_what_it_has():
    taps = {
        kind: classification_teacher_taps(
            classification_teacher(kind, vgg_width=0.03, vit_img_size=32, vit_hidden=8, vit_layers=1, vit_heads=2)
        )
        for kind in ("vgg_vit", "vgg_vgg", "vit_vit")
    }
    assert {kind: sorted(found) for kind, found in taps.items()} == {
        "vgg_vit": ["msgff", "qkv", "s16", "s4", "s8", "tokens"],
        "vgg_vgg": ["msgff", "s16", "s4", "s8"],
        "vit_vit": ["qkv", "tokens"],
    }
    assert classification_teacher_taps(Student()) == {}


def test_a_transformer_learns_from_a_convolutional_map():
    """The reverse pair: tokens are laid out as a map, and there is no attention to compare."""
    torch.manual_seed(0)
    student = ViTClassifier(3, 3, 32, 8, hidden_size=8, mlp_dim=16, num_layers=1, num_heads=2)
    network = classification_teacher("vgg_vgg", vgg_width=0.03, vgg_img_size=32)
    loss = distillation_loss("cross_architecture", "classification", layers=["msgff"])
    assert list(loss.terms) == ["supervised", "projection", "adversarial"]
    teacher = FrozenTeacher(network, taps=loss.select_taps(classification_teacher_taps(network)))
    made = attach_student(student, teacher, {"msgff": "vit.norm"}, loss, (2, 3, 32, 32))
    assert isinstance(made.projections["msgff"], TokenMapProjector)
    x = torch.rand(2, 3, 32, 32)
    answers, said = made(x), teacher(x)
    assert answers.projected["msgff"].shape == said.features["msgff"].shape
    values = loss(answers, said, torch.tensor([0, 2]), progress=0.5)
    for name in ("projection", "adversarial"):
        (gradient,) = torch.autograd.grad(
            values.terms[name], [student.vit.blocks[0].attn.qkv.weight], retain_graph=True
        )
        assert gradient.abs().sum() > 0, name
    assert all(w.grad is None for w in network.parameters())
