"""Several trainings beside each other: what differs, and how the results spread over seeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ckdmed.reports import mean_sd
from ckdmed.reports.files import plain

from .blocks import LineChart, Section, Table, Text
from .training_part import PLACES, best_name, metric_line, metric_name
from .training_run import TrainingRun, data_name
from .words import score_name, shown_value

__all__ = ["several_runs_section"]

#: what differs between runs that are repetitions of each other
_REPEATED = ("seed", "fold")
#: scores of an evaluation that are compared
_SCORES = ("dice", "hd95", "lesionwise_dice", "accuracy", "balanced_accuracy", "macro_auc", "ece")


def several_runs_section(runs: Mapping[str, TrainingRun]) -> Section:
    """The runs by what they were set to: those that differ in seed or fold alone are one row, with their spread.

    Args:
        runs: name -> run, at least two.
    """
    groups: dict[str, list[str]] = {}
    for name, run in runs.items():
        groups.setdefault(json.dumps(_set_to(run), sort_keys=True, default=str), []).append(name)
    labels = _labels(list(groups.values()), runs)
    rows = []
    columns = list(dict.fromkeys(key for run in runs.values() for key in _scores(run)))
    for label, names in zip(labels, groups.values(), strict=True):
        found = [_scores(runs[name]) for name in names]
        rows.append([label, str(len(names)), *(_spread(found, column) for column in columns)])
    blocks: list[Any] = [
        Table(["settings", "runs", *columns], rows, "Mean and standard deviation over the runs of the same settings"),
        Text("± is the standard deviation over runs (n - 1); a single run has none.", "note"),
    ]
    metric = next((run.key_metric for run in runs.values() if run.key_metric), None)
    lines = [] if metric is None else [metric_line(name, run.history, metric) for name, run in runs.items()]
    if any(line.points for line in lines):
        blocks.append(LineChart("Validation of each run", "epoch", metric_name(metric), lines))
    return Section("The runs compared", blocks)


def _set_to(run: TrainingRun) -> dict[str, Any]:
    settings = plain(run.settings)
    kept = {
        name: value
        for name, value in settings.items()
        if name not in PLACES and name not in _REPEATED and name != "made_from"
    }
    # the same data may lie elsewhere, and others in a folder of the same name
    return {**kept, "bundle": run.bundle, "data": data_name(run.settings), **_patients(run)}


def _patients(run: TrainingRun) -> dict[str, str]:
    """All patients of a run, in whatever section a seed or a fold puts them; nothing where its record has none."""
    sections = (run.sections.get("sections") or {}).values()
    names = {str(name) for part in sections if isinstance(part, Mapping) for name in part.get("patients") or ()}
    if not names:
        return {}
    digest = hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()
    return {"patients": f"{len(names)} ({digest[:8]})"}


def _labels(groups: Sequence[Sequence[str]], runs: Mapping[str, TrainingRun]) -> list[str]:
    """What tells each group from the others, by its settings; of a single group the names of its runs."""
    settings = [_set_to(runs[names[0]]) for names in groups]
    keys = dict.fromkeys(key for own in settings for key in own)
    differ = [key for key in keys if len({json.dumps(own.get(key), default=str) for own in settings}) > 1]
    if not differ:
        return [", ".join(names) for names in groups]
    labels = [", ".join(f"{key} {shown_value(own.get(key))}" for key in differ[:4]) for own in settings]
    if len(set(labels)) == len(labels) and len(differ) <= 4:
        return labels
    return [", ".join(names) for names in groups]


def _scores(run: TrainingRun) -> dict[str, float | None]:
    scores: dict[str, float | None] = {}
    if run.best is not None:
        scores[best_name(run)] = run.best[0]
    for evaluation in run.evaluations:
        if evaluation.of_others:
            continue
        summary, section = evaluation.summary, evaluation.section or evaluation.name
        section += f", {evaluation.conditions}" if evaluation.conditions else ""
        found = (
            {name: summary["slices"].get(name) for name in _SCORES}
            if evaluation.is_classification
            else {name: (summary["overall"].get(name) or {}).get("patient_mean") for name in _SCORES}
        )
        for name, value in found.items():
            if value is not None:
                scores.setdefault(f"{section}: {score_name(name, summary.get('unit'))}", float(value))
    return scores


def _spread(found: Sequence[Mapping[str, float | None]], column: str) -> str:
    values = [scores[column] for scores in found if column in scores]
    text = mean_sd(values)
    return text if len(values) in (0, len(found)) else f"{text} ({len(values)} of {len(found)} runs)"
