"""Options of a method that another option leaves without effect are found, whatever the method."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch

from ckdmed.losses import FeatureMSELoss, LossTerm
from ckdmed.methods import Task, idle_options, method, registered
from ckdmed.methods.registry import _METHODS

EVERY = [(found.name, task) for found in registered() for task in found.tasks]


@pytest.mark.parametrize(
    ("name", "options", "idle"),
    [
        ("ckd", {"w_edge": 0.0, "edge_weights": "feature_lines"}, {"edge_weights": "w_edge"}),
        ("ckd", {"w_edge": 0.2, "edge_weights": "feature_lines"}, {}),
        # without scales there would be nothing to weight: both go, one after the other
        (
            "ckd",
            {"w_feat": 0.0, "scales": [1, 2], "scale_weights": "learned"},
            {"scale_weights": "w_feat", "scales": "w_feat"},
        ),
        ("ckd", {"feature_layers": [], "w_att": 0.2}, {"w_att": "feature_layers"}),
        # the attention maps of the layer are compared still
        ("ckd", {"w_feat": 0.0, "feature_layers": ["d4"]}, {}),
        ("ckd", {"w_feat": 0.0, "w_att": 0.0, "feature_layers": ["d4"]}, {"feature_layers": "w_feat"}),
        ("cross_architecture", {"w_feat": 0.0, "w_adv": 0.3}, {"w_adv": "w_feat"}),
        # they repeat the defaults, which says nothing of their effect
        ("msgff", {"scales": [None, 1, 2, 4], "scale_weights": "uniform"}, {}),
        ("ckd", {"w_edge": 0.0, "edge_weights": None}, {}),
        # no loss at all
        ("msgff", {"feature_layers": [], "w_feat": 0.0}, {}),
    ],
)
def test_an_option_is_idle_where_another_one_leaves_it_so(
    name: str, options: dict[str, Any], idle: dict[str, str]
) -> None:
    assert idle_options(name, "segmentation", options) == idle


def test_a_default_may_leave_it_so() -> None:
    # without soft targets, as alpha 1 has none
    assert idle_options("cross_architecture", "classification", {"temperature": 2.0}) == {"temperature": "alpha"}
    assert idle_options("cross_architecture", "classification", {"temperature": 2.0, "alpha": 0.5}) == {}
    # the default, whose effect nothing can tell
    assert idle_options("kd", "classification", {"temperature": 4.0}) == {}


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_defaults_are_never_idle_and_no_weight_is_alone(name: str, task: str) -> None:
    options = next(found for found in registered() if found.name == name and task in found.tasks).options
    assert idle_options(name, task, options) == {}
    weights = {option: 0.37 for option in options if option.startswith("w_")}
    assert idle_options(name, task, weights) == {}


@pytest.fixture
def own_method() -> Iterator[str]:
    name = "own_method_of_a_test"

    @method(name, "segmentation", summary="one part of each kind that a loss may have")
    def made(task: Task, weight: float = 1.0, kind: str = "none", factor: float = 1.0) -> dict[str, LossTerm]:
        distances = {
            "none": FeatureMSELoss(),
            "partial": partial(torch.nn.functional.mse_loss, reduction="sum" if factor < 1 else "mean"),
            "closure": lambda student, teacher: factor * (student - teacher).square().mean(),
            "buffer": torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor([factor])),
        }
        return {
            "supervised": LossTerm(task.supervised, "target", 1.0),
            "own": LossTerm(distances[kind], "logits", weight),
        }

    yield name
    del _METHODS["segmentation", name]


@pytest.mark.parametrize("kind", ["partial", "closure", "buffer"])
def test_parts_of_every_kind_are_compared_by_what_they_hold(own_method: str, kind: str) -> None:
    assert idle_options(own_method, "segmentation", {"kind": kind, "factor": 0.5}) == {}
    without = {"weight": 0.0, "kind": kind, "factor": 0.5}
    # of closures only the one without any term is known to do nothing
    assert idle_options(own_method, "segmentation", without) == {"kind": "weight", "factor": "weight"}
