"""The gate: single slices count, whatever the mean says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import Activationsd, AsDiscreted, Compose

from ckdmed.deploy.deploying import DeployOptions
from ckdmed.deploy.deployment import Deployment, FormResult
from ckdmed.deploy.held_out import BundleData
from ckdmed.deploy.table import forms_table
from ckdmed.deploy.verdict import Limits, changes_of, problems


def squares(count: int = 10) -> list[dict]:
    """Slices with a square of tumour whose logits are the image itself."""
    items = []
    for number in range(count):
        label = torch.zeros(1, 20, 20)
        label[:, 5:15, 5:15] = 1
        items.append({"id": f"s{number}", "image": 8 * label - 4, "label": label})
    return items


def data(items: list[dict], classes: bool = False) -> BundleData:
    finish = Compose([Activationsd("pred", sigmoid=True), AsDiscreted("pred", threshold=0.5)])
    infer = (lambda images, network: network(images)) if not classes else (lambda images, network: network(images))
    return BundleData(items, items, "test", dict, infer, None if classes else finish)


def identity(images: np.ndarray) -> np.ndarray:
    return images


def broken_at(number: int):
    """A form that loses half of the square in one slice."""
    calls = iter(range(1000))

    def run(images: np.ndarray) -> np.ndarray:
        if next(calls) != number:
            return images
        spoiled = images.copy()
        spoiled[..., 10:, :] = -4
        return spoiled

    return run


def test_an_equal_form_passes():
    changes = changes_of({"onnx": identity}, identity, data(squares()), progress=False)["onnx"]
    assert (changes.before, changes.after, changes.worst_drop, changes.changed) == (1, 1, 0, 0)
    assert changes.probability_difference == 0 and changes.slices == 10
    assert problems(changes, Limits()) == []


def test_one_spoiled_slice_fails_though_the_mean_hardly_falls():
    changes = changes_of({"int8": broken_at(3)}, identity, data(squares(100)), progress=False)["int8"]
    # half of the square: Dice 2 * 50 / 150
    assert changes.worst_drop == pytest.approx(1 - 2 / 3) and changes.worst_slice == "s3"
    assert changes.before - changes.after == pytest.approx((1 - 2 / 3) / 100)
    found = problems(changes, Limits())
    assert len(found) == 1 and "slice s3 loses 0.333" in found[0]
    assert changes.first_changed == ("s3",) and changes.changed == 0.01


def test_many_small_changes_fail_by_their_share():
    def smaller(images: np.ndarray) -> np.ndarray:
        spoiled = images.copy()
        # a row: Dice 180 / 190, below 0.95
        spoiled[..., 14, :] = -4
        return spoiled

    changes = changes_of({"int8": smaller}, identity, data(squares()), progress=False)["int8"]
    found = problems(changes, Limits(mean_drop=0.1, worst_drop=0.1))
    assert found == ["100.0% of the slices are changed (allowed 5.0%)"]


def test_classes_are_judged_by_the_true_class():
    logits = [[4.0, 0.0], [0.2, 0.0], [0.0, 3.0]]
    items = [
        {"image": torch.tensor(row), "label": label, "id": str(i)}
        for i, (row, label) in enumerate(zip(logits, [0, 0, 1]))
    ]

    def shifted(values: np.ndarray) -> np.ndarray:
        return values + np.array([[0.0, 0.5]], np.float32)

    changes = changes_of({"int8": shifted}, identity, data(items, classes=True), progress=False)["int8"]
    assert changes.metric == "accuracy"
    assert changes.before == 1 and changes.after == pytest.approx(2 / 3) and changes.first_changed == ("1",)
    expected = 1 / (1 + np.exp(-0.2)) - 1 / (1 + np.exp(0.3))
    assert changes.worst_drop == pytest.approx(expected, abs=1e-6) and changes.worst_slice == "1"


def test_slices_without_tumour_that_get_some_are_changed():
    empty = [{"id": "e", "image": torch.full((1, 20, 20), -4.0), "label": torch.zeros(1, 20, 20)}]

    def inventing(images: np.ndarray) -> np.ndarray:
        spoiled = images.copy()
        spoiled[..., :3, :3] = 4
        return spoiled

    changes = changes_of({"int8": inventing, "same": identity}, identity, data(empty), progress=False)
    assert changes["int8"].worst_drop == 1 and changes["int8"].changed == 1
    assert problems(changes["same"], Limits()) == []


def test_the_table_says_that_the_dice_of_cases_is_one_of_slices():
    whole = {name: torch.stack([item[name] for item in squares(4)], -1) for name in ("image", "label")}
    changes = changes_of({"onnx": identity}, identity, data([{"id": "case", **whole}]), progress=False)["onnx"]
    forms = [FormResult("onnx", "model.onnx", True, [], changes)]
    table = forms_table(Deployment("brats_seg_kd", DeployOptions(), None, forms, None))
    assert "| Dice per slice before |" in table and "Judged on 4 slices of phantoms" in table
    assert "its mean Dice per slice falls by" in table


def test_limits_are_shares():
    with pytest.raises(ValueError, match=r"worst_drop must be in \[0, 1\], got 5"):
        Limits(worst_drop=5)


def test_logits_that_are_not_numbers_fail_on_slices_without_tumour_too():
    items = squares(2)
    items[1]["label"] = torch.zeros(1, 20, 20)
    items[1]["image"] = torch.full((1, 20, 20), -4.0)

    def run(images: np.ndarray) -> np.ndarray:
        return images if images.max() > 0 else np.full_like(images, np.nan)

    changes = changes_of({"int8": run}, identity, data(items), progress=False)["int8"]
    assert (changes.before, changes.after, changes.changed) == (1, 1, 0)
    assert problems(changes, Limits()) == ["its logits are not all numbers"]


def test_a_few_items_are_of_all_patients():
    items = [{**item, "patient_group": "ab"[number // 6]} for number, item in enumerate(squares(12))]
    for item in items[6:]:
        item["image"] = item["image"] * 0.5

    def run(images: np.ndarray) -> np.ndarray:
        return images if images.max() > 3 else -images

    changes = changes_of({"int8": run}, identity, data(items), count=4, progress=False)["int8"]
    assert (changes.slices, changes.changed, changes.after) == (4, 0.5, 0.5)
