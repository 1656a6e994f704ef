"""What an evaluation found: scores with their intervals, per region, class and patient, cases and calibration."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ckdmed.counted import counted

from .blocks import Facts, Line, LineChart, Picture, Section, Table, Text
from .mask_calibration_part import mask_calibration_blocks
from .training_run import Evaluation
from .words import NONE, interval, number, score_name

__all__ = ["evaluation_sections", "reliability"]

_PICTURES = {
    "best_and_worst.png": "the best and the worst cases with truth and prediction",
    "predictions.png": "slices with the classes that were predicted",
    "gradcam.png": "where the network looks, by Grad-CAM",
}
#: patients that are shown in the chart at most; more would be a smear
_MOST_DOTS = 400


def evaluation_sections(evaluation: Evaluation, stem: str, title: str = "") -> list[Section]:
    """The parts of a page about one evaluation.

    Args:
        evaluation: of masks, of regions of cases, or of classes.
        stem: begins the names of its pictures.
        title: of the first part; by default the section that was scored.

    Raises:
        ValueError: the table of probabilities beside the summary is damaged.
    """
    heading = title or _title(evaluation)
    blocks = _classes(evaluation) if evaluation.is_classification else _masks(evaluation)
    taught = (evaluation.summary.get("settings") or {}).get("teacher_scores")
    if isinstance(taught, Mapping):
        seen, unseen = (number(taught.get(part)) for part in ("in_fold", "out_of_fold"))
        blocks.append(
            Text(
                f"The student's cross-fitted teachers: {taught.get('metric')} {seen} on the training patients that "
                f"each was trained on (in fold), {unseen} on those that it was not (out of fold).",
                "note",
            )
        )
    for name, alt in _PICTURES.items():
        path = evaluation.folder / name
        if path.is_file():
            blocks.append(Picture(path.read_bytes(), f"{stem}-{name}", f"Picture: {alt}", alt.capitalize() + "."))
    return [Section(heading, blocks)]


def _title(evaluation: Evaluation) -> str:
    section, conditions = evaluation.section, evaluation.conditions
    words = f"Results on the {section} set" if section else f"Results ({evaluation.name})"
    return f"{words}, {conditions}" if conditions else words


def _masks(evaluation: Evaluation) -> list[Any]:
    summary = evaluation.summary
    unit, counted = summary.get("unit"), str(summary.get("counted") or "slices")
    overall: Mapping[str, Any] = summary["overall"]
    level = f"{summary.get('level', 0.95):.0%} interval"
    first = next(iter(overall))
    blocks: list[Any] = [
        Facts(
            [
                (
                    f"{score_name(score, unit)}, mean over patients",
                    number(overall[score]["patient_mean"], score),
                    _within(overall[score]["patient_interval"], score, level),
                )
                for score in [name for name in ("dice", "hd95") if name in overall] or [first]
            ]
            + [("patients", str(summary["n_patients"]), f"{summary['n_slices']} {counted}")]
        ),
        Table(
            ["score", "mean over patients", level, f"mean over {counted}", f"median over {counted}", "undefined"],
            [
                [
                    score_name(score, unit),
                    number(values["patient_mean"], score),
                    interval(values["patient_interval"], score),
                    number(values["slice_mean"], score),
                    number(values.get("slice_median"), score),
                    str(values.get("n_undefined", 0)),
                ]
                for score, values in overall.items()
            ],
            "All scores",
        ),
    ]
    names = {str(key): str(value) for key, value in (summary.get("class_names") or {}).items()}
    if regions := summary.get("per_region"):
        blocks.append(_parts("Per region", regions, list(overall), unit, counted, lambda part: part["overall"]))
    if per_class := summary.get("per_class"):
        named = {names.get(str(key), str(key)): part for key, part in per_class.items()}
        blocks.append(_parts("Per class", named, list(overall), unit, counted, lambda part: part["scores"]))
    blocks += _patients(summary, unit)
    blocks += _extremes(summary)
    blocks += mask_calibration_blocks(summary)
    blocks.append(Text(f"Intervals: {(summary.get('rules') or {}).get('intervals', 'not stated')}.", "note"))
    return blocks


def _parts(caption: str, parts: Mapping[str, Any], scores: Sequence[str], unit: Any, counted: str, of: Any) -> Table:
    head = ["", counted, "patients", *(score_name(score, unit) for score in scores)]
    rows = [
        [
            str(name),
            str(part["n_slices"]),
            str(part["n_patients"]),
            *(number((of(part).get(score) or {}).get("patient_mean"), score) for score in scores),
        ]
        for name, part in parts.items()
    ]
    return Table(head, rows, f"{caption}: means over patients")


def _patients(summary: Mapping[str, Any], unit: Any) -> list[Any]:
    rows = [row for row in summary.get("per_patient") or [] if isinstance(row, Mapping)]
    if not rows:
        return []
    key = summary.get("patient_key") or next(iter(rows[0]))
    columns = [name for name in rows[0] if name != key]
    score = "dice" if "dice" in columns else columns[-1]
    values = [float(row[score]) for row in rows if isinstance(row.get(score), (int, float)) and _finite(row[score])]
    blocks: list[Any] = []
    if len(values) > 2:
        ranked = list(enumerate(sorted(values), 1))
        # with the worst and the best one among them
        chosen = np.linspace(0, len(ranked) - 1, min(len(ranked), _MOST_DOTS)).round().astype(int)
        dots = [(float(rank), value) for rank, value in (ranked[at] for at in chosen)]
        limits = (0.0, 1.0) if max(values) <= 1 and min(values) >= 0 else None
        blocks.append(
            LineChart(
                f"{score_name(score, unit)} of each patient",
                "patients, worst first",
                score_name(score, unit),
                [Line(score_name(score, unit), dots, dots=True)],
                y_range=limits,
            )
        )
        if note := _left_out(len(rows), len(values), len(dots), score_name(score, unit)):
            blocks.append(Text(note, "note"))
    shown = [[str(row[key]), *(_cell(row.get(name), name) for name in columns)] for row in _by_score(rows, score)]
    # of volumes cases are counted
    called = {"n_slices": str(summary.get("counted") or "slices")}
    head = [str(key).replace("_", " "), *(called.get(name) or score_name(name, unit) for name in columns)]
    blocks.append(Table(head, shown, "Per patient, worst first", folded=len(shown) > 12))
    return blocks


def _left_out(patients: int, defined: int, dots: int, score: str) -> str:
    """What the chart of patients does not show; "" where it shows all."""
    notes = []
    if dots < defined:
        notes.append(f"The chart shows {dots} of {defined} patients, evenly chosen by rank.")
    if defined < patients:
        notes.append(f"{counted(patients - defined, 'patient')} without a defined {score} not shown in the chart.")
    return " ".join([*notes, "All are in the table."]) if notes else ""


def _by_score(rows: Sequence[Mapping[str, Any]], score: str) -> list[Mapping[str, Any]]:
    def key(row: Mapping[str, Any]) -> tuple[bool, float]:
        value = row.get(score)
        known = isinstance(value, (int, float)) and _finite(value)
        return not known, float(value) if known and value is not None else 0.0

    return sorted(rows, key=key)


def _extremes(summary: Mapping[str, Any]) -> list[Any]:
    rows = []
    for kind in ("best", "worst"):
        for case in summary.get(kind) or []:
            named, *others = case.items()
            score = others[-1] if others else named
            rows.append([kind, str(named[1]), *(str(value) for _, value in others[:-1]), number(score[1], score[0])])
    if not rows or len({len(row) for row in rows}) > 1:
        return []
    first = (summary.get("best") or summary["worst"])[0]
    head = ["", *(str(name).replace("_", " ") if name != "dice" else "Dice" for name in first)]
    return [Table(head, rows, "Best and worst cases")]


def _classes(evaluation: Evaluation) -> list[Any]:
    summary = evaluation.summary
    names = [str(name) for name in summary["class_names"]]
    levels = [name for name in ("slices", "patients") if summary.get(name)]
    main = summary[levels[-1]]
    level = f"{summary.get('level', 0.95):.0%} interval"
    scores = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc", "ece", "nll")
    blocks: list[Any] = [
        Facts(
            [
                (
                    f"accuracy, {levels[-1]}",
                    number(main["accuracy"]),
                    _within(main["intervals"].get("accuracy"), "", level),
                ),
                (
                    f"calibration error, {levels[0]}",
                    number(summary[levels[0]]["ece"]),
                    _within(summary[levels[0]]["intervals"].get("ece"), "", level),
                ),
                ("patients", str(summary["n_patients"]), counted(summary["n_slices"], "slice")),
            ]
        ),
        Table(
            ["score", *(text for name in levels for text in (name, level))],
            [
                [
                    score_name(score),
                    *(
                        text
                        for name in levels
                        for text in (
                            number(summary[name].get(score)),
                            interval(summary[name]["intervals"].get(score)),
                        )
                    ),
                ]
                for score in scores
            ],
            "All scores",
        ),
    ]
    for name in levels:
        part = summary[name]
        head = ["class", "precision", "recall", "F1", "AUC", name]
        rows = [
            [kind, *(number(part[key][i]) for key in ("precision", "recall", "f1", "auc")), str(part["support"][i])]
            for i, kind in enumerate(names)
        ]
        blocks.append(Table(head, rows, f"Per class, {name}"))
    for name in levels:
        head = ["true class", *(f"predicted {kind}" for kind in names)]
        rows = [[kind, *(str(n) for n in row)] for kind, row in zip(names, summary[name]["confusion"], strict=True)]
        blocks.append(Table(head, rows, f"Confusion matrix, {name}"))
    blocks += _calibration(evaluation, summary)
    return blocks


def _calibration(evaluation: Evaluation, summary: Mapping[str, Any]) -> list[Any]:
    blocks: list[Any] = []
    scaled = summary.get("temperature")
    if scaled:
        before = summary["slices"]
        head = ["", "calibration error", "negative log-likelihood"]
        rows = [
            ["as predicted", number(before["ece"]), number(before["nll"])],
            [f"scaled by the temperature {scaled['value']:.3f}", number(scaled["ece"]), number(scaled["nll"])],
        ]
        blocks.append(Table(head, rows, "Calibration of the slices"))
    path = evaluation.folder / "probabilities.csv"
    if path.is_file():
        points = reliability(*_confidences(path))
        blocks.append(
            LineChart(
                "Reliability of the slices",
                "probability of the predicted class",
                "share that is right; bins as those of the calibration error",
                [Line("slices", points, dots=False)],
                y_range=(0.0, 1.0),
                diagonal=True,
            )
        )
    return blocks


def reliability(confidence: Sequence[float], right: Sequence[bool], bins: int = 15) -> list[tuple[float, float]]:
    """Points of a reliability diagram: of each bin that holds any, the mean confidence and the share that is right.

    Args:
        confidence: (N,) probability of the predicted class, 0 to 1.
        right: (N,) whether it is the true one.
        bins: of equal width, as the calibration error's.
    """
    at = np.asarray(confidence, dtype=float)
    hit = np.asarray(right, dtype=float)
    # closed above, as those of `ckdmed.metrics.expected_calibration_error`
    place = np.digitize(at, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    return [(float(at[place == k].mean()), float(hit[place == k].mean())) for k in range(bins) if (place == k).any()]


def _confidences(path: Path) -> tuple[list[float], list[bool]]:
    confidence, right = [], []
    with open(path, encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            try:
                values = [float(value) for name, value in row.items() if name.startswith("probability_")]
                confidence.append(max(values))
                right.append(int(row["label"]) == int(row["predicted"]))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{path}: row {len(right) + 1} is damaged ({error}); run the evaluation again."
                ) from error
    if not right:
        raise ValueError(f"{path}: holds no rows; run the evaluation again.")
    return confidence, right


def _within(ends: Any, score: str, level: str) -> str:
    text = interval(ends, score)
    return "" if text == NONE else f"{text} ({level})"


def _cell(value: Any, name: str) -> str:
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else number(value, name)


def _finite(value: Any) -> bool:
    return math.isfinite(value)
