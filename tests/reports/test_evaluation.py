from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from ckdmed.metrics import aggregate_scores, classification_scores, fit_temperature, segmentation_scores
from ckdmed.reports import write_classification_report, write_segmentation_report

RNG = np.random.default_rng(0)


def cases(n=8):
    truth = np.pad(np.ones((6, 6), bool), 5)
    pictures, rows = {}, []
    for i in range(n):
        prediction = np.roll(truth, i, axis=0) if i else np.zeros_like(truth)
        name = f"s{i}"
        pictures[name] = (RNG.random(truth.shape), truth, prediction)
        rows.append(
            {"id": name, "patient": f"p{i // 2}", "class": 1 + i % 2} | segmentation_scores(prediction, truth, 0.5)
        )
    return rows, pictures


def test_segmentation_report_on_disk(tmp_path):
    rows, pictures = cases()
    asked = []

    def give(row):
        asked.append(row["id"])
        return pictures[row["id"]]

    settings = {"checkpoint_sha256": "ab", "split": "test", "seed": 3}
    summary, text = write_segmentation_report(
        rows, tmp_path, settings, give, class_names={"1": "meningioma"}, n_cases=2, n_bootstrap=50
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "best_and_worst.png",
        "patients.csv",
        "scores.csv",
        "summary.json",
    ]
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert asked == ["s1", "s2", "s0", "s6"]  # s6 and s7 have both moved out of reach
    assert [case["id"] for case in summary["worst"]] == ["s0", "s6"]
    assert summary["settings"] == settings and summary["units"] == {"distance": "mm"}
    assert summary["rules"]["empty"]["prediction"].startswith("prediction empty")
    expected = aggregate_scores(rows, n=50)
    assert summary["overall"]["dice"] == expected["overall"]["dice"]
    assert summary["per_patient"] == expected["per_patient"]
    with open(tmp_path / "scores.csv", newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [float(row["dice"]) for row in table] == [row["dice"] for row in rows]
    assert table[0]["empty"] == "prediction"

    lines = text.splitlines()
    assert lines[0].split() == "slices patients dice iou hd95 [mm] asd [mm] sensitivity specificity".split()
    assert lines[2].split()[:4] == ["all", "8", "4", f"{expected['overall']['dice']['patient_mean']:.4f}"]
    assert any(line.startswith("meningioma") for line in lines)
    assert "prediction only 1" in text and "1 slice in the distances with the image diagonal" in text


def test_undefined_scores_become_null_and_are_told(tmp_path):
    rows, _ = cases(2)
    nothing = np.zeros((8, 8), bool)
    rows += [{"id": "e", "patient": "p9", "class": 1} | segmentation_scores(nothing, nothing, 0.5)]
    summary, text = write_segmentation_report(rows[2:], tmp_path)
    assert summary["overall"]["sensitivity"]["slice_mean"] is None
    assert summary["overall"]["dice"]["patient_interval"] == [None, None]
    assert "both 1" in text and "sensitivity on 1 slice." in text
    assert not (tmp_path / "best_and_worst.png").exists()


def test_pictures_as_a_mapping_and_regions(tmp_path):
    rows, pictures = cases(4)
    rows = [row | {"region": "ET", "lesionwise_dice": row["dice"]} for row in rows]
    summary, text = write_segmentation_report(
        rows, tmp_path, None, pictures, ["lesionwise_dice"], rank_by="lesionwise_dice", class_key="region"
    )
    assert list(summary["per_class"]) == ["ET"] and "lesionwise_dice" in text
    assert summary["pictures"] == ["best_and_worst.png"]


def test_segmentation_report_errors(tmp_path):
    rows, _ = cases(2)
    with pytest.raises(ValueError, match="rank_by='nsd' is not a column"):
        write_segmentation_report(rows, tmp_path, rank_by="nsd")
    with pytest.raises(ValueError, match="no rows"):
        write_segmentation_report([], tmp_path)
    assert list(tmp_path.iterdir()) == []


def classified(n=60):
    labels = np.arange(n) % 3
    logits = RNG.normal(size=(n, 3)) * 2
    logits[np.arange(n), labels] += 2
    rows = [{"id": str(i), "patient": f"p{i % 15}", "label": int(labels[i])} for i in range(n)]
    return rows, logits, labels


def test_classification_report_on_disk(tmp_path):
    rows, logits, labels = classified()
    temperature = fit_temperature(logits, labels)
    names = ["meningioma", "glioma", "pituitary"]
    summary, text = write_classification_report(rows, logits, tmp_path, names, temperature, {"seed": 1}, n_bootstrap=50)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "confusion_patients.png",
        "confusion_slices.png",
        "probabilities.csv",
        "summary.json",
    ]
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    prob = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert summary["slices"]["accuracy"] == pytest.approx(classification_scores(prob, labels)["accuracy"])
    assert summary["patients"]["n"] == 15 and summary["n_slices"] == 60
    low, high = summary["slices"]["intervals"]["accuracy"]
    assert low <= summary["slices"]["accuracy"] <= high
    assert summary["temperature"]["nll"] <= summary["slices"]["nll"]
    with open(tmp_path / "probabilities.csv", newline="") as stream:
        first = next(csv.DictReader(stream))
    assert float(first["probability_glioma"]) == pytest.approx(prob[0, 1])
    assert first["predicted_name"] == names[int(prob[0].argmax())]
    assert f"{summary['slices']['accuracy']:.4f}" in text and "Temperature" in text and "glioma: precision" in text


def test_classification_report_errors(tmp_path):
    rows, logits, _ = classified()
    with pytest.raises(ValueError, match=r"59 rows, logits of shape \(60, 3\)"):
        write_classification_report(rows[1:], logits, tmp_path, ["a", "b", "c"])
    with pytest.raises(ValueError, match="2 class names"):
        write_classification_report(rows, logits, tmp_path, ["a", "b"])
