"""The figures of an evaluation of slices in the documents of an exported bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ckdmed.export.documents import eval_metrics, exported_readme, figures_table
from ckdmed.metrics import segmentation_scores
from ckdmed.reports import write_segmentation_report


def test_means_over_patients_and_over_slices_stand_side_by_side(tmp_path: Path) -> None:
    truth = np.zeros((16, 16), dtype=bool)
    truth[4:8, 4:8] = True
    half = truth.copy()
    half[4:8, 6:8] = False
    # patient a: Dice 1, 1 and 2/3, patient b: 2/3
    found = [("a", truth), ("a", truth), ("a", half), ("b", half)]
    rows = [
        {"id": str(number), "patient": patient, "class": "1", **segmentation_scores(prediction, truth)}
        for number, (patient, prediction) in enumerate(found)
    ]
    settings = {"section": "validation", "settings": {"tta": True}}
    summary, _ = write_segmentation_report(rows, tmp_path, settings=settings)
    text = figures_table(summary)
    assert text.startswith(
        "Measured on 4 slices of 2 patients of the validation set; network outputs averaged over mirrored images"
    )
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]
    head, (dice,) = cells[0], [row for row in cells if row[0] == "dice"]
    assert (head[0], head[1], head[-1]) == ("score", "mean over patients", "mean over slices")
    # (8/9 + 2/3) / 2 and (1 + 1 + 2/3 + 2/3) / 4
    assert (dice[1], dice[-1]) == ("0.7778", "0.8333")
    assert "tta" not in figures_table({**summary, "settings": {"section": "test"}})
    assert "thresholded" not in text
    assert "of the training set" in figures_table({**summary, "settings": {"section": "train"}})
    lower = figures_table({**summary, "settings": {"section": "test", "settings": {"threshold": 0.4}}})
    assert "; masks thresholded at a probability of 0.4; " in lower


def test_what_the_page_says_of_shipped_weights_is_said_of_these_alone() -> None:
    page = (
        "A network<!-- shipped weights only -->, as shipped<!-- end of shipped weights only -->.\n"
        "<!-- figures: written by the exporter -->\nDice 0.777\n\n<!-- end of figures -->\n"
    )
    assert exported_readme(page, "bundles/b", shipped=True).startswith("A network, as shipped.\n")
    assert "Dice 0.777" in exported_readme(page, "bundles/b", shipped=True)
    other = exported_readme(page, "bundles/b")
    assert other.startswith("A network.\n") and "0.777" not in other and "No figures are recorded here yet" in other


def test_an_evaluation_that_predicted_otherwise_than_the_inference_is_told_as_such() -> None:
    page = "<!-- figures: written by the exporter -->\n<!-- end of figures -->\n"
    summary = {
        "settings": {"settings": {"threshold": 0.5, "tta": False}},
        "overall": {"dice": {"patient_mean": 0.8, "patient_interval": [0.7, 0.9]}},
        "n_slices": 4,
        "n_patients": 2,
    }
    text = exported_readme(page, "bundles/b", summary, inference={"threshold": 0.3, "tta": True})
    assert "inference differs from what was scored; it has `threshold` 0.3, not 0.5; `tta` True, not False." in text
    assert "differs from what was scored" not in exported_readme(
        page, "bundles/b", summary, inference={"threshold": 0.5, "tta": False}
    )


def test_each_region_of_slices_has_its_figures(tmp_path: Path) -> None:
    truth = np.zeros((16, 16), dtype=bool)
    truth[4:8, 4:8] = True
    found = {"whole": truth, "core": np.zeros_like(truth)}
    rows = [
        {"id": name, "patient": name, "region": region, **segmentation_scores(prediction, truth)}
        for name in ("a", "b")
        for region, prediction in found.items()
    ]
    summary, _ = write_segmentation_report(rows, tmp_path, regions=["whole", "core"])
    text = figures_table(summary)
    cells = {
        row[0]: row[1] for row in ([c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines()) if row
    }
    assert text.startswith("Measured on 2 slices of 2 patients")
    means = {"dice, whole": "1.0000", "dice, core": "0.0000", "dice, mean": "0.5000"}
    assert {name: cells[name] for name in means} == means
    assert eval_metrics(summary)["test_mean_dice_core"] == 0


def test_links_to_pages_that_are_not_exported_become_their_names() -> None:
    page = "see [own data](../../../docs/own_data.md), [docs/a.md](../../../docs/a.md#b) and [a file](docs/c.md)"
    assert exported_readme(page, "bundles/b") == (
        "see own data (docs/own_data.md of the ckdmed repository), docs/a.md of the ckdmed repository and "
        "[a file](docs/c.md)"
    )
