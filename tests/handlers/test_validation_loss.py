from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader
from monai.engines import IterationEvents, SupervisedEvaluator
from torch import nn

from ckdmed.handlers import ValidationLoss
from ckdmed.losses import supervised_segmentation_loss
from ckdmed.recipes import class_evaluator, mask_evaluator


def evaluated(network: nn.Module, items: list[dict[str, Any]], of_masks: bool = True) -> dict[str, float]:
    loader = DataLoader(items, batch_size=2)
    make = mask_evaluator if of_masks else class_evaluator
    evaluator: SupervisedEvaluator = make(network, loader, torch.device("cpu"))
    ValidationLoss().attach(evaluator)
    evaluator.run()
    evaluator.run()
    return dict(evaluator.state.metrics)


def test_the_loss_of_raw_logits_is_the_mean_over_samples() -> None:
    torch.manual_seed(0)
    network = nn.Conv2d(1, 1, 1)
    items = [{"image": torch.rand(1, 8, 8), "label": (torch.rand(1, 8, 8) > 0.5).float()} for _ in range(3)]
    metrics = evaluated(network, items)
    loss = supervised_segmentation_loss("sigmoid")
    # batches of two and of one
    parts = [items[:2], items[2:]]
    values = [
        loss(network(torch.stack([i["image"] for i in p])), torch.stack([i["label"] for i in p])) * len(p)
        for p in parts
    ]
    assert abs(metrics["val_loss"] - float(sum(values)) / 3) < 1e-6
    assert 0 <= metrics["val_mean_dice"] <= 1


def test_a_classifiers_own_loss_stays() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    items = [{"image": torch.rand(1, 2, 2), "label": n % 3} for n in range(4)]
    logits = network(torch.stack([item["image"] for item in items]))
    expected = nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0]))
    assert abs(evaluated(network, items, of_masks=False)["val_loss"] - float(expected)) < 1e-6


def test_labels_on_a_grid_of_their_own_have_no_loss() -> None:
    loss = ValidationLoss()
    engine = Engine(lambda engine, batch: {"pred": torch.rand(1, 1, 4, 4), "label": torch.ones(1, 1, 8, 8)})
    engine.register_events(*IterationEvents)
    loss.attach(engine)
    engine.add_event_handler(
        Events.ITERATION_COMPLETED, lambda running: running.fire_event(IterationEvents.FORWARD_COMPLETED)
    )
    engine.run([0])
    assert engine.state.metrics == {}
