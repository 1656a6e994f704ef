from __future__ import annotations

import math
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ckdmed.counted import counted
from ckdmed.metrics import (
    apply_temperature,
    classification_intervals,
    classification_scores,
    patient_key_of,
    patient_probabilities,
    patients_of_several_classes,
)

from .confusion import plot_confusion
from .files import plain, write_csv, write_json

__all__ = ["write_classification_report"]


def write_classification_report(
    rows: Sequence[Mapping[str, Any]],
    logits: np.ndarray,
    output_dir: str | os.PathLike[str],
    class_names: Sequence[str],
    temperature: float | None = None,
    settings: Mapping[str, Any] | None = None,
    patient_key: str | None = None,
    n_bootstrap: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    n_bins: int = 15,
    per_patient: bool = True,
) -> tuple[dict[str, Any], str]:
    """Write what a classifier's evaluation found: probabilities per slice, a JSON summary, confusion matrices.

    The files are ``probabilities.csv``, ``summary.json``, ``confusion_slices.png`` and ``confusion_patients.png``, each
    written whole or not at all. A patient's probabilities are the mean of those of its slices. Probabilities are
    without temperature; what scaling changes (ECE and NLL) stands beside them.

    Args:
        rows: one mapping per slice with ``id``, the patient and ``label`` (true class, from 0).
        logits: (N, C), in the order of the rows.
        output_dir: created where it does not exist.
        class_names: C names.
        temperature: fitted on other patients than these (``fit_temperature`` on validation logits); None: not scaled.
        settings: what produced the rows; copied into the summary.
        patient_key: the column that identifies patients, by default as ``aggregate_scores``.
        n_bootstrap, level, seed, n_bins: of the intervals and the calibration error.
        per_patient: False where slices of one patient have classes of their own: there are no scores of patients then
            (``patients`` is None, no ``confusion_patients.png``), nor where slices of one patient happen to have
            several, which the table says. Intervals are over patients in either case.

    Returns:
        The summary as written, and a short table for the console.

    Raises:
        ValueError: when there are no rows, rows and logits differ in number, the names are not as many as the classes,
            or as ``classification_scores``.
    """
    if not rows or len(rows) != len(logits) or np.shape(logits)[1:] != (len(class_names),):
        raise ValueError(
            f"there are {len(rows)} rows, logits of shape {np.shape(logits)} and {len(class_names)} class names; "
            "each row needs its logits, each class its name"
        )
    folder, key = Path(output_dir), patient_key or patient_key_of(rows)
    labels = np.array([int(row["label"]) for row in rows])
    patients = [str(row[key]) for row in rows]
    of_several = patients_of_several_classes(patients, labels) if per_patient else []
    per_patient = per_patient and not of_several
    slices = apply_temperature(logits, 1.0)
    bootstrap: dict[str, Any] = {"n": n_bootstrap, "level": level, "seed": seed, "n_bins": n_bins}
    summary: dict[str, Any] = {
        "settings": dict(settings or {}),
        "class_names": list(class_names),
        "rules": {
            "patient": (
                f"mean of the probabilities of a patient's slices, patients identified by {key}"
                if per_patient
                else f"each slice has a class of its own; patients identified by {key}"
            ),
            "intervals": f"{level:.0%} percentile bootstrap, {n_bootstrap} draws of whole patients, seed {seed}",
            "ece": f"{n_bins} bins of equal width of the largest probability",
        },
        "n_slices": len(rows),
        "n_patients": len(set(patients)),
        "level": level,
        "slices": classification_scores(slices, labels, n_bins)
        | {"intervals": classification_intervals(slices, labels, patients, **bootstrap)},
        "patients": None,
        "temperature": None,
    }
    if per_patient:
        by_patient, patient_labels, names = patient_probabilities(slices, labels, patients)
        intervals = classification_intervals(by_patient, patient_labels, names, **bootstrap)
        summary["patients"] = classification_scores(by_patient, patient_labels, n_bins) | {"intervals": intervals}
    if temperature is not None:
        scaled = classification_scores(apply_temperature(logits, temperature), labels, n_bins)
        summary["temperature"] = {"value": temperature, "ece": scaled["ece"], "nll": scaled["nll"]}

    table = []
    for row, probability in zip(rows, slices):
        predicted = int(probability.argmax())
        named = {f"probability_{name}": float(p) for name, p in zip(class_names, probability)}
        table.append({**row, "predicted": predicted, "predicted_name": class_names[predicted], **named})
    write_csv(folder / "probabilities.csv", table)
    for level_name in ("slices", "patients"):
        part = summary[level_name]
        if part is None:
            continue
        picture = folder / f"confusion_{level_name}.png"
        plot_confusion(
            part["confusion"], picture, class_names, f"{part['n']} {level_name}, accuracy {part['accuracy']:.3f}"
        )
    write_json(folder / "summary.json", summary)
    return plain(summary), _console_table(summary) + _unscored(of_several)


def _console_table(summary: Mapping[str, Any]) -> str:
    names = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "F1 (mean of classes)"}
    names |= {"macro_auc": "AUC (mean of classes)", "ece": "calibration error"}
    levels = [name for name in ("slices", "patients") if summary[name] is not None]
    lines = [f"{'':22}" + "   ".join(f"{name:>8}  {summary['level']:.0%} interval" for name in levels)]
    for score, label in names.items():
        cells = []
        for part in (summary[name] for name in levels):
            low, high = part["intervals"][score]
            cells.append(f"{_number(part[score]):>8}  {_number(low):>6}-{_number(high):<6}")
        lines.append(f"{label:22}" + "  ".join(cells))
    lines.insert(1, "-" * len(lines[0]))
    slices, patients = counted(summary["n_slices"], "slice"), counted(summary["n_patients"], "patient")
    lines.append(f"{slices} of {patients}; intervals over patients.")
    for i, name in enumerate(summary["class_names"]):
        part = summary["slices"]
        values = ", ".join(f"{key} {_number(part[key][i])}" for key in ("precision", "recall", "f1", "auc"))
        lines.append(f"{name}: {values} ({counted(part['support'][i], 'slice')})")
    if summary["temperature"]:
        scaled = summary["temperature"]
        lines.append(
            f"Temperature {scaled['value']:.3f}: calibration error {_number(summary['slices']['ece'])} -> "
            f"{_number(scaled['ece'])}, negative log-likelihood {_number(summary['slices']['nll'])} -> "
            f"{_number(scaled['nll'])} (slices)."
        )
    return "\n".join(line.rstrip() for line in lines)


def _unscored(patients: Sequence[Hashable]) -> str:
    if not patients:
        return ""
    named = ", ".join(map(str, patients[:5]))
    return f"\nNo scores of patients: slices of {counted(len(patients), 'patient')} have several classes ({named})."


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
