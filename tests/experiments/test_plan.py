from __future__ import annotations

from collections.abc import Sequence

import pytest

from ckdmed.experiments.plan import Arm, check_different, check_label_fractions, checked_variant_name, in_order


def test_different_choices_pass() -> None:
    check_different(arms=["alone", "ours"], seeds=(0, 1))
    check_label_fractions([1.0, 0.25])


def test_the_kind_at_fault_is_named() -> None:
    with pytest.raises(ValueError, match=r"seeds must be one or more different values, got \[2, 2\]"):
        check_different(arms=["alone"], seeds=(2, 2))
    with pytest.raises(ValueError, match=r"arms must be one or more different values, got \[\]"):
        check_different(arms=[], seeds=[1, 1])


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ([0.5, 0.5], "label_fractions must be one or more different values"),
        ([], "label_fractions must be one or more different values"),
        ([0.5, 0.0, 1.5], r"a label fraction must be above 0 and at most 1, got \[0\.0, 1\.5\]"),
    ],
)
def test_label_fractions(fractions: Sequence[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_label_fractions(fractions)


def test_an_arm_comes_after_those_that_it_needs() -> None:
    arms = [Arm("c", "c", needs=("a", "b")), Arm("b", "b", needs=("a",)), Arm("d", "d"), Arm("a", "a")]
    assert [arm.name for arm in in_order(arms)] == ["d", "a", "b", "c"]
    with pytest.raises(ValueError, match=r"the arm 'c' needs the arms \['a', 'b'\] too"):
        in_order([arms[0], arms[2]])
    with pytest.raises(ValueError, match="arms must be one or more different"):
        in_order([arms[2], arms[2]])


@pytest.mark.parametrize("name", ["alone", "a/b", "", ".."])
def test_names_of_variants(name: str) -> None:
    with pytest.raises(ValueError, match="a name of its own"):
        checked_variant_name(name, {"alone"})
    assert checked_variant_name("warm-2.5_x", {"alone"}) == "warm-2.5_x"
