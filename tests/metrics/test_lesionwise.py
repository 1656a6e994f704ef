from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from ckdmed.metrics import BRATS_2023_LESION_RULES, lesionwise_scores


def volume(*cubes: tuple[int, int, int, int], shape=(40, 40, 40)) -> np.ndarray:
    """Cubes given by their lowest corner and edge length."""
    mask = np.zeros(shape, bool)
    for x, y, z, edge in cubes:
        mask[x : x + edge, y : y + edge, z : z + edge] = True
    return mask


A, B = (4, 4, 4, 5), (28, 28, 28, 5)


def counts(got):
    return tuple(got[f"n_{name}"] for name in ("lesions", "found", "missed", "false", "ignored"))


def test_perfect():
    got = lesionwise_scores(volume(A, B), volume(A, B))
    assert (got["lesionwise_dice"], got["lesionwise_hd95_mm"]) == (1.0, 0.0)
    assert counts(got) == (2, 2, 0, 0, 0)
    assert [lesion["volume_mm3"] for lesion in got["lesions"]] == [125.0, 125.0]


def test_one_lesion_missed():
    got = lesionwise_scores(volume(A), volume(A, B))
    assert got["lesionwise_dice"] == pytest.approx(1 / 2)
    assert got["lesionwise_hd95_mm"] == pytest.approx(374 / 2)
    assert counts(got) == (2, 1, 1, 0, 0)


def test_one_false_lesion():
    got = lesionwise_scores(volume(A, B), volume(A))
    assert got["lesionwise_dice"] == pytest.approx(1 / 2)
    assert got["lesionwise_hd95_mm"] == pytest.approx(374 / 2)
    assert counts(got) == (1, 1, 0, 1, 0)


def test_one_missed_and_one_false():
    got = lesionwise_scores(volume(A, (4, 28, 4, 3)), volume(A, B))
    assert got["lesionwise_dice"] == pytest.approx(1 / 3)
    assert got["lesionwise_hd95_mm"] == pytest.approx(2 * 374 / 3)


@pytest.mark.parametrize(("challenge", "gap", "n"), [("GLI", 6, 1), ("GLI", 7, 2), ("MEN", 2, 1), ("MEN", 3, 2)])
def test_lesions_are_one_when_their_dilations_touch(challenge, gap, n):
    # dilated by d from both sides, two faces g voxels apart have g - 2d voxels between them
    true = volume((4, 10, 10, 5), (9 + gap, 10, 10, 5))
    assert lesionwise_scores(true, true, challenge=challenge)["n_lesions"] == n


def test_one_component_across_two_lesions_scores_against_both():
    true = volume((2, 10, 10, 5), (20, 10, 10, 5))
    pred = true.copy()
    pred[2:25, 10:15, 10:15] = True
    got = lesionwise_scores(pred, true)
    # 23 x 25 voxels against 125, twice
    assert got["lesionwise_dice"] == pytest.approx(2 * 125 / (575 + 125))
    assert counts(got) == (2, 2, 0, 0, 0)


def test_two_components_on_one_lesion_are_taken_together():
    true = volume((10, 10, 10, 8))
    pred = true.copy()
    pred[13:15] = False
    got = lesionwise_scores(pred, true)
    assert got["lesionwise_dice"] == pytest.approx(2 * 384 / (384 + 512))
    assert got["lesions"][0]["n_components"] == 2 and got["n_false"] == 0


def test_a_component_beside_a_lesion_is_matched_within_the_dilation_only():
    true = volume((4, 10, 10, 5))
    near, far = volume((11, 10, 10, 3)), volume((12, 10, 10, 3))  # 2 and 3 voxels between the faces
    assert counts(lesionwise_scores(near, true)) == (1, 1, 0, 0, 0)
    assert lesionwise_scores(near, true)["lesionwise_dice"] == 0
    assert lesionwise_scores(near, true)["lesionwise_hd95_mm"] < 20
    assert counts(lesionwise_scores(far, true)) == (1, 0, 1, 1, 0)
    assert lesionwise_scores(far, true)["lesionwise_hd95_mm"] == 374


def test_empty_truth_and_empty_prediction():
    nothing = volume()
    both = lesionwise_scores(nothing, nothing)
    assert (both["lesionwise_dice"], both["lesionwise_hd95_mm"], both["lesions"]) == (1.0, 0.0, [])
    no_truth = lesionwise_scores(volume(A), nothing)
    assert (no_truth["lesionwise_dice"], no_truth["lesionwise_hd95_mm"]) == (0.0, 374.0)
    assert counts(no_truth) == (0, 0, 0, 1, 0)
    no_prediction = lesionwise_scores(nothing, volume(A))
    assert (no_prediction["lesionwise_dice"], no_prediction["lesionwise_hd95_mm"]) == (0.0, 374.0)
    assert counts(no_prediction) == (1, 0, 1, 0, 0)


def slab(n: int) -> np.ndarray:
    """A flat block of n voxels, n a multiple of 5 or one more."""
    mask = volume()
    mask[10, 10 : 10 + n // 5, 10:15] = True
    mask[11, 10, 10 : 10 + n % 5] = True
    return mask


@pytest.mark.parametrize(("size", "counted"), [(50, 0), (51, 1)])
def test_lesions_of_50_mm3_and_less_are_ignored(size, counted):
    small = slab(size)
    assert small.sum() == size
    missed = lesionwise_scores(volume(), small)
    assert (missed["n_lesions"], missed["n_ignored"]) == (counted, 1 - counted)
    assert missed["lesionwise_dice"] == 1 - counted
    # a prediction on an ignored lesion is no false one either
    found = lesionwise_scores(small, small)
    assert found["n_false"] == 0 and found["lesionwise_dice"] == 1.0


def test_the_ignored_volume_is_in_mm3():
    assert lesionwise_scores(volume(), slab(30))["n_ignored"] == 1
    assert lesionwise_scores(volume(), slab(30), spacing_mm=(1, 1, 2))["n_ignored"] == 0


def test_constants_of_the_challenges():
    table = {name: (r.dilation, r.ignored_volume_mm3) for name, r in BRATS_2023_LESION_RULES.items()}
    assert table == {"GLI": (3, 50), "SSA": (3, 50), "PED": (3, 50), "MEN": (1, 50), "MET": (1, 2)}


def test_hd95_of_a_cube_moved_along_an_axis():
    true = volume((10, 10, 10, 8))
    got = lesionwise_scores(np.roll(true, 2, axis=0), true, spacing_mm=(1.5, 1, 1))
    # the face two voxels away holds far more than 5 % of the border's area
    assert got["lesionwise_hd95_mm"] == pytest.approx(3.0)


def test_diagonal_neighbours_are_one_component():
    pred = volume((10, 10, 10, 3), (13, 13, 13, 3))
    assert lesionwise_scores(pred, volume())["n_false"] == 1


def test_lesion_at_the_corner_of_the_volume():
    true = volume((0, 0, 0, 5), shape=(9, 9, 9))
    assert lesionwise_scores(true, true)["lesionwise_dice"] == 1.0
    assert lesionwise_scores(true, true)["lesionwise_hd95_mm"] == 0.0


def whole_volume_reference(pred, true, dilation, ignored):
    """The definition on whole volumes, one mask per lesion, with no boxes: Dice and counts only."""
    element, cube = ndimage.generate_binary_structure(3, 2), np.ones((3, 3, 3))
    components, n_components = ndimage.label(pred, cube)
    grown, n = ndimage.label(ndimage.binary_dilation(true, element, iterations=dilation), cube)
    used, scores = set(), []
    for label in range(1, n + 1):
        lesion = true & (grown == label)
        reach = ndimage.binary_dilation(lesion, element, iterations=dilation)
        met = set(components[reach].tolist()) - {0}
        used |= met
        own = np.isin(components, list(met))
        if lesion.sum() > ignored:
            scores.append(2 * (own & lesion).sum() / (own.sum() + lesion.sum()))
    false = n_components - len(used)
    return (sum(scores) / (len(scores) + false) if scores or false else 1.0), len(scores), false


@pytest.mark.parametrize("seed", range(8))
def test_boxes_change_nothing(seed):
    rng = np.random.default_rng(seed)
    challenge = ["GLI", "MET"][seed % 2]

    def blobs(n):
        mask, grid = np.zeros((24, 22, 20), bool), np.indices((24, 22, 20))
        for _ in range(n):
            centre = rng.integers(0, 20, size=3)[:, None, None, None]
            mask |= ((grid - centre) ** 2).sum(0) < rng.uniform(1, 4) ** 2
        return mask

    true = blobs(rng.integers(1, 6))
    pred = np.roll(true, rng.integers(-3, 4, size=3), axis=(0, 1, 2)) ^ blobs(rng.integers(0, 3))
    rules = BRATS_2023_LESION_RULES[challenge]
    dice, n, false = whole_volume_reference(pred, true, rules.dilation, rules.ignored_volume_mm3)
    got = lesionwise_scores(torch.from_numpy(pred), true.astype(np.uint8), challenge=challenge)
    assert got["lesionwise_dice"] == pytest.approx(dice)
    assert (got["n_lesions"], got["n_false"]) == (n, false)


@pytest.mark.parametrize(
    ("pred", "true", "kwargs", "message"),
    [
        (volume(), volume(), {"challenge": "GOAT"}, "challenge must be one of"),
        (volume()[0], volume()[0], {}, "must be a 3-D volume"),
        (volume(), volume()[1:], {}, r"same shape, got \(40, 40, 40\) and \(39, 40, 40\)"),
        (volume() + 2, volume(), {}, "prediction must hold 0 and 1 only"),
        (volume(), volume(), {"spacing_mm": (1, 1)}, "three positive numbers"),
        (volume(), volume(), {"spacing_mm": (1, 1, -1)}, "three positive numbers"),
    ],
)
def test_errors(pred, true, kwargs, message):
    with pytest.raises(ValueError, match=message):
        lesionwise_scores(pred, true, **kwargs)
