from __future__ import annotations

import numpy as np
import pytest
import torch

from ckdmed.metrics import CaseDiceMetric


def halves(*flags: int) -> torch.Tensor:
    """[1, 1, n] of 0 and 1."""
    return torch.tensor([[flags]])


def test_parts_of_a_case_are_summed_before_the_ratio():
    metric = CaseDiceMetric()
    # a: slices with 2 of 3 found and a false voxel on an empty slice; b: all found
    metric([halves(1, 1, 0), halves(1, 1, 1)], [halves(1, 1, 1), halves(1, 1, 1)], ["a", "b"])
    metric([halves(1, 0, 0)], [halves(0, 0, 0)], ["a"])
    # a: 2 * 2 / (3 + 3); b: 1
    assert metric.cases()[:, 0].tolist() in ([4 / 6, 1.0], [1.0, 4 / 6])
    assert metric.aggregate() == pytest.approx([(4 / 6 + 1) / 2])


def test_the_order_and_the_cutting_do_not_matter():
    rng = np.random.default_rng(0)
    prediction, truth = (rng.random((3, 6, 8, 8)) > 0.5 for _ in range(2))
    whole, sliced = CaseDiceMetric(), CaseDiceMetric()
    whole([prediction], [truth], ["case"])
    for z in rng.permutation(8):
        sliced([prediction[..., z]], [truth[..., z]], ["case"])
    expected = [2 * (p & t).sum() / (p.sum() + t.sum()) for p, t in zip(prediction, truth)]
    assert whole.aggregate() == pytest.approx(expected) and sliced.aggregate() == pytest.approx(expected)


def test_a_channel_that_a_case_lacks_does_not_count_there():
    metric = CaseDiceMetric()
    empty, full = torch.zeros(2, 2, 2), torch.ones(2, 2, 2)
    mixed = torch.stack([full[0], empty[0]])
    metric([full, full], [mixed, full], ["a", "b"])
    assert metric.aggregate().tolist() == [1.0, 1.0]
    assert np.isnan(metric.cases()).sum() == 1
    metric.reset()
    metric([full], [empty], ["a"])
    assert np.isnan(metric.aggregate()).all()


def test_probabilities_are_no_masks():
    with pytest.raises(ValueError, match="the prediction of case 1 must hold 0 and 1 only"):
        CaseDiceMetric()([torch.full((1, 4, 4), 0.1)], [torch.ones(1, 4, 4)], ["case 1"])
    with pytest.raises(ValueError, match="the label of case 1 must hold 0 and 1 only"):
        CaseDiceMetric()([torch.ones(1, 4, 4)], [torch.full((1, 4, 4), 2)], ["case 1"])


def test_mismatches_are_named():
    metric = CaseDiceMetric()
    with pytest.raises(ValueError, match="1 predictions, 1 labels and 2 cases"):
        metric([halves(1)], [halves(1)], ["a", "b"])
    with pytest.raises(ValueError, match=r"a: prediction \(1, 1, 1\) and label \(1, 1, 2\) differ"):
        metric([halves(1)], [halves(1, 1)], ["a"])
