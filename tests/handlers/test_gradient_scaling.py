"""Trainings in float16 scale their gradients, and keep the scaler's state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader
from monai.engines import IterationEvents, SupervisedTrainer

from ckdmed.engines import weights_hash
from ckdmed.handlers import GradientScaling, ResumeCheckpoint
from ckdmed.inferers import AutocastInferer
from ckdmed.losses import BCEDiceLoss
from ckdmed.methods import distillation_loss
from tests.engines.multi_toy import Setup
from tests.toy import loader, pair, trainer, unet


class _Faint(torch.nn.Module):
    """A loss whose gradients are too small for float16."""

    def forward(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return 1e-6 * BCEDiceLoss()(logits, label)


def _stock(amp: Any, *handlers: Any, epochs: int = 1, seed: int = 0) -> SupervisedTrainer:
    network = unet(seed=seed)
    inferer = AutocastInferer(amp=amp)
    made = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=loader(),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
        loss_function=_Faint(),
        inferer=inferer,
        train_handlers=[*handlers, GradientScaling(inferer)] if not handlers else list(handlers),
        decollate=False,
    )
    return made


def _gradients(made: SupervisedTrainer) -> torch.Tensor:
    found = []

    def look(engine: Any) -> None:
        scale = 1.0 if engine.scaler is None else engine.scaler.get_scale()
        found.append(torch.cat([p.grad.flatten() / scale for p in engine.network.parameters()]))

    made.add_event_handler(IterationEvents.BACKWARD_COMPLETED, lambda e: not found and look(e))
    made.run()
    return found[0]


def test_gradients_survive_in_float16() -> None:
    full, scaled = _gradients(_stock(False)), _gradients(_stock("fp16"))
    assert torch.nn.functional.cosine_similarity(full, scaled, dim=0) > 0.99
    unscaled = _gradients(_stock("fp16", GradientScaling(None)))
    # without the scaler many of them are 0
    zeros = [int((g == 0).sum()) for g in (full, scaled, unscaled)]
    assert zeros[2] > zeros[1] + 100


@pytest.mark.parametrize("amp", [False, True, "bf16"])
def test_nothing_is_scaled_in_other_types(amp: Any) -> None:
    made = _stock(amp)
    made.run()
    assert made.scaler is None and not made.amp


def test_a_student_and_its_teachers_that_learn_along() -> None:
    setup = Setup("online", epochs=2, inferer=AutocastInferer(amp="fp16"))
    before = weights_hash(setup.student), weights_hash(setup.teacher)
    setup.trainer.run()
    scaler: Any = setup.trainer.scaler
    assert scaler.is_enabled() and scaler.state_dict()["_growth_tracker"] + scaler.get_scale() > 1
    assert weights_hash(setup.student) != before[0] and weights_hash(setup.teacher) != before[1]
    assert all(torch.isfinite(p).all() for p in (*setup.student.parameters(), *setup.teacher.parameters()))


def _run(folder: Path, amp: Any, epochs: int | None = None, resume: bool = False) -> tuple[str, dict[str, Any]]:
    torch.manual_seed(4 if resume else 1)
    loss = distillation_loss()
    student, teacher = pair(loss, student=unet(seed=1))
    optimizer = torch.optim.AdamW(student.parameters(), lr=0.01)
    checkpoint = ResumeCheckpoint(str(folder), {"student": student, "optimizer": optimizer}, resume=resume)
    data: DataLoader = loader()
    engine = trainer(
        student, teacher, loss, optimizer, data, 4, inferer=AutocastInferer(amp=amp), train_handlers=[checkpoint]
    )
    if epochs is not None:
        engine.add_event_handler(Events.EPOCH_COMPLETED(once=epochs), lambda e: e.terminate())
    engine.run()
    return weights_hash(student), {} if engine.scaler is None else engine.scaler.state_dict()


def test_resumed_equals_unbroken(tmp_path: Path) -> None:
    unbroken = _run(tmp_path / "a", "fp16")
    _run(tmp_path / "b", "fp16", epochs=2)
    assert _run(tmp_path / "b", "fp16", resume=True) == unbroken
    assert unbroken[1]["_growth_tracker"] > 2
    _run(tmp_path / "c", "fp16", epochs=2)
    with pytest.raises(RuntimeError, match="was made with a gradient scaler, but this run is without one"):
        _run(tmp_path / "c", "bf16", resume=True)
