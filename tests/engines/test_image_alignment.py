"""Mutual distillation with image alignment: each term reaches its own networks alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader
from torch import nn

from ckdmed.engines import (
    AlignedTrainer,
    CooperativeTeachers,
    MultiTeacherTrainer,
    TeacherEnsemble,
    attach_head,
    image_alignment,
    multi_teacher_trainer,
)
from ckdmed.losses import CooperativeTeacherLoss, KDLoss, TeacherShares, supervised_segmentation_loss
from ckdmed.methods import distillation_loss
from tests.toy import unet


def images(count: int = 4) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(3)
    made = []
    for _ in range(count):
        image = torch.rand(2, 32, 32, generator=generator)
        made.append({"image": image, "label": (image[:1] > 0.6).float()})
    return made


def trainer(epochs: int = 1, lr: float = 0.01, **given: Any) -> MultiTeacherTrainer:
    shares = TeacherShares(1, 1)
    loss = distillation_loss("mutual", "unimodal", shares=shares, align="cyclegan")
    teacher = CooperativeTeachers(TeacherEnsemble({"a": unet(seed=1)}, {"a": [1]}), learning=True)
    student = attach_head(unet(seed=9), {}, 1, (2, 2, 32, 32), input_channels=[1], loss=loss)
    # channel 0 assists, channel 1 is the student's
    alignment = image_alignment("cyclegan", {"a": [0]}, [1], (2, 2, 32, 32), base=2)
    settings: dict[str, Any] = {
        "device": torch.device("cpu"),
        "max_epochs": epochs,
        "train_data_loader": DataLoader(images(), batch_size=4),
        "network": student,
        "teacher": teacher,
        "distillation_loss": loss,
        "optimizer": torch.optim.SGD(student.parameters(), lr=lr),
        "teacher_optimizer": torch.optim.SGD(teacher.parameters(), lr=lr),
        "teacher_loss": CooperativeTeacherLoss(supervised_segmentation_loss(), ["a"], 0.0, w_mutual=1.0),
        "alignment": alignment,
        "decollate": False,
    }
    return multi_teacher_trainer(**{**settings, **given})


def test_one_step_is_that_of_the_formulas() -> None:
    engine = trainer()
    assert isinstance(engine, AlignedTrainer)
    other = trainer()
    g = other.alignment.to_target
    batch = torch.stack([item["image"] for item in images()])
    label = torch.stack([item["label"] for item in images()])
    target = batch[:, 1:]
    real, syn = unet(seed=9), unet(seed=1)
    translated = g(batch[:, :1])
    kl, sup = KDLoss("sigmoid", temperature=1.0), supervised_segmentation_loss()
    # as of before either step
    real_on_target, syn_on_translated, syn_on_target = real(target), syn(translated), syn(target)
    total = sup(syn_on_translated, label) + kl(syn_on_target, real_on_target.detach())
    grads = torch.autograd.grad(total, list(syn.parameters()), retain_graph=True)
    reached = torch.autograd.grad(sup(syn_on_translated, label), list(g.parameters()), allow_unused=True)
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in reached)
    own = distillation_loss("mutual", "unimodal", shares=TeacherShares(1, 1)).terms["supervised"].loss
    on_translated = real(translated.detach())
    student = own(real_on_target, label) + 0.5 * kl(on_translated, syn_on_translated.detach())
    for network, found in ((syn, grads), (real, torch.autograd.grad(student, list(real.parameters())))):
        for weight, gradient in zip(network.parameters(), found):
            weight.data -= 0.01 * gradient
    before = [p.detach().clone() for p in engine.alignment.parameters()]
    engine.run()
    peer = engine.teacher.ensemble.networks["a"]
    for expected, made in ((real, engine.network.student), (syn, peer)):
        for one, two in zip(expected.parameters(), made.parameters()):
            torch.testing.assert_close(one, two)
    # translators and discriminators made a step too
    moved = [not torch.equal(a, b) for a, b in zip(before, engine.alignment.parameters())]
    assert all(moved)
    assert set(engine.state.terms) == {
        "supervised",
        "response",
        "teacher_a",
        "mutual_a",
        "translation_adversarial",
        "translation_cycle",
        "discriminators",
    }
    weights = {name for name, weight in engine.state.weights.items() if weight}
    assert weights == {"supervised", "response"}


def test_translators_learn_the_adversarial_and_the_cycle_terms_by_hand() -> None:
    alignment = image_alignment("cyclegan", {"a": [0]}, [1], (2, 2, 32, 32), base=2)
    alignment.to_target, alignment.to_assisting = nn.Identity(), nn.Identity()

    class Half(nn.Module):
        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [x, torch.full((1, 1), 0.5)]

    alignment.judge_target, alignment.judge_assisting = Half(), Half()
    batch = torch.rand(2, 2, 32, 32)
    aligned = alignment(batch)
    assert torch.equal(aligned[:, 1], batch[:, 0]) and torch.equal(aligned[:, 0], batch[:, 0])
    terms, weights = alignment.generator_terms(batch, aligned)
    # least squares to 1 of 0.5 twice; identities come back as they were
    assert float(terms["translation_adversarial"]) == pytest.approx(0.5) and float(terms["translation_cycle"]) == 0
    assert weights == {"translation_adversarial": 1.0, "translation_cycle": 10.0}


@pytest.mark.slow
def test_the_cycle_shrinks() -> None:
    engine = trainer(epochs=20)
    seen: list[float] = []
    engine.add_event_handler(
        Events.ITERATION_COMPLETED, lambda e: seen.append(float(e.state.terms["translation_cycle"]))
    )
    engine.run()
    assert seen[-1] < 0.95 * seen[0] and all(torch.isfinite(torch.tensor(seen)))
    assert len(engine.alignment.pools[0].images) == 4


def test_the_state_of_translators_and_their_optimisers_is_restored() -> None:
    engine, other = trainer(), trainer()
    engine.run()
    other.alignment.load_state_dict(engine.alignment.state_dict())
    for one, two in zip(engine.alignment.parameters(), other.alignment.parameters()):
        assert torch.equal(one, two)
    for name in ("optimizer", "judges_optimizer"):
        states = [getattr(found.alignment, name).state_dict()["state"] for found in (engine, other)]
        assert states[0] and torch.equal(states[0][0]["exp_avg"], states[1][0]["exp_avg"])


def test_without_alignment_it_is_the_plain_trainer_and_what_is_refused() -> None:
    assert image_alignment(None, {"a": [0]}, [1], (2, 2, 32, 32)) is None
    loss = distillation_loss("mutual", "unimodal", shares=TeacherShares(1, 1))
    assert type(trainer(alignment=None, distillation_loss=loss)) is MultiTeacherTrainer
    for given, message in (
        ({"align": "affine"}, "align must be one of cyclegan or null, got 'affine'"),
        ({"views": {"a": [0], "b": [1]}}, "there are 2 teachers"),
        ({"input_shape": (2, 2, 12, 40)}, "images of 12 pixels are too small"),
    ):
        settings: Any = {"align": "cyclegan", "views": {"a": [0]}, "target": [1], "input_shape": (2, 2, 32, 32)}
        with pytest.raises(ValueError, match=message):
            image_alignment(**{**settings, **given})
    plain = CooperativeTeacherLoss(supervised_segmentation_loss(), ["a"], 0.0)
    with pytest.raises(ValueError, match="has to learn from the student"):
        trainer(teacher_loss=plain)
    with pytest.raises(ValueError, match="the batch has 1 channels"):
        image_alignment("cyclegan", {"a": [0]}, [1], (2, 2, 32, 32), base=2)(torch.rand(1, 1, 32, 32))


@pytest.mark.parametrize("size", [(16, 20), (16, 18, 16)])
def test_small_images_of_two_and_three_dimensions(size: tuple[int, ...]) -> None:
    alignment = image_alignment("cyclegan", {"a": [0, 1]}, [2], (2, 3, *size), base=2)
    batch = torch.rand(2, 3, *size)
    aligned = alignment(batch)
    assert aligned.shape == batch.shape and torch.equal(aligned[:, :2], batch[:, :2])
    terms, weights = alignment.generator_terms(batch, aligned)
    sum(weights[name] * value for name, value in terms.items()).backward()
    assert all(p.grad is not None for p in alignment.to_target.parameters())
    assert torch.isfinite(alignment.step_discriminators(batch, aligned.detach()))
