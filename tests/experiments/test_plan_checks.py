from __future__ import annotations

from collections.abc import Sequence

import pytest

from ckdmed.experiments.plan_checks import check_different, check_regimes


def test_different_choices_pass() -> None:
    check_different(arms=["alone", "ours"], seeds=(0, 1))
    check_regimes([1.0, 0.25])


def test_the_kind_at_fault_is_named() -> None:
    with pytest.raises(ValueError, match=r"seeds must be different ones, at least one, got \[2, 2\]"):
        check_different(arms=["alone"], seeds=(2, 2))
    with pytest.raises(ValueError, match=r"arms must be different ones, at least one, got \[\]"):
        check_different(arms=[], seeds=[1, 1])


@pytest.mark.parametrize(
    ("regimes", "message"),
    [
        ([0.5, 0.5], "regimes must be different ones"),
        ([], "regimes must be different ones, at least one"),
        ([0.5, 0.0, 1.5], r"share of labelled patients above 0 and at most 1, got \[0\.0, 1\.5\]"),
    ],
)
def test_regimes(regimes: Sequence[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_regimes(regimes)
