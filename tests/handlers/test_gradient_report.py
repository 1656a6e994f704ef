from __future__ import annotations

import math
import re

import pytest
import torch
from torch import nn

from ckdmed.handlers import GradientReport, term_gradient_norms
from ckdmed.losses import (
    DistillationLoss,
    KDLoss,
    LossTerm,
    supervised_segmentation_loss,
)
from ckdmed.methods import distillation_loss
from tests.toy import loader, pair, samples, trainer


class OneChannelSoftmax(nn.Module):
    """Soft targets as the reports print them: a softmax over the one channel of a mask is 1 whatever the logits."""

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return (student.softmax(1) * (student.log_softmax(1) - teacher.log_softmax(1))).sum()


class Detached(nn.Module):
    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return (student.detach() - teacher).square().mean()


class Huge(nn.Module):
    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return 1e4 * (student - teacher).square().mean()


def run(extra: nn.Module, caplog: pytest.LogCaptureFixture, epochs: int = 3, **kwargs) -> GradientReport:
    loss = DistillationLoss(
        {
            "supervised": LossTerm(supervised_segmentation_loss(), "target"),
            "extra": LossTerm(extra, "logits"),
        }
    )
    student, teacher = pair(loss)
    report = GradientReport(student.student, **kwargs)
    engine = trainer(student, teacher, loss, data=loader(samples(8)), epochs=epochs, train_handlers=[report])
    with caplog.at_level("INFO"):
        engine.run()
    return report


def test_norms_by_hand():
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    unused = nn.Parameter(torch.zeros(2))
    terms = {"square": (weight**2).sum(), "constant": torch.tensor(5.0), "other": weight[0]}
    norms = term_gradient_norms(terms, {"square": 0.5, "constant": 1.0, "other": 2.0}, [weight, unused])
    assert norms == {"square": pytest.approx(5.0), "constant": 0.0, "other": pytest.approx(2.0)}
    terms["square"].backward()
    assert weight.grad is not None and unused.grad is None


@pytest.mark.parametrize("extra", [OneChannelSoftmax(), Detached()])
def test_warns_of_a_term_without_gradient(extra: nn.Module, caplog: pytest.LogCaptureFixture):
    report = run(extra, caplog)
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert [w for w in warnings if "'extra' has had no gradient on the student 2 times in a row" in w] == warnings
    assert len(warnings) == 1
    assert report.norms["extra"] == 0 and report.norms["supervised"] > 0


def test_patience_is_counted_in_looks(caplog: pytest.LogCaptureFixture):
    run(OneChannelSoftmax(), caplog, epochs=3, every=2, patience=3)
    assert not any("no gradient" in r.getMessage() for r in caplog.records)
    assert sum("terms at step" in r.getMessage() for r in caplog.records) == 2


def test_warns_of_a_term_that_dominates(caplog: pytest.LogCaptureFixture):
    run(Huge(), caplog, epochs=1)
    (warning,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert (
        "the gradient of the term 'extra' is" in warning and "times that of 'supervised'; lower its weight" in warning
    )


def test_is_silent_when_all_is_well_and_lists_the_terms(caplog: pytest.LogCaptureFixture):
    report = run(KDLoss("sigmoid", temperature=2.0), caplog, ratio=1e6)
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    lines = [r.getMessage() for r in caplog.records if "terms at step" in r.getMessage()]
    assert [line.split(":")[0] for line in lines] == ["terms at step 1", "terms at step 3", "terms at step 5"]
    assert re.search(r"supervised [\d.]+ x 1 \(gradient norm [\d.]+\)", lines[0])
    assert "supervised" in lines[0] and "extra" in lines[0]
    assert all(math.isfinite(n) and n > 0 for n in report.norms.values())


def test_looking_changes_nothing():
    weights = []
    for handlers in ([], [True]):
        loss = distillation_loss("report_kdpp", "segmentation")
        student, teacher = pair(loss)
        report = [GradientReport(student.student) for _ in handlers]
        trainer(student, teacher, loss, train_handlers=report).run()
        weights.append(student.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
