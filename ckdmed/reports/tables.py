from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ckdmed.counted import counted
from ckdmed.metrics import PairedDifference

from .differences import difference_over_patients, difference_over_runs, values_by_pair
from .run_record import RunRecord

__all__ = ["arm_table", "difference_cell", "markdown_table", "mean_sd", "patient_table"]


def arm_table(
    records: Sequence[RunRecord],
    metrics: Sequence[str],
    baseline: str | None = None,
    arms: Mapping[str, str] | Sequence[str] | None = None,
    decimals: int = 4,
    level: float = 0.95,
    smaller_is_better: Collection[str] = (),
) -> str:
    """A Markdown table of arms: mean and standard deviation over runs, and the paired difference to a baseline.

    Runs of two arms are paired by seed and split. The difference stands with Student's t interval over the pairs and
    with the number of pairs that the arm wins. An arm with runs that the baseline lacks, or without
    runs that it has, is compared on the pairs they share, and the table says how many.

    Args:
        records: the runs; a pair (seed, split) occurs once per arm.
        metrics: columns, names in ``RunRecord.metrics``.
        baseline: the arm that the others are compared with; None for no comparison.
        arms: the arms to show, in this order, by default in order of appearance; a mapping gives them names to print.
        decimals: of the numbers.
        level: of the intervals.
        smaller_is_better: metrics of which the smaller value wins, such as distances; of all others the larger one.

    Raises:
        ValueError: when there are no records, an arm or a metric is missing, or an arm has a seed and split twice.
    """
    if not records or not metrics:
        raise ValueError("a table needs at least one record and one metric")
    runs = Counter(record.arm for record in records)
    head = ["arm", "runs"]
    for metric in metrics:
        head.append(metric)
        if baseline is not None:
            head += [f"{metric}: difference [{level:.0%} interval]", "wins"]
    lines = []
    for arm, label in _labels(records, arms).items():
        line = [label, str(runs[arm])]
        for metric in metrics:
            line.append(mean_sd(list(values_by_pair(records, metric, arm).values()), decimals))
            if arm == baseline:
                line += ["baseline", ""]
            elif baseline is not None:
                got = difference_over_runs(records, metric, arm, baseline, level)
                line += _compared(got, max(runs[arm], runs[baseline]), decimals, metric in smaller_is_better)
        lines.append(line)
    return markdown_table(head, lines)


def patient_table(
    records: Sequence[RunRecord],
    metric: str,
    baseline: str,
    arms: Mapping[str, str] | Sequence[str] | None = None,
    decimals: int = 4,
    level: float = 0.95,
) -> str:
    """A Markdown table of the paired differences to a baseline over patients, each patient being the mean of the runs.

    Where :func:`arm_table` asks what other seeds would have given on these patients, this one asks what these runs
    would have given on other patients: its interval is the percentile bootstrap that draws patients
    (:func:`~ckdmed.metrics.paired_difference`). Runs are paired by seed and split as there; a patient without a
    defined score in one of the two arms is left out. An arm that shares no run with the baseline has no difference.

    Args:
        records: the runs, with ``patients[metric]``; a pair (seed, split) occurs once per arm.
        metric: name in ``RunRecord.patients``, of which the larger value wins.
        baseline: the arm that the others are compared with.
        arms: the arms to show beside it, as in :func:`arm_table`.
        decimals: of the numbers.
        level: of the intervals.

    Raises:
        ValueError: when an arm is missing, a run has no such scores, or the runs are not of the same patients.
    """
    lines = []
    for arm, label in _labels(records, arms).items():
        if arm == baseline:
            continue
        got, runs = difference_over_patients(records, metric, arm, baseline, level)
        if got is None:
            lines.append([label, str(runs), "0", "-", "-"])
        else:
            lines.append([label, str(runs), str(got.n), difference_cell(got, decimals), f"{got.wins} of {got.n}"])
    head = ["arm", "runs", "patients", f"{metric}: difference [{level:.0%} interval over patients]", "patients won"]
    return markdown_table(head, lines)


def mean_sd(values: Sequence[float | None], decimals: int = 4) -> str:
    """Mean and standard deviation (of a sample, n - 1) of the defined values, for a table's cell.

    Args:
        values: one per run; None and NaN are undefined, and how many of them there are stands in brackets.
        decimals: of both numbers.

    Returns:
        "0.8500 ± 0.0100", the mean alone for one value, "-" where none is defined.
    """
    defined = [v for v in values if v is not None and not math.isnan(v)]
    if not defined:
        return "-"
    # one run has no deviation; writing 0 would claim that it never varies
    spread = f" ± {np.std(defined, ddof=1):.{decimals}f}" if len(defined) > 1 else ""
    missing = f" ({len(values) - len(defined)} undefined)" if len(defined) < len(values) else ""
    return f"{np.mean(defined):.{decimals}f}{spread}{missing}"


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table, columns padded so that the source reads well too; the first column left, others right.

    Raises:
        ValueError: when a line is not as long as the head.
    """
    for line in lines:
        if len(line) != len(head):
            raise ValueError(f"a line has {len(line)} cells, the head {len(head)}: {list(line)}")
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in line] for line in [head, *lines]]
    widths = [max(3, *(len(line[i]) for line in cells)) for i in range(len(head))]

    def row(line: Sequence[str]) -> str:
        return "| " + " | ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths))) + " |"

    rule = "| " + " | ".join("-" * (w - 1) + ":" if i else "-" * w for i, w in enumerate(widths)) + " |"
    return "\n".join([row(cells[0]), rule, *map(row, cells[1:])]) + "\n"


def _labels(records: Sequence[RunRecord], arms: Mapping[str, str] | Sequence[str] | None) -> dict[str, str]:
    if arms is None:
        return {record.arm: record.arm for record in records}
    return dict(arms) if isinstance(arms, Mapping) else {arm: arm for arm in arms}


def _compared(got: PairedDifference | None, runs: int, decimals: int, smaller_is_better: bool) -> list[str]:
    if got is None:
        return ["no shared runs", ""]
    partly = f" ({counted(got.n, 'pair')})" if got.n < runs else ""
    wins = got.losses if smaller_is_better else got.wins
    return [f"{difference_cell(got, decimals)}{partly}", f"{wins} of {got.n}"]


def difference_cell(got: PairedDifference, decimals: int = 4) -> str:
    """A difference with its interval, for a table's cell: "+0.0100 [-0.0050, +0.0250]"."""
    interval = f" [{got.low:+.{decimals}f}, {got.high:+.{decimals}f}]" if not math.isnan(got.low) else ""
    return f"{got.estimate:+.{decimals}f}{interval}"
