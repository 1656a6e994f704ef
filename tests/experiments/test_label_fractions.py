"""A seed that chooses the labelled patients is there where there is something to choose."""

from __future__ import annotations

import argparse

import pytest

from ckdmed.experiments.compare_arms import ARMS, Arm, compare_runs, variant
from ckdmed.experiments.given_settings import training_config
from ckdmed.experiments.label_fractions import (
    add_label_fraction_options,
    check_label_fraction_options,
    check_split_seed_chooses,
    labelled_share,
    on_labelled_images,
    without_idle_split_seed,
)
from ckdmed.experiments.plan import Run


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--set", nargs="+", default=[])
    add_label_fraction_options(parser, (1.0, 0.25))
    return parser.parse_args(words)


def test_a_choice_of_nothing_is_refused() -> None:
    check_label_fraction_options(options("--split_seed", "2"))
    check_label_fraction_options(options("--label_fractions", "1"))
    with pytest.raises(ValueError, match="--split_seed 2 chooses the labelled patients, but here all are labelled"):
        check_label_fraction_options(options("--label_fractions", "1", "--split_seed", "2"))


def test_two_seeds_are_refused() -> None:
    check_label_fraction_options(options("--set", "split_seed=2", "--split_seed", "2"))
    with pytest.raises(ValueError, match="--split_seed 3 and --set split_seed=2 set the same seed twice"):
        check_label_fraction_options(options("--set", "split_seed=2", "--split_seed", "3"))


def runs(arm: Arm, *fractions: float) -> list[Run]:
    return [run for run in compare_runs([ARMS["teacher"], arm], fractions, [0]) if run.arm.name == arm.name]


def test_a_seed_among_the_settings_that_chooses_nothing_is_refused() -> None:
    """It was left out without a word."""
    seed = {"split_seed": 2}
    ckd = ARMS["ckd"]
    # that of the datalist says what is there, and folds are drawn with it
    check_split_seed_chooses(seed, runs(ckd, 1), 2)
    check_split_seed_chooses({**seed, "fold": 0}, runs(ckd, 1), 0)
    check_split_seed_chooses({"split_seed": 0}, runs(ckd, 1), 0)
    check_split_seed_chooses({"split_seed": 0}, runs(ckd, 1), 5)
    check_split_seed_chooses(seed, runs(ckd, 1, 0.25), 0)
    with pytest.raises(ValueError, match="^split_seed=2 chooses the labelled patients, but here all are labelled"):
        check_split_seed_chooses(seed, runs(ckd, 1), 0)
    with pytest.raises(ValueError, match="^other: split_seed=2 chooses"):
        check_split_seed_chooses({}, [*runs(ckd, 1), *runs(variant("other", seed), 1)], 0)


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


@pytest.mark.parametrize(
    ("bundle", "items"),
    [("seg_kd", "data"), ("cls_kd", "data"), ("brats_seg_kd", "items"), ("brats_unimodal_kd", "items")],
)
def test_a_student_alone_goes_through_the_labelled_images_as_often_as_it_takes(bundle: str, items: str) -> None:
    config = training_config(bundle)
    base = {"epochs": 10, "label_fraction": 0.25}
    alone = on_labelled_images(base, config)
    assert (alone["epochs"], alone["val_interval"], alone["label_fraction"]) == (40, 4, 0.25)
    assert alone[f"train#dataset#{items}"] == "$[item for item in @sections['train'] if item['labelled']]"
    assert on_labelled_images({**base, "val_interval": 3, "label_fraction": 0.5}, config)["val_interval"] == 6
    # the setting that it replaces is there
    assert "@sections" in config["train"]["dataset"][items]
    # nothing to leave out
    assert on_labelled_images({"epochs": 10}, config) == {"epochs": 10}
    assert on_labelled_images({**base, "label_fraction": 1.0}, config) == {**base, "label_fraction": 1.0}
    assert base == {"epochs": 10, "label_fraction": 0.25}
    # half of the images have no label whatever the fraction is
    assert on_labelled_images({"epochs": 10}, config, 0.5)["epochs"] == 20
    assert on_labelled_images(base, config, 0.5)["epochs"] == 80
    assert f"train#dataset#{items}" in on_labelled_images({"epochs": 10}, config, 0.5)


def test_the_share_of_a_datalist_that_has_labels() -> None:
    slices = [
        {"label": "a.png", "class": 1},
        {"label": "", "class": 2},
        {"label": "", "class": None},
        {"label": "b.png", "class": 0},
    ]
    assert labelled_share({"training": slices, "validation": []}) == 0.5
    assert labelled_share({"training": slices}, "class") == 0.75
    # BraTS cases, and the slices of the Figshare set, which have their class in the file of their mask
    assert labelled_share({"training": [{"label": "seg.nii"}, {"image": []}]}, "class") == 0.5
    assert labelled_share({"training": [{"label": "seg.nii"}]}) == 1
    # phantoms that are not drawn yet
    assert labelled_share({}) == 1


@pytest.mark.parametrize(
    ("drawn", "epochs"),
    [
        ({"slices_per_epoch": 64}, 10),
        ({"balanced": True, "epoch_slices": 64}, 10),
        ({"task": "brats_slice", "epoch_slices": 64}, 10),
        ({"slices_per_epoch": 64, "spatial_dims": 2}, 10),
        # volumes are gone through each once
        ({"slices_per_epoch": 64, "spatial_dims": 3}, 20),
        ({"balanced": True}, 20),
        # figshare's slices are drawn as they come
        ({"epoch_slices": 64}, 20),
        ({"task": "brats_slice", "balanced": False, "epoch_slices": 64}, 20),
    ],
)
def test_an_epoch_of_a_fixed_length_has_its_steps_already(drawn: dict[str, object], epochs: int) -> None:
    made = on_labelled_images({"epochs": 10, "label_fraction": 0.5, **drawn}, training_config("cls_kd"))
    assert made["epochs"] == epochs and "train#dataset#data" in made
