from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.counted import counted
from ckdmed.metrics import DISTANCE_SCORES, EMPTY_RULES, SEGMENTATION_SCORES, aggregate_scores

from .calibration import calibration_part
from .files import plain, write_csv, write_json
from .predictions import best_and_worst, plot_best_and_worst
from .region_means import mean_over_regions
from .region_pictures import RegionPicture, plot_region_cases

__all__ = ["write_segmentation_report"]

Row = Mapping[str, Any]
Picture = tuple[Any, Any, Any]


def write_segmentation_report(
    rows: Sequence[Row],
    output_dir: str | os.PathLike[str],
    settings: Mapping[str, Any] | None = None,
    pictures: Callable[[Row], Picture] | Mapping[str, Picture] | Mapping[str, RegionPicture] | None = None,
    scores: Sequence[str] | None = None,
    rank_by: str = "dice",
    patient_key: str | None = None,
    class_key: str = "class",
    class_names: Mapping[str, str] | None = None,
    n_cases: int = 4,
    n_bootstrap: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    reliability: Sequence[Row] = (),
    regions: Sequence[str] = (),
) -> tuple[dict[str, Any], str]:
    """Write what an evaluation found: a CSV per slice, a JSON summary, and the best and worst cases as a picture.

    The files are ``scores.csv`` (one row per slice, in the order given), ``summary.json``, ``patients.csv`` and
    ``best_and_worst.png``; each is written whole or not at all.

    Args:
        rows: one mapping per slice: id, patient, class and the scores, see ``aggregate_scores``.
        output_dir: created where it does not exist.
        settings: what produced the rows (checkpoint hash, split, seed, command ...); copied into the summary.
        pictures: gives (image, truth, prediction) of a row, or a mapping from a row's id to that; called for the best
            and worst rows only. None: no picture.
        scores, patient_key, class_key: as ``aggregate_scores``.
        rank_by: the score by which cases are best and worst; larger is better.
        class_names: what to call the classes in the table, by class.
        n_cases: how many best and how many worst.
        n_bootstrap, level, seed: of the intervals.
        reliability: what `calibration_part` takes, where probabilities are known.
        regions: where there are several, rows are per slice and ``region``, and ``pictures`` maps a slice's id to a
            ``RegionPicture``. ``overall`` and ``per_class`` are then of a slice's mean over its regions, and
            ``per_region`` holds the same of each region.

    Returns:
        The summary as written, and a short table for the console.

    Raises:
        ValueError: as ``aggregate_scores``; when ``rank_by`` is not a column; a slice lacks a region or has it twice.
    """
    folder = Path(output_dir)
    if any(rank_by not in row for row in rows):
        raise ValueError(f"rank_by={rank_by!r} is not a column of every row; columns are {', '.join(rows[0])}")
    several = len(regions) > 1
    slices: Sequence[Row] = rows
    if several:
        scores = list(scores) if scores is not None else [name for name in SEGMENTATION_SCORES if name in rows[0]]
        slices = mean_over_regions(rows, regions, scores, "slice")
    settled = (scores, patient_key, class_key, n_bootstrap, level, seed)
    result = aggregate_scores(slices, *settled)
    key, per_patient = result["patient_key"], result.pop("per_patient")
    best, worst = best_and_worst([float(row[rank_by]) for row in slices], n_cases)
    names = {str(k): v for k, v in (class_names or {}).items()}
    has_empty = any(row.get("empty") for row in rows)
    summary: dict[str, Any] = {
        "settings": dict(settings or {}),
        "units": {"distance": result["unit"]},
        "rules": {
            "empty": EMPTY_RULES if has_empty else None,
            "intervals": f"{level:.0%} percentile bootstrap, {n_bootstrap} draws of whole patients, seed {seed}",
            "patient": f"mean over a patient's slices, patients identified by {key}",
            **({"overall": "mean of a slice's regions; undefined values are left out of it"} if several else {}),
        },
        **({"regions": list(regions)} if several else {}),
        **result,
        **calibration_part(reliability, key, str(result["unit"]), n_bootstrap, level, seed),
        "class_names": names,
        **({"per_region": _per_region(rows, regions, settled)} if several else {}),
        "per_patient": per_patient,
        "best": [_named(slices[i], rank_by, key) for i in best],
        "worst": [_named(slices[i], rank_by, key) for i in worst],
    }
    write_csv(folder / "scores.csv", rows)
    write_csv(folder / "patients.csv", per_patient)
    if pictures is not None and (best or worst):
        path = folder / "best_and_worst.png"
        if several:
            values = {(row["id"], row["region"]): float(row[rank_by]) for row in rows}
            of: Any = pictures
            drawn = [(str(slices[i]["id"]), of[str(slices[i]["id"])]) for i in [*best, *worst]]
            own = [[values[slices[i]["id"], region] for region in regions] for i in [*best, *worst]]
            plot_region_cases(drawn[: len(best)], drawn[len(best) :], own, regions, path, _title(rank_by))
        else:
            _draw([rows[i] for i in [*best, *worst]], pictures, path, rank_by, class_key, names, n_cases)
        summary["pictures"] = ["best_and_worst.png"]
    # last, so that a summary exists only when all files of the report do
    write_json(folder / "summary.json", summary)
    return plain(summary), _console_table(summary, names)


def _draw(
    chosen: Sequence[Row],
    pictures: Any,
    path: Path,
    rank_by: str,
    class_key: str,
    names: Mapping[str, str],
    n_cases: int,
) -> None:
    drawn = [pictures(row) if callable(pictures) else pictures[str(row["id"])] for row in chosen]
    images, truths, predictions = (list(part) for part in zip(*drawn))
    plot_best_and_worst(
        images,
        truths,
        predictions,
        [float(row[rank_by]) for row in chosen],
        path,
        titles=[_caption(row, class_key, names) for row in chosen],
        n=n_cases,
        score_name=_title(rank_by),
    )


def _title(score: str) -> str:
    return "Dice" if score == "dice" else score


def _per_region(rows: Sequence[Row], regions: Sequence[str], settled: tuple[Any, ...]) -> dict[str, Any]:
    parts = {}
    for region in regions:
        parts[region] = aggregate_scores([row for row in rows if row["region"] == region], *settled)
        del parts[region]["per_patient"]
    return parts


def _named(row: Row, rank_by: str, key: str) -> dict[str, Any]:
    return {"id": row.get("id"), key: row.get(key), rank_by: row[rank_by]}


def _caption(row: Row, class_key: str, names: Mapping[str, str]) -> str:
    kind = str(row.get(class_key, ""))
    return " ".join(part for part in (str(row.get("id", "")), names.get(kind, "")) if part)


def _console_table(summary: Mapping[str, Any], names: Mapping[str, str]) -> str:
    unit = summary["unit"]
    scores = list(summary["overall"])
    heads = [f"{name} [{unit}]" if unit and name in DISTANCE_SCORES else name for name in scores]
    regions = summary.get("per_region") or {}
    blocks = [(name, part["n_slices"], part["n_patients"], part["overall"]) for name, part in regions.items()]
    whole = "mean of regions" if regions else "all"
    blocks.append((whole, summary["n_slices"], summary["n_patients"], summary["overall"]))
    with_interval = {*regions, whole}
    for kind, part in summary["per_class"].items():
        blocks.append((names.get(kind, kind), part["n_slices"], part["n_patients"], part["scores"]))
    lines = [["", "slices", "patients", *heads]]
    for label, n_slices, n_patients, values in blocks:
        means = [_number(values[s]["patient_mean"], s) for s in scores]
        lines.append([label, str(n_slices), str(n_patients), *means])
        if label in with_interval:
            lines.append(
                ["", "", f"{summary['level']:.0%}", *(_range(values[s]["patient_interval"], s) for s in scores)]
            )
        if label == whole:
            lines.append(["per slice", "", "", *(_number(values[s]["slice_mean"], s) for s in scores)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = [
        "  ".join([c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))])
        for line in lines
    ]
    text.insert(1, "-" * len(text[0]))
    text.append("Means over patients of the mean over a patient's slices; 'per slice' weighs all slices equally.")
    for name, part in regions.items():
        text.extend(f"{name}: {note}" for note in _notes(part))
    text.extend([] if regions else _notes(summary))
    return "\n".join(line.rstrip() for line in text)


def _notes(summary: Mapping[str, Any]) -> list[str]:
    notes = []
    empty = summary["empty"] or {}
    penalised = empty.get("truth", 0) + empty.get("prediction", 0)
    if penalised or empty.get("both"):
        notes.append(
            f"Empty masks: truth only {empty['truth']}, prediction only {empty['prediction']}, both {empty['both']}; "
            f"{counted(penalised, 'slice')} in the distances with the image diagonal."
        )
    undefined = {name: part["n_undefined"] for name, part in summary["overall"].items() if part["n_undefined"]}
    if undefined:
        counts = ", ".join(f"{name} on {counted(count, 'slice')}" for name, count in undefined.items())
        notes.append(f"Undefined, and left out of their mean: {counts}.")
    return notes


def _is_distance(score: str) -> bool:
    return score in DISTANCE_SCORES or score.endswith("_mm")


def _number(value: float, score: str) -> str:
    return "-" if math.isnan(value) else f"{value:.{2 if _is_distance(score) else 4}f}"


def _range(interval: Sequence[float], score: str) -> str:
    return "-" if math.isnan(interval[0]) else "-".join(_number(v, score) for v in interval)
