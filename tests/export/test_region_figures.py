"""The figures of an evaluation by region in the documents of an exported bundle."""

from __future__ import annotations

from ckdmed.export.documents import exported_metadata, figures_table
from ckdmed.metrics import lesionwise_scores, segmentation_scores
from ckdmed.reports import write_region_report
from tests.handlers.test_region_evaluation import box, volume


def test_each_region_has_its_lines_and_the_two_kinds_stay_apart(tmp_path):
    truth, found = volume(box(3, 3, 3), box(15, 14, 13)), volume(box(3, 3, 3))
    rows = []
    for patient in "ab":
        for region, prediction in (("TC", truth), ("WT", found), ("ET", truth)):
            lesions = lesionwise_scores(prediction, truth)
            del lesions["lesions"]
            who = {"id": patient, "patient": patient, "class": "GLI", "region": region}
            rows.append({**who, **segmentation_scores(prediction, truth, 1.0), **lesions})
    summary, _ = write_region_report(rows, tmp_path, n_bootstrap=20)
    text = figures_table(summary)
    assert text.startswith("Measured on 2 cases of 2 patients of the test set; distances in mm")
    lines = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in text.splitlines() if "|" in line}
    assert lines["dice, WT"] == "0.6667" and lines["lesionwise_dice, WT"] == "0.5000" and lines["dice, TC"] == "1.0000"
    assert lines["lesionwise_hd95_mm, WT"] == "187.0000" and lines["dice, mean"] == "0.8889"
    metrics = exported_metadata({}, summary)["eval_metrics"]
    assert metrics["test_mean_dice_WT"] == 0.6667 and metrics["test_mean_dice"] == 0.8889
    assert metrics["test_mean_lesionwise_dice_WT"] == 0.5
