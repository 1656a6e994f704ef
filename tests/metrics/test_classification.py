from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ckdmed.metrics import (
    apply_temperature,
    classification_intervals,
    classification_scores,
    confusion_matrix,
    expected_calibration_error,
    fit_temperature,
    patient_probabilities,
    scores_from_confusion,
)

# six slices of three classes; predictions 0 0 1 1 2 0
PROB = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.3, 0.5, 0.2], [0.1, 0.8, 0.1], [0.1, 0.3, 0.6], [0.5, 0.3, 0.2]])
LABELS = np.array([0, 0, 0, 1, 2, 2])


def test_scores_by_hand():
    got = classification_scores(PROB, LABELS)
    assert got["confusion"] == [[2, 1, 0], [0, 1, 0], [1, 0, 1]]
    assert got["accuracy"] == pytest.approx(4 / 6)
    assert got["recall"] == pytest.approx([2 / 3, 1, 1 / 2])
    assert got["precision"] == pytest.approx([2 / 3, 1 / 2, 1])
    assert got["f1"] == pytest.approx([2 / 3, 2 / 3, 2 / 3])
    assert got["balanced_accuracy"] == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)
    assert got["macro_f1"] == pytest.approx(2 / 3)
    assert got["support"] == [3, 1, 2]
    # class 0: positives .7 .6 .3 against .1 .1 .5: 8 of 9 pairs in order; class 1: .8 above all; class 2: .6 above all,
    # .2 above three and level with one
    assert got["auc"] == pytest.approx([8 / 9, 1, (4 + 3 + 0.5) / 8])
    assert got["macro_auc"] == pytest.approx(np.mean([8 / 9, 1, 7.5 / 8]))
    assert got["nll"] == pytest.approx(-np.mean(np.log([0.7, 0.6, 0.3, 0.8, 0.6, 0.2])))


def test_ece_by_hand():
    # two bins: all confidences but the two of .5 lie above .5; those two are both wrong
    wrong, right = abs(0 - 1.0), abs(4 - (0.7 + 0.6 + 0.8 + 0.6))
    assert expected_calibration_error(PROB, LABELS, n_bins=2) == pytest.approx((wrong + right) / 6)
    certain = np.eye(3)[[0, 1, 2]]
    assert expected_calibration_error(certain, [0, 1, 2]) == 0
    assert expected_calibration_error(certain, [1, 2, 0]) == 1


@pytest.mark.parametrize("n_bins", [1, 3, 10, 15])
def test_ece_equals_a_loop_over_bins(n_bins):
    rng = np.random.default_rng(n_bins)
    prob, y = rng.dirichlet([1, 1, 1], size=200), rng.integers(0, 3, size=200)
    total = 0.0
    for i in range(n_bins):
        low, high = i / n_bins, (i + 1) / n_bins
        inside = [j for j in range(200) if low < prob[j].max() <= high]
        if inside:
            accuracy = np.mean([prob[j].argmax() == y[j] for j in inside])
            total += len(inside) * abs(accuracy - np.mean([prob[j].max() for j in inside]))
    assert expected_calibration_error(prob, y, n_bins) == pytest.approx(total / 200)


def test_class_never_predicted_and_class_that_does_not_occur():
    got = classification_scores(np.array([[0.9, 0.1, 0], [0.8, 0.2, 0]]), [0, 1])
    assert math.isnan(got["precision"][1]) and math.isnan(got["precision"][2])
    assert math.isnan(got["recall"][2]) and math.isnan(got["auc"][2])
    assert got["balanced_accuracy"] == pytest.approx(0.5) and got["macro_auc"] == pytest.approx(1.0)


def test_tensors_give_what_arrays_give():
    assert classification_scores(torch.from_numpy(PROB), torch.from_numpy(LABELS)) == classification_scores(
        PROB, LABELS
    )


def test_confusion_rows_are_the_truth():
    assert confusion_matrix([1, 1, 0], [0, 1, 1], 2).tolist() == [[0, 1], [1, 1]]


def test_stacked_matrices_equal_one_by_one():
    matrices = np.random.default_rng(0).integers(0, 4, size=(5, 3, 3))
    together = scores_from_confusion(matrices)
    for i, matrix in enumerate(matrices):
        for name, value in scores_from_confusion(matrix).items():
            np.testing.assert_allclose(together[name][i], value)


def test_patient_probabilities_by_hand():
    prob, y, names = patient_probabilities(PROB, LABELS, ["p", "q", "p", "r", "s", "s"])
    assert names == ["p", "q", "r", "s"] and y.tolist() == [0, 0, 1, 2]
    np.testing.assert_allclose(prob[0], [0.5, 0.35, 0.15])
    np.testing.assert_allclose(prob[1], PROB[1])
    np.testing.assert_allclose(prob[3], [0.3, 0.3, 0.4])


def test_patient_with_two_labels_is_refused():
    with pytest.raises(ValueError, match=r"different labels: \['p'\]"):
        patient_probabilities(PROB, LABELS, ["p", "q", "q", "p", "s", "s"])


@pytest.mark.parametrize(
    ("prob", "labels", "message"),
    [
        (PROB[:, :1], LABELS, r"\(N, C\) with C >= 2"),
        (PROB, LABELS[:5], r"got shapes \(6, 3\) and \(5,\)"),
        (PROB * 3 - 1, LABELS, "apply softmax to logits first"),
        (np.where(PROB > 0.7, np.nan, PROB), LABELS, "apply softmax"),
        (PROB, LABELS + 1, "whole numbers from 0 to 2, got 1 to 3"),
        (PROB, LABELS + 0.5, "whole numbers"),
    ],
)
def test_errors(prob, labels, message):
    with pytest.raises(ValueError, match=message):
        classification_scores(prob, labels)


def test_other_errors():
    with pytest.raises(ValueError, match="n_bins must be at least 1"):
        expected_calibration_error(PROB, LABELS, 0)
    with pytest.raises(ValueError, match="the same length"):
        confusion_matrix([0], [0, 1], 2)
    with pytest.raises(ValueError, match="predicted must be whole numbers from 0 to 1"):
        confusion_matrix([2], [0], 2)
    with pytest.raises(ValueError, match="2 patients for 6 slices"):
        patient_probabilities(PROB, LABELS, ["a", "b"])


def calibrated_logits(n=4000):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(n, 3)) * 2
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return logits, np.array([rng.choice(3, p=row) for row in p])


@pytest.mark.parametrize("scale", [0.25, 1.0, 5.0])
def test_temperature_undoes_a_known_scale(scale):
    logits, y = calibrated_logits()
    assert fit_temperature(torch.from_numpy(logits * scale).float(), y) == pytest.approx(scale, rel=0.06)


def test_temperature_is_the_minimum_of_a_grid_and_lowers_ece():
    logits, y = calibrated_logits(500)
    logits = logits * 4
    fitted = fit_temperature(logits, y)

    def nll(t):
        return classification_scores(apply_temperature(logits, t), y)["nll"]

    assert nll(fitted) <= min(nll(t) for t in np.geomspace(0.1, 50, 200)) + 1e-7
    before, after = apply_temperature(logits, 1.0), apply_temperature(logits, fitted)
    assert expected_calibration_error(after, y) < expected_calibration_error(before, y)
    assert (before.argmax(1) == after.argmax(1)).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_temperature_without_a_minimum_stays_finite(sign):
    # all right: the likelihood rises as T falls; all wrong: as T rises
    t = fit_temperature(sign * np.eye(3) * 5, [0, 1, 2])
    assert 1e-3 * (1 - 1e-9) <= t <= 1e3 * (1 + 1e-9) and ((t < 1) if sign > 0 else (t > 1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_temperature(np.zeros((2, 3)), [0]), r"got shapes \(2, 3\) and \(1,\)"),
        (lambda: fit_temperature(np.full((1, 3), np.inf), [0]), "must be finite"),
        (lambda: fit_temperature(np.zeros((1, 3)), [3]), "from 0 to 2, got 3 to 3"),
        (lambda: apply_temperature(np.zeros((1, 3)), 0), "temperature must be positive"),
    ],
)
def test_temperature_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_intervals_equal_a_loop_over_resamples():
    rng = np.random.default_rng(4)
    prob, y = rng.dirichlet([1, 1, 1], size=24).round(1), np.arange(24) // 2 % 3
    prob[:, 0] += 1 - prob.sum(1)
    prob = np.abs(prob) / np.abs(prob).sum(1, keepdims=True)
    patients = [f"{i // 2:02d}" for i in range(24)]
    got = classification_intervals(prob, y, patients, n=60, level=0.9, seed=2, n_bins=5)

    draws = {name: [] for name in got}
    for row in np.random.default_rng(2).integers(0, 12, size=(60, 12)):
        chosen = [i for patient in row for i in (2 * patient, 2 * patient + 1)]
        scores = classification_scores(prob[chosen], y[chosen], n_bins=5)
        for name in draws:
            draws[name].append(scores[name])
    for name, values in draws.items():
        assert got[name] == pytest.approx(list(np.quantile(values, [0.05, 0.95])), abs=1e-9), name


def test_intervals_of_one_patient_are_undefined_and_errors():
    assert all(math.isnan(v) for pair in classification_intervals(PROB, LABELS, ["a"] * 6).values() for v in pair)
    with pytest.raises(ValueError, match="2 patients for 6 items"):
        classification_intervals(PROB, LABELS, ["a", "b"])
    with pytest.raises(ValueError, match="level between 0 and 1"):
        classification_intervals(PROB, LABELS, list("abcdef"), level=2)
