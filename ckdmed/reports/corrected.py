"""Differences of several arms to one baseline over patients, corrected for how many arms there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ckdmed.metrics import PairedDifference, holm_levels, holm_p_values, paired_difference, paired_p_value

from .differences import scores_of_patients
from .run_record import RunRecord
from .tables import difference_cell, markdown_table

__all__ = ["CorrectedDifference", "corrected_differences", "corrected_table"]

# enough for the tails of 0.05 / 50 to hold ten of them
_RESAMPLES = 20_000


@dataclass(frozen=True)
class CorrectedDifference:
    """An arm against the baseline, among several arms.

    Attributes:
        difference: over patients, its interval at the level of Holm's procedure.
        p_value: adjusted; at most 1 - level where the difference is significant among all arms.
        runs: that both arms have.
    """

    difference: PairedDifference
    p_value: float
    runs: int


def corrected_differences(
    records: Sequence[RunRecord], metric: str, baseline: str, arms: Sequence[str], level: float = 0.95
) -> dict[str, CorrectedDifference]:
    """Mean of ``arm - baseline`` over patients, each the mean of the runs that both arms have, for several arms.

    Intervals are percentile bootstraps that draw patients, at the levels of Holm's procedure over all arms
    (:func:`~ckdmed.metrics.holm_levels`), p-values those of the same resamples, adjusted.

    Args:
        records: the runs, with ``patients[metric]``; a pair (seed, split) occurs once per arm.
        metric: name in ``RunRecord.patients``.
        baseline: the arm that the others are compared with.
        arms: the others.
        level: 1 minus the chance of any false difference among them.

    Returns:
        Arm -> difference, in the order of the arms; an arm without a patient that has a score in both is left out.

    Raises:
        ValueError: see :func:`~ckdmed.reports.differences.difference_over_patients`.
    """
    scores = {arm: scores_of_patients(records, metric, arm, baseline) for arm in arms}
    scores = {arm: found for arm, found in scores.items() if found.of_arm}
    if not scores:
        return {}
    raw = {arm: paired_p_value(found.of_arm, found.of_baseline, _RESAMPLES) for arm, found in scores.items()}
    adjusted, levels = holm_p_values(raw), holm_levels(raw, level)
    return {
        arm: CorrectedDifference(
            paired_difference(found.of_arm, found.of_baseline, _RESAMPLES, levels[arm]), adjusted[arm], found.runs
        )
        for arm, found in scores.items()
    }


def corrected_table(
    records: Sequence[RunRecord],
    metric: str,
    baseline: str,
    arms: Mapping[str, str],
    decimals: int = 4,
    level: float = 0.95,
) -> str:
    """A Markdown table of :func:`corrected_differences`, with adjusted p-values.

    Args:
        records, metric, baseline, level: of that function.
        arms: arm -> name to print, in the order to print; the baseline among them is left out.
        decimals: of the differences.

    Raises:
        ValueError: as that function.
    """
    others = [arm for arm in arms if arm != baseline]
    found = corrected_differences(records, metric, baseline, others, level)
    head = ["arm", "runs", "patients", f"{metric}: difference [{level:.0%} interval, Holm]", "p (Holm)", "patients won"]
    lines = []
    for arm in others:
        if arm not in found:
            lines.append([arms[arm], "", "0", "-", "-", "-"])
            continue
        got = found[arm].difference
        lines.append(
            [
                arms[arm],
                str(found[arm].runs),
                str(got.n),
                difference_cell(got, decimals),
                f"{found[arm].p_value:.4f}",
                f"{got.wins} of {got.n}",
            ]
        )
    return markdown_table(head, lines)
