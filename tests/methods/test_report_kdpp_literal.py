"""The reports' KD++ as printed: its sums, worked out by hand (docs of the losses, 12.3 and 12.5)."""

from __future__ import annotations

import pytest
import torch

from ckdmed.losses import EdgeLoss
from ckdmed.methods import distillation_loss
from ckdmed.networks.taps import TappedOutput

# 1 to 8 and the map of 12.3
STUDENT = torch.tensor([[[[1.0, 2], [3, 4]], [[5, 6], [7, 8]]]])
TEACHER = torch.tensor([[[[1.0, 1], [1, 1]], [[0, 2], [0, 2]]]])


def test_the_terms_by_hand() -> None:
    loss = distillation_loss("report_kdpp_literal", "segmentation", layers=["d4"])
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 2:] = 1
    student = TappedOutput(torch.zeros(1, 1, 4, 4), {"d4": STUDENT}, {})
    teacher = TappedOutput(torch.zeros(1, 1, 4, 4), {"d4": TEACHER}, {})
    terms = loss(student, teacher, mask).terms
    assert float(terms["features"]) == 140 and float(terms["soft_targets"]) == 0
    assert float(terms["attention"]) == pytest.approx(1.46559016, abs=1e-6)
    # the mask's edges with zeros around: rows [0, 3.162, 4.243, 4.243] twice and [0, 4, 4, 4] twice; those of flat
    # logits are the root of the stabiliser, 0.001, everywhere
    assert float(terms["edges"]) == pytest.approx(2 * 11.64755904 + 24 - 12 * 0.001, abs=1e-4)
    assert loss.projection_side == "teacher" and set(terms) == {
        "supervised",
        "soft_targets",
        "features",
        "attention",
        "edges",
    }


def test_edges_of_logits_are_of_the_logits_and_sums_grow_with_the_batch() -> None:
    logits = torch.tensor([[[[0.0, 3.0, 3.0], [0.0, 3.0, 3.0], [0.0, 3.0, 3.0]]]])
    mask = torch.zeros(1, 1, 3, 3)
    plain = EdgeLoss("mask", normalize=False)(logits, mask)
    literal = EdgeLoss("mask", normalize=False, of="logits", reduction="sum")
    # a step of 3 has the raw magnitude 12 on both sides of it, a step of sigmoid(3) - 0.5 less than 2
    assert float(literal(logits, mask)) == pytest.approx(6 * 12, abs=0.02) and float(plain) < 2
    twice = literal(logits.repeat(2, 1, 1, 1), mask.repeat(2, 1, 1, 1))
    assert float(twice) == pytest.approx(2 * float(literal(logits, mask)), rel=1e-5)
    for wrong in ({"of": "edges"}, {"reduction": "none"}):
        with pytest.raises(ValueError, match="must be one of"):
            EdgeLoss("mask", **wrong)
