from __future__ import annotations

import math

import pytest
import torch
from ignite.engine import Engine

from ckdmed.handlers import RegionDice


def run(metric: RegionDice, steps: list[list[tuple[str, torch.Tensor, torch.Tensor]]]) -> dict[str, float]:
    """Metrics of an evaluator whose steps give (case, prediction, label)."""

    def step(engine: Engine, parts: list) -> list[dict]:
        engine.state.batch = [{"case": case} for case, _, _ in parts]
        return [{"pred": prediction, "label": label} for _, prediction, label in parts]

    engine = Engine(step)
    metric.attach(engine, "val_mean_dice")
    engine.run(steps, max_epochs=1)
    return dict(engine.state.metrics)


def masks(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(-1, 1, 1).expand(-1, 2, 2)


def test_the_mean_stands_first_and_the_regions_beside_it():
    half = torch.zeros(3, 2, 2)
    half[:, 0] = 1
    metrics = run(RegionDice(), [[("a", masks(1, 1, 1), masks(1, 1, 0))], [("b", half, masks(1, 0, 0))]])
    assert list(metrics) == ["val_mean_dice", "val_dice_TC", "val_dice_WT", "val_dice_ET"]
    # TC: 1 in a, 2 * 2 / (2 + 4) in b; WT: 1 in a, absent in b; ET: absent
    assert metrics["val_dice_TC"] == pytest.approx((1 + 2 / 3) / 2) and metrics["val_dice_WT"] == 1
    assert math.isnan(metrics["val_dice_ET"])
    assert metrics["val_mean_dice"] == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)


def test_every_run_counts_anew():
    metric = RegionDice(regions=("WT",), prefix="dice")
    assert run(metric, [[("a", masks(1), masks(1))]])["dice_WT"] == 1
    assert run(metric, [[("a", masks(0), masks(1))]])["val_mean_dice"] == 0


def test_another_number_of_channels_is_named():
    with pytest.raises(ValueError, match="the output has 1 channels, but 3 regions are named: TC, WT, ET"):
        run(RegionDice(), [[("a", masks(1), masks(1))]])
