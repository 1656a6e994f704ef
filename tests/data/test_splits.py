from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckdmed.data import check_no_group_crosses, k_folds, labelled_subset, split_by_group
from ckdmed.data.splits import hash_order

# The class of each group and its number of slices.
GROUPS = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 12)), min_size=3, max_size=25)


def spread(groups):
    """One entry for each slice: its group's name and class."""
    names = [f"p{i}" for i, (_, size) in enumerate(groups) for _ in range(size)]
    return names, [label for label, size in groups for _ in range(size)]


def as_items(names, labels):
    return [{"patient_group": name, "tumor_label": label} for name, label in zip(names, labels, strict=True)]


@settings(max_examples=40)
@given(GROUPS, st.integers(0, 2**32), st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (0.6, 0.4, 0.0)]))
def test_a_split_is_a_partition_that_no_group_crosses(groups, seed, fractions):
    names, labels = spread(groups)
    parts = split_by_group(names, labels, fractions, seed)
    assert sorted(i for part in parts for i in part) == list(range(len(names)))
    assert all(part == sorted(part) for part in parts)
    owners = [{names[i] for i in part} for part in parts]
    assert sum(len(owner) for owner in owners) == len(groups)
    assert [bool(part) for part in parts] == [fraction > 0 for fraction in fractions]


@settings(max_examples=40)
@given(GROUPS, st.integers(0, 99))
def test_a_class_with_enough_groups_is_in_every_section(groups, seed):
    names, labels = spread(groups)
    parts = split_by_group(names, labels, seed=seed)
    for label in {1, 2, 3}:
        if sum(kind == label for kind, _ in groups) >= 3:
            assert all(label in {labels[i] for i in part} for part in parts)


@settings(max_examples=20)
@given(GROUPS, st.integers(0, 99), st.randoms(use_true_random=False))
def test_the_order_of_the_items_does_not_matter(groups, seed, random):
    names, labels = spread(groups)
    order = list(range(len(names)))
    random.shuffle(order)
    here = split_by_group(names, labels, seed=seed)
    there = split_by_group([names[i] for i in order], [labels[i] for i in order], seed=seed)
    assert [{names[i] for i in part} for part in here] == [{names[order[i]] for i in part} for part in there]


def test_groups_of_several_classes_are_split_too():
    names = [f"p{i // 4}" for i in range(80)]
    labels = [1 + i % 3 for i in range(80)]
    parts = split_by_group(names, labels, (0.5, 0.5), seed=1)
    assert abs(len(parts[0]) - 40) <= 4


def test_hand_worked_split():
    # One group of 4 and four of 1, halves: only {a} against the rest is even.
    names = ["a"] * 4 + list("bcde")
    parts = split_by_group(names, [1] * 8, (0.5, 0.5), seed=0)
    assert sorted(parts) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_the_seed_decides():
    names, labels = spread([(1 + i % 3, 3) for i in range(30)])
    splits = [split_by_group(names, labels, seed=seed) for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_the_order_behind_a_seed_is_fixed():
    # sha256sum of "0::a", "0::c", "0::d" begins with 1cba, b875, 5561; of "1::a", "1::c", "1::d" with 6802, 2df7, 8b11.
    assert hash_order(["a", "c", "d"], 0) == hash_order(["d", "c", "a"], 0) == ["a", "d", "c"]
    assert hash_order(["a", "c", "d"], 1) == ["c", "a", "d"]


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ((0.8, 0.1), "sum to 1"),
        ((1.2, -0.1, -0.1), ">= 0"),
        ((float("nan"), 0.5, 0.5), ">= 0 and sum to 1"),
        ((0.25,) * 4, "3 patient groups cannot fill 4 sections"),
    ],
)
def test_impossible_fractions_are_errors(fractions, message):
    with pytest.raises(ValueError, match=message):
        split_by_group(["a", "b", "c"], [1, 1, 1], fractions)


def test_wrong_lengths_and_k_are_errors():
    with pytest.raises(ValueError, match="the same length, got 2 and 1"):
        split_by_group(["a", "b"], [1])
    with pytest.raises(ValueError, match="k must be at least 2, got 1"):
        k_folds(["a", "b"], [1, 1], 1)
    with pytest.raises(ValueError, match="2 patient groups cannot fill 3 folds; give more, or fewer folds"):
        k_folds(["a", "b"], [1, 1], 3)


@settings(max_examples=30)
@given(GROUPS, st.integers(2, 3), st.integers(0, 99))
def test_folds_are_a_partition_and_even(groups, k, seed):
    names, labels = spread(groups)
    folds = k_folds(names, labels, k, seed)
    assert sorted(i for fold in folds for i in fold) == list(range(len(names)))
    check_no_group_crosses(
        {str(n): as_items([names[i] for i in f], [labels[i] for i in f]) for n, f in enumerate(folds)}
    )


def test_the_real_set_is_shared_out_by_kind(shared_data):
    with open(shared_data / "figshare_jpeg" / "slices.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    groups, labels = [row["patient_group"] for row in rows], np.array([int(row["label"]) for row in rows])
    fractions = (0.8, 0.1, 0.1)
    for part, fraction in zip(split_by_group(groups, labels.tolist(), fractions, seed=3), fractions, strict=True):
        expected = fraction * np.bincount(labels)[1:]
        np.testing.assert_allclose(np.bincount(labels[part])[1:], expected, atol=5)
    for fold in k_folds(groups, labels.tolist(), 5, seed=3):
        np.testing.assert_allclose(np.bincount(labels[fold])[1:], np.bincount(labels)[1:] / 5, atol=8)


def test_a_crossing_group_is_named_with_its_sections():
    sections = {
        "training": as_items(["a", "b"], [1, 1]),
        "validation": as_items(["c"], [1]),
        "test": as_items(["b"], [1]),
    }
    with pytest.raises(ValueError, match=r"1 patient group crosses a split: 'b' is in test, training\."):
        check_no_group_crosses(sections)
    check_no_group_crosses({**sections, "test": []})
    with pytest.raises(ValueError, match="section 'test' has no 'patient_group'"):
        check_no_group_crosses({"test": [{"id": "1"}]})


@settings(max_examples=40)
@given(GROUPS, st.integers(0, 99), st.floats(0.01, 1), st.floats(0.01, 1))
def test_labelled_subsets_are_nested_by_group_and_hold_every_class(groups, seed, one, other):
    names, labels = spread(groups)
    items = as_items(names, labels)
    small, large = (labelled_subset(items, fraction, seed) for fraction in sorted((one, other)))
    assert all(b for a, b in zip(small, large, strict=True) if a)
    assert {name for name, flag in zip(names, small, strict=True) if flag}.isdisjoint(
        name for name, flag in zip(names, small, strict=True) if not flag
    )
    assert {label for label, flag in zip(labels, small, strict=True) if flag} == set(labels)
    assert all(labelled_subset(items, 1.0, seed))


def test_a_labelled_subset_has_about_the_asked_share():
    names, labels = spread([(1 + i % 3, 4) for i in range(60)])
    items = as_items(names, labels)
    for fraction in (0.1, 0.25, 0.5):
        flags = np.array(labelled_subset(items, fraction))
        for label in (1, 2, 3):
            # 80 slices of a class in groups of four: at most half a group off.
            assert abs(flags[np.array(labels) == label].sum() - fraction * 80) <= 2
    assert labelled_subset(items, 0.25, 0) != labelled_subset(items, 0.25, 1)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan"), float("inf")])
def test_fractions_outside_are_errors(fraction):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        labelled_subset(as_items(["a"], [1]), fraction)
