"""Mutual distillation: each term reaches its own network alone, and equal views make it deep mutual learning."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from ckdmed.engines import CooperativeTeachers, MultiTeacherTrainer, TeacherEnsemble, attach_head
from ckdmed.losses import CooperativeTeacherLoss, KDLoss, TeacherShares, supervised_segmentation_loss
from ckdmed.methods import distillation_loss
from ckdmed.transforms import BatchView
from tests.toy import loader, samples, unet


def mutual(peers: int = 1, lr: float = 0.01, epochs: int = 1, **kwargs: Any) -> MultiTeacherTrainer:
    shares = TeacherShares(peers, 1)
    loss = distillation_loss("mutual", "unimodal", shares=shares, w_response=1.0)
    names = [f"peer{number}" for number in range(peers)]
    ensemble = TeacherEnsemble({n: unet(seed=k + 1) for k, n in enumerate(names)}, {n: [0] for n in names})
    teacher = CooperativeTeachers(ensemble, learning=True)
    student = attach_head(unet(seed=9), {}, 1, (2, 1, 32, 32), loss=loss)
    return MultiTeacherTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=loader(samples(4)),
        network=student,
        teacher=teacher,
        distillation_loss=loss,
        optimizer=torch.optim.SGD(student.parameters(), lr=lr),
        teacher_optimizer=torch.optim.SGD(teacher.parameters(), lr=lr),
        teacher_loss=CooperativeTeacherLoss(supervised_segmentation_loss(), names, 0.0, w_mutual=1.0),
        decollate=False,
        **kwargs,
    )


def test_one_step_of_equal_views_is_deep_mutual_learning():
    engine = mutual()
    networks = [unet(seed=9), unet(seed=1)]
    data = samples(4)
    image, label = (torch.stack([item[key] for item in data]) for key in ("image", "label"))
    said = [network(image) for network in networks]
    divergence = KDLoss("sigmoid", temperature=1.0)
    sups = [distillation_loss("mutual", "unimodal", shares=TeacherShares(1, 1)).terms["supervised"].loss]
    sups.append(supervised_segmentation_loss())
    for number, network in enumerate(networks):
        total = sups[number](said[number], label) + divergence(said[number], said[1 - number].detach())
        for weight, g in zip(network.parameters(), torch.autograd.grad(total, list(network.parameters()))):
            weight.data -= 0.01 * g
    engine.run()
    teacher: Any = engine.teacher
    for expected, made in zip(networks, (engine.network.student, teacher.ensemble.networks["peer0"])):
        for one, other in zip(expected.parameters(), made.parameters()):
            torch.testing.assert_close(one, other)
    assert set(engine.state.terms) == {"supervised", "response", "teacher_peer0", "mutual_peer0"}


def test_each_term_reaches_its_own_network_alone():
    loss = CooperativeTeacherLoss(nn.BCEWithLogitsLoss(), ["a", "b"], w_mutual=0.5)
    teachers = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    student = torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    values = loss(teachers, None, torch.ones(2, 1, 4, 4, dtype=torch.float64), student=student)
    assert values.weights == {"mutual_a": 0.5, "mutual_b": 0.5, "teacher_a": 1.0, "teacher_b": 1.0}
    total = sum(values.weights[name] * value for name, value in values.terms.items())
    torch.testing.assert_close(values.total, total)
    for channel, name in enumerate("ab"):
        (gradient,) = torch.autograd.grad(values.terms[f"mutual_{name}"], teachers, retain_graph=True)
        assert gradient[:, channel].abs().sum() > 0 and gradient[:, 1 - channel].abs().sum() == 0
        assert torch.autograd.grad(values.terms[f"mutual_{name}"], student, retain_graph=True, allow_unused=True) == (
            None,
        )
    # the mean over the peers, by hand
    kl = KDLoss("sigmoid", temperature=1.0)
    expected = (kl(teachers[:, :1], student) + kl(teachers[:, :1], teachers[:, 1:])) / 2
    torch.testing.assert_close(values.terms["mutual_a"], expected)
    # equal networks have nothing to tell each other; a batch without labels still does
    equal = loss(student.detach().repeat(1, 2, 1, 1), None, torch.ones(2, 1, 4, 4), student=student)
    assert float(equal.terms["mutual_a"]) == pytest.approx(0, abs=1e-12)
    none = loss(teachers, None, torch.ones(2, 1, 4, 4), torch.tensor([False, False]), student)
    assert set(none.terms) == {"mutual_a", "mutual_b"} and float(none.total) > 0


def test_what_is_refused():
    with pytest.raises(ValueError, match="frozen teachers learn from nobody"):
        CooperativeTeacherLoss(nn.BCEWithLogitsLoss(), ["a"], learning=False, w_mutual=1.0)
    with pytest.raises(ValueError, match="need its logits"):
        CooperativeTeacherLoss(nn.BCEWithLogitsLoss(), ["a"], w_mutual=1.0)(
            torch.zeros(1, 1, 2, 2), None, torch.zeros(1, 1, 2, 2)
        )
    with pytest.raises(ValueError, match="leave student_view out"):
        mutual(student_view=BatchView("report"))


def test_peers_come_to_agree():
    apart, together = mutual(2, lr=0.0), mutual(2, lr=0.05, epochs=15)
    for engine in (apart, together):
        engine.run()
    assert float(together.state.terms["mutual_peer0"]) < float(apart.state.terms["mutual_peer0"])
