"""Forest plot: differences of arms from a baseline, with intervals over patients and over runs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.lines import Line2D

from ckdmed.metrics import PairedDifference

from .corrected import corrected_differences
from .differences import difference_over_patients, difference_over_runs, varied_by_runs
from .drawn_values import VALUES
from .files import save_figure
from .run_record import RunRecord
from .style import BAD, CYCLE, new_figure, tidy_axes

__all__ = ["plot_forest"]

_GAIN, _LOSS, _UNDECIDED = CYCLE[0], BAD, CYCLE[6]
# of the panel's width, beyond the outermost estimate or interval over patients
_MARGIN = 0.06


def plot_forest(
    panels: Mapping[str, Sequence[RunRecord]],
    metric: str,
    baseline: str,
    path: str | os.PathLike[str],
    arms: Mapping[str, str] | None = None,
    level: float = 0.95,
    title: str = "",
    holm: bool = False,
) -> Path:
    """Draw the paired differences of arms to a baseline, one panel for each group of runs, on one scale.

    A dot is the mean difference over the patients, the thick line its interval over patients (bootstrap), the thin one
    that over seeds, over folds or over both, as the runs differ (Student's t). Blue and red are those of which no
    interval holds zero. The scale holds all intervals over patients; one over few runs can be far wider and then ends
    in an arrow at the border.

    The file keeps the numbers that it shows, see :func:`~ckdmed.reports.read_values`: panel -> arm -> difference over
    patients and over runs, each [estimate, low, high] rounded to six decimals; an end that is not defined is None, and
    an empty list stands for no difference over runs.

    Args:
        panels: title of the panel -> its runs, with ``metrics[metric]`` and ``patients[metric]``.
        metric: a mean over patients of which the larger value is better, such as "Dice per patient".
        baseline: the arm that the others are compared with.
        path: where the PNG goes.
        arms: the arms to show from top to bottom, with names to print; those that a panel lacks are left out of it. By
            default all in order of appearance, under their own names.
        level: of the intervals.
        title: above the panels.
        holm: whether the intervals over patients are corrected for the number of arms in a panel, see
            :func:`~ckdmed.reports.corrected_differences`.

    Raises:
        ValueError: when there is nothing to draw, or a panel's runs cannot be compared; see
            :func:`~ckdmed.reports.differences.difference_over_patients`.

    Source: Lewis and Clarke, Forest plots: trying to see the wood and the trees, BMJ 2001, for the form.
    """
    drawn = {name: _rows(records, metric, baseline, arms, level, holm) for name, records in panels.items()}
    drawn = {name: rows for name, rows in drawn.items() if rows}
    if not drawn:
        raise ValueError(
            f"nothing to draw: no panel has an arm beside the baseline {baseline!r} with scores of patients"
        )
    edges = [value for rows in drawn.values() for _, patients, _ in rows for value in _span(patients)]
    low, high = min(0.0, *edges), max(0.0, *edges)
    margin = _MARGIN * (high - low) or 0.01
    low, high = low - margin, high + margin

    heights = [len(rows) + 0.8 for rows in drawn.values()]
    figure = new_figure(8.4, 0.3 * sum(heights) + 1.4)
    if title:
        figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    grid = figure.subplots(len(drawn), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, (name, rows) in zip(grid, drawn.items()):
        tidy_axes(axes)
        axes.grid(False, axis="y")
        axes.set_title(name, fontsize=9, loc="left")
        axes.axvline(0, color="#333333", linewidth=0.9)
        for y, (_, patients, seeds) in enumerate(rows):
            _draw(axes, y, patients, seeds, (low, high))
        axes.set_yticks(range(len(rows)), [label for label, _, _ in rows], fontsize=8)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(low, high)
    grid[-1].set_xlabel(f"{metric}: difference to {(arms or {}).get(baseline, baseline)}", fontsize=9)
    over = varied_by_runs([record for name in drawn for record in panels[name]])
    figure.legend(handles=_legend(level, holm, over), loc="outside lower right", ncols=5, fontsize=8, frameon=False)
    values = {
        name: {label: [_numbers(patients), _numbers(seeds)] for label, patients, seeds in rows}
        for name, rows in drawn.items()
    }
    return save_figure(figure, path, metadata={VALUES: json.dumps(values)})


Row = tuple[str, PairedDifference, PairedDifference | None]


def _rows(
    records: Sequence[RunRecord], metric: str, baseline: str, arms: Mapping[str, str] | None, level: float, holm: bool
) -> list[Row]:
    """Label, difference over patients and over runs of each arm that can be drawn."""
    present = {record.arm for record in records}
    labels = arms or {record.arm: record.arm for record in records}
    shown = [arm for arm in labels if arm != baseline and arm in present]
    if holm:
        corrected = corrected_differences(records, metric, baseline, shown, level)
        over_patients = {arm: found.difference for arm, found in corrected.items()}
    else:
        each = {arm: difference_over_patients(records, metric, arm, baseline, level)[0] for arm in shown}
        over_patients = {arm: found for arm, found in each.items() if found is not None}
    return [
        (labels[arm], found, difference_over_runs(records, metric, arm, baseline, level))
        for arm, found in over_patients.items()
    ]


def _span(of: PairedDifference) -> list[float]:
    return [value for value in (of.estimate, of.low, of.high) if math.isfinite(value)]


def _draw(
    axes: Any, y: int, patients: PairedDifference, seeds: PairedDifference | None, limits: tuple[float, float]
) -> None:
    intervals = [of for of in (patients, seeds) if of is not None and math.isfinite(of.low)]
    above, below = all(of.low > 0 for of in intervals), all(of.high < 0 for of in intervals)
    color = _UNDECIDED if above == below else _GAIN if above else _LOSS
    if seeds is not None and math.isfinite(seeds.low):
        axes.plot([max(seeds.low, limits[0]), min(seeds.high, limits[1])], [y, y], color=color, linewidth=1.0)
        for beyond, at, marker in ((seeds.low < limits[0], limits[0], "<"), (seeds.high > limits[1], limits[1], ">")):
            if beyond:
                axes.plot([at], [y], marker, color=color, markersize=5, clip_on=False)
    if math.isfinite(patients.low):
        axes.plot([patients.low, patients.high], [y, y], color=color, linewidth=3.6, solid_capstyle="butt")
    axes.plot([patients.estimate], [y], "o", color=color, markersize=6, markeredgecolor="white")


def _legend(level: float, holm: bool, over: str) -> list[Line2D]:
    return [
        Line2D([], [], color=_UNDECIDED, linewidth=3.6, label=f"{level:.0%} over patients{' (Holm)' if holm else ''}"),
        Line2D([], [], color=_UNDECIDED, linewidth=1.0, label=f"{level:.0%} over {over}"),
        *(
            Line2D([], [], color=color, marker="o", linestyle="", markeredgecolor="white", label=label)
            for color, label in ((_GAIN, "both above zero"), (_LOSS, "both below"), (_UNDECIDED, "inconclusive"))
        ),
    ]


def _numbers(of: PairedDifference | None) -> list[float | None]:
    values = (of.estimate, of.low, of.high) if of is not None else ()
    return [round(value, 6) if math.isfinite(value) else None for value in values]
