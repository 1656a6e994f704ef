"""Parameters of a loss itself learn with the student, survive a resume, and are no part of the student."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ckdmed.engines import weights_hash
from ckdmed.handlers import ResumeCheckpoint
from ckdmed.losses import DistillationLoss
from ckdmed.methods import distillation_loss
from tests.toy import pair, trainer, unet


def learned() -> DistillationLoss:
    return distillation_loss("msgff", feature_layers=["d4"], scale_weights="learned")


def scale_weights(loss: DistillationLoss) -> torch.Tensor:
    return loss.terms["features"].loss.scale_weights().detach().clone()


def test_they_move_with_the_student_and_stay_above_their_floor():
    loss = learned()
    student, teacher = pair(loss, student=unet(seed=1))
    assert torch.equal(scale_weights(loss), torch.full((4,), 0.25))
    optimizer = torch.optim.AdamW(student.parameters(), lr=0.05)
    engine = trainer(student, teacher, loss, optimizer, epochs=6)
    engine.run()
    moved = scale_weights(loss)
    assert float((moved - 0.25).abs().max()) > 0.01
    # half of each weight stays uniform
    assert float(moved.sum()) == pytest.approx(1) and float(moved.min()) >= 0.125
    # the easiest scale gains: that of the smallest distance
    distance = loss.terms["features"].loss
    parts = [type(distance)(scales=[k], normalize="channel_l2") for k in distance.scales]
    batch = next(iter(engine.data_loader))["image"]
    ours, theirs = student(batch).projected["d4"], teacher(batch).features["d4"]
    assert int(moved.argmax()) == int(torch.stack([part(ours, theirs) for part in parts]).argmin())


def test_they_are_in_the_resumed_state_and_not_in_the_student():
    loss = learned()
    student, _ = pair(loss)
    assert [name for name in student.state_dict() if name.startswith("loss_")] == ["loss_parameters.0"]
    assert not any("loss" in name or "scale" in name for name in student.student.state_dict())
    assert weights_hash(student.student) == weights_hash(pair(distillation_loss("supervised"))[0].student)
    # a loss without parameters of its own leaves the state what it was
    assert not any(name.startswith("loss_") for name in pair(distillation_loss())[0].state_dict())


def test_resumed_equals_unbroken(tmp_path: Path):
    def run(folder: Path, epochs: int | None, resume: bool = False) -> tuple[str, torch.Tensor]:
        torch.manual_seed(9 if resume else 2)
        loss = learned()
        student, teacher = pair(loss, student=unet(seed=1))
        optimizer = torch.optim.AdamW(student.parameters(), lr=0.05)
        checkpoint = ResumeCheckpoint(str(folder), {"student": student, "optimizer": optimizer}, resume=resume)
        engine = trainer(student, teacher, loss, optimizer, epochs=4, train_handlers=[checkpoint])
        if epochs is not None:
            engine.add_event_handler(_after(epochs), lambda e: e.terminate())
        engine.run()
        return weights_hash(student), scale_weights(loss)

    unbroken = run(tmp_path / "a", None)
    broken = run(tmp_path / "b", 2)
    assert broken[0] != unbroken[0] and not torch.equal(broken[1], torch.full((4,), 0.25))
    resumed = run(tmp_path / "b", None, resume=True)
    assert resumed[0] == unbroken[0] and torch.equal(resumed[1], unbroken[1])


def _after(epochs: int):  # type: ignore[no-untyped-def]
    from ignite.engine import Events

    return Events.EPOCH_COMPLETED(once=epochs)
