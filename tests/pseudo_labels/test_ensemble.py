from __future__ import annotations

import numpy as np
import pytest

from ckdmed.pseudo_labels import combined


def test_by_hand():
    a, b = np.array([0.9, 0.6, 0.2, 0.5]), np.array([0.7, 0.6, 0.9, 0.1])
    found = combined([a, b])
    np.testing.assert_allclose(found.probability, [0.8, 0.6, 0.55, 0.3])
    assert found.mask.tolist() == [True, True, True, False] and found.kept == 1
    # masks {0, 1, 3} and {0, 1, 2}
    assert found.agreement == pytest.approx(4 / 6)
    sure = combined([a, b], min_confidence=0.6)
    assert sure.mask.tolist() == [True, True, False, False] and sure.kept == pytest.approx(2 / 3)
    logit = combined([a, b], "logit").probability
    odds = np.sqrt(a * b / ((1 - a) * (1 - b)))
    np.testing.assert_allclose(logit, odds / (1 + odds))
    # two constant models
    assert combined([np.full(3, 0.2), np.full(3, 0.6)]).probability.tolist() == pytest.approx([0.4] * 3)


def test_nothing_found_is_agreement():
    found = combined([np.zeros(4), np.zeros(4), np.full(4, 0.1)])
    assert found.agreement == 1 and found.kept == 1 and not found.mask.any()
    assert combined([np.ones(2)]).agreement == 1
    assert np.isfinite(combined([np.zeros(2), np.ones(2)], "logit").probability).all()


def test_what_is_refused():
    with pytest.raises(ValueError, match="must have the same shape"):
        combined([np.zeros(2), np.zeros(3)])
    with pytest.raises(ValueError, match="got none"):
        combined([])
    with pytest.raises(ValueError, match="average must be one of prob, logit"):
        combined([np.zeros(2)], "mean")
    with pytest.raises(ValueError, match=r"min_confidence is 0.3; it must lie in \[0.5, 1\]"):
        combined([np.zeros(2)], min_confidence=0.3)
