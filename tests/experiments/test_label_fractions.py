"""A seed that chooses the labelled patients is there where there is something to choose."""

from __future__ import annotations

import argparse

import pytest

from ckdmed.experiments.label_fractions import (
    add_label_fraction_options,
    check_label_fraction_options,
    without_idle_split_seed,
)


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--set", nargs="+", default=[])
    add_label_fraction_options(parser, (1.0, 0.25))
    return parser.parse_args(words)


def test_a_choice_of_nothing_is_refused() -> None:
    check_label_fraction_options(options("--split_seed", "2"))
    check_label_fraction_options(options("--label_fractions", "1"))
    with pytest.raises(ValueError, match="--split_seed 2 chooses the labelled patients, and here all are labelled"):
        check_label_fraction_options(options("--label_fractions", "1", "--split_seed", "2"))


def test_a_seed_that_chooses_for_teachers_or_draws_folds_is_taken() -> None:
    words = ["--label_fractions", "1", "--split_seed", "2"]
    check_label_fraction_options(options(*words), of_teachers=0.25)
    with pytest.raises(ValueError, match="here all are labelled"):
        check_label_fraction_options(options(*words), of_teachers=1)
    check_label_fraction_options(options(*words, "--set", "fold=0"))


def test_runs_with_all_labels_have_no_such_seed() -> None:
    assert without_idle_split_seed({"label_fraction": 0.25, "split_seed": 2}, 0)["split_seed"] == 2
    assert without_idle_split_seed({"label_fraction": 1, "split_seed": 2}, 0)["split_seed"] == 0
    # that of the datalist says what is there
    assert without_idle_split_seed({"label_fraction": 1, "split_seed": 2}, 2)["split_seed"] == 2
    # folds are drawn with it, for all label fractions alike
    folds = {"label_fraction": 1, "split_seed": 2, "fold": 0, "n_folds": 4}
    assert without_idle_split_seed(folds, 0) == folds
    assert without_idle_split_seed({"label_fraction": 1}, 0) == {"label_fraction": 1}
