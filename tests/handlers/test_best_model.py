from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events

from ckdmed.files import load_weights
from ckdmed.handlers import BestModel
from tests.toy import unet


def validate(best: BestModel, values: list[float]) -> None:
    engine = Engine(lambda *_: None)
    best.attach(engine)
    for epoch, value in enumerate(values, start=1):
        with torch.no_grad():
            next(best.network.parameters()).fill_(epoch)
        engine.state.metrics = {"dice": value}
        engine.fire_event(Events.STARTED)
        engine.state.epoch = epoch
        engine.fire_event(Events.COMPLETED)


@pytest.mark.parametrize(
    ("values", "epoch"),
    [([0.1, 0.5, 0.3], 2), ([0.5, 0.5], 1), ([float("nan"), 0.0, float("nan")], 2), ([0.0], 1)],
)
def test_keeps_the_best(tmp_path: Path, values: list[float], epoch: int):
    network = unet()
    best = BestModel(str(tmp_path / "models" / "model.pt"), network, "dice")
    validate(best, values)
    assert (best.metric, best.epoch) == (values[epoch - 1], epoch)
    plain = unet(seed=4)
    plain.load_state_dict(load_weights(best.path), strict=True)
    assert next(plain.parameters()).unique().item() == epoch


def test_keeps_the_last_on_demand(tmp_path: Path):
    network = unet()
    last = BestModel(str(tmp_path / "model.pt"), network, "dice", last=True)
    validate(last, [0.1, 0.5, 0.3, float("nan")])
    assert last.epoch == 4
    assert next(iter(load_weights(last.path).values())).unique().item() == 4


def test_smaller_may_be_better(tmp_path: Path):
    best = BestModel(str(tmp_path / "m.pt"), unet(), "dice", better=lambda new, old: new < old)
    validate(best, [3.0, 1.0, 2.0])
    assert best.epoch == 2


def test_state_comes_back_and_holds(tmp_path: Path):
    first = BestModel(str(tmp_path / "m.pt"), unet(), "dice")
    validate(first, [0.6])
    second = BestModel(str(tmp_path / "n.pt"), unet(), "dice")
    second.path.write_text("those of the first epoch")
    second.load_state_dict(first.state_dict())
    validate(second, [0.5])
    assert (second.metric, second.epoch) == (0.6, 1) and second.path.read_text() == "those of the first epoch"


def test_another_rank_writes_nothing(tmp_path: Path):
    best = BestModel(str(tmp_path / "m.pt"), unet(), "dice", save=False)
    validate(best, [0.6])
    assert best.metric == 0.6 and not best.path.exists()


def test_a_metric_that_is_not_there(tmp_path: Path):
    best = BestModel(str(tmp_path / "m.pt"), unet(), "iou")
    with pytest.raises(KeyError, match=r"no metric 'iou'; it has \['dice'\]"):
        validate(best, [0.5])
