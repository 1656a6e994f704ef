"""Validation at an interval, and after the last epoch."""

from __future__ import annotations

import pytest
from ignite.engine import Engine
from monai.engines import Evaluator

from ckdmed.handlers import LastEpochValidation


class Noted(Evaluator):
    """An evaluator that notes the epochs at which it was asked."""

    def __init__(self) -> None:
        super().__init__(device="cpu", val_data_loader=[])
        self.epochs: list[int] = []

    def run(self, global_epoch: int = 1) -> None:
        self.epochs.append(global_epoch)


@pytest.mark.parametrize(
    ("interval", "epochs", "validated"),
    [(1, 3, [1, 2, 3]), (2, 4, [2, 4]), (3, 7, [3, 6, 7]), (5, 3, [3])],
)
def test_the_last_epoch_is_validated_once(interval: int, epochs: int, validated: list[int]) -> None:
    evaluator = Noted()
    trainer = Engine(lambda engine, batch: None)
    LastEpochValidation(interval, evaluator).attach(trainer)
    trainer.run([0], max_epochs=epochs)
    assert evaluator.epochs == validated


def test_iterations_are_refused() -> None:
    with pytest.raises(ValueError, match="epoch_level=False"):
        LastEpochValidation(2, Noted(), epoch_level=False).attach(Engine(lambda engine, batch: None))
