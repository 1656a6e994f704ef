"""The table and the picture of robustness records."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from ckdmed.counted import counted
from ckdmed.metrics import Interval, bootstrap_interval, relative_loss
from ckdmed.reports import RunRecord, markdown_table, plot_severities
from ckdmed.robustness.points import CLEAN, OF_POINT, OF_SECTION, Point
from ckdmed.transforms.corruption import CORRUPTIONS

__all__ = ["check_robustness_records", "plot_robustness", "robustness_tables"]

_ALL = "all of them"


def robustness_tables(records: Sequence[RunRecord]) -> str:
    """Markdown: for each section what each kind of corruption takes, then each network point by point.

    Raises:
        ValueError: no records; some of other commands; of several checkpoints, settings or data.
    """
    parts = []
    for section, networks in _by_section(records).items():
        first = next(iter(networks.values()))[0]
        images = counted(first.settings["images"], "image")
        patients = counted(len(_patients(first)), "patient")
        parts.append(
            f"### {section.capitalize()} section, {images} of {patients}\n\n"
            f"Share of the score on clean images ({_score_name(first)}) that is lost, mean over severities, with its "
            "95% interval over patients:\n"
        )
        parts.append(_losses(networks))
        for name, own in networks.items():
            parts.append(f"{name.capitalize()} (`{own[0].settings['bundle']}`), point by point:\n")
            parts.append(_points(own))
    return "\n".join(parts)


def check_robustness_records(records: Sequence[RunRecord]) -> None:
    """Raise ValueError where a record is that of another command."""
    if foreign := [r.name for r in records if not {"network", "corruption", "images_sha256"} <= set(r.settings)]:
        raise ValueError(f"{foreign[0]} is not a record of `ckdmed robustness`.")


def plot_robustness(records: Sequence[RunRecord], path: str | os.PathLike[str]) -> Path | None:
    """Draw the score over the severities of each kind, a line for each network; of the test section where it was
    looked at.

    Returns:
        ``path``, or None while no corruption has been scored.

    Raises:
        ValueError: as :func:`robustness_tables`.
    """
    networks = next(iter(_by_section(records).values()))
    panels: dict[str, dict[str, dict[int, tuple[float, float, float]]]] = {}
    clean: dict[str, tuple[float, float, float]] = {}
    values: dict[str, dict[int, float]] = {}
    score = ""
    for name, own in networks.items():
        for record in own:
            point, estimate = _point(record), _limits(_interval(record))
            score = _score_name(record)
            if point.corruption is None:
                clean[name] = estimate
            else:
                panels.setdefault(point.kind, {}).setdefault(name, {})[point.severity] = estimate
                values.setdefault(point.kind, {})[point.severity] = float(record.settings["severity_value"])
    if not panels:
        return None
    titles = {kind: kind.replace("_", " ") for kind in CORRUPTIONS if kind in panels}
    return plot_severities(
        {title: panels[kind] for kind, title in titles.items()},
        {title: values[kind] for kind, title in titles.items()},
        clean,
        score,
        path,
    )


def _by_section(records: Sequence[RunRecord]) -> dict[str, dict[str, list[RunRecord]]]:
    """Section, the test section first -> network -> its records, the clean one first, then by kind and severity."""
    check_robustness_records(records)
    if not records:
        raise ValueError("there are no records of `ckdmed robustness`.")
    found: dict[str, dict[str, list[RunRecord]]] = {}
    for record in sorted(records, key=lambda r: (r.split["section"] != "test", r.split["section"], _order(r))):
        found.setdefault(record.split["section"], {}).setdefault(record.settings["network"], []).append(record)
    if len({record.data_sha256 for record in records}) > 1:
        raise ValueError("the records are of several datalists; make a table for one.")
    for section, networks in found.items():
        everything = [record for own in networks.values() for record in own]
        if len({(record.settings["images_sha256"], record.data_sha256) for record in everything}) > 1:
            raise ValueError(f"the records of the {section} section are not of the same images.")
        for name, own in networks.items():
            _check_alike(name, own, OF_POINT)
    for name in dict.fromkeys(name for networks in found.values() for name in networks):
        _check_alike(name, [r for networks in found.values() for r in networks.get(name, ())], OF_SECTION)
    return found


def _check_alike(name: str, own: Sequence[RunRecord], may_differ: Collection[str]) -> None:
    """Raise ValueError where records of a network are of several checkpoints or were made with several settings."""
    if len({record.settings["checkpoint_sha256"] for record in own}) > 1:
        raise ValueError(f"the records of the {name} are of several checkpoints; make a table of one.")
    if differ := _differing(own, may_differ):
        raise ValueError(
            f"the records of the {name} were made with several settings ({', '.join(differ)}); make a table of "
            "those that were made alike."
        )


def _differing(own: Sequence[RunRecord], may_differ: Collection[str]) -> list[str]:
    """Each setting with its values, of which a network's records have several."""
    names = dict.fromkeys(name for record in own for name in record.settings if name not in may_differ)
    values = {name: list(dict.fromkeys(repr(record.settings.get(name)) for record in own)) for name in names}
    return [f"{name} {' and '.join(found)}" for name, found in values.items() if len(found) > 1]


def _order(record: RunRecord) -> tuple[bool, int, int]:
    point, kinds = _point(record), list(CORRUPTIONS)
    place = kinds.index(point.kind) if point.kind in kinds else -1
    # a student before its teacher
    return record.settings["network"] != "student", place, point.severity


def _losses(networks: Mapping[str, Sequence[RunRecord]]) -> str:
    """A line for each kind, a column for each network; networks in one line over the same points."""
    kinds = [kind for kind in CORRUPTIONS if any(_point(r).kind == kind for own in networks.values() for r in own)]
    lines = []
    for kind in [*kinds, *([_ALL] if len(kinds) > 1 else [])]:
        of_kind = {
            name: {_point(r).name: r for r in own if _point(r).kind in ([kind] if kind != _ALL else kinds)}
            for name, own in networks.items()
        }
        scored = [set(points) for points in of_kind.values() if points]
        shared = set.intersection(*scored) if scored else set()
        cells = []
        for name, own in networks.items():
            clean, others = _clean(own), [r for point, r in of_kind[name].items() if point in shared]
            cells.append("-" if clean is None or not others else _percent(_mean_loss(others, clean)))
        lines.append([kind.replace("_", " "), *cells])
    return markdown_table(["corruption", *networks], lines) + _left_out(networks)


def _left_out(networks: Mapping[str, Sequence[RunRecord]]) -> str:
    """A line on the points that not all networks were scored on, or ""."""
    points = [dict.fromkeys(_point(r).name for r in own if _point(r).corruption) for own in networks.values()]
    odd = [name for name in dict.fromkeys(p for own in points for p in own) if not all(name in own for own in points)]
    if not odd:
        return ""
    return f"\nNot all networks were scored on {', '.join(odd)}: lines with both networks leave these out.\n"


def _points(own: Sequence[RunRecord]) -> str:
    """A line for each point of a network."""
    clean = _clean(own)
    first = _score_name(own[0])
    others = [name for name in own[0].metrics if name != first]
    lines = []
    for record in own:
        point = _point(record)
        lost = "" if point.corruption is None else "-" if clean is None else _percent(_mean_loss([record], clean))
        severity = "" if point.corruption is None else f"{point.severity} ({record.settings['severity_value']:g})"
        cells = [point.kind.replace("_", " "), severity, _scored(_interval(record)), lost]
        lines.append([*cells, *(_number(record.metrics.get(name)) for name in others)])
    return markdown_table(["corruption", "severity", f"{first} [95% interval]", "lost [95% interval]", *others], lines)


def _clean(own: Sequence[RunRecord]) -> RunRecord | None:
    return next((record for record in own if _point(record).kind == CLEAN), None)


def _mean_loss(records: Sequence[RunRecord], clean: RunRecord) -> Interval:
    """Of the mean over the records, each patient's own."""
    scores = [_patients(record) for record in records]
    if any(set(one) != set(scores[0]) for one in scores):
        raise ValueError(f"{records[0].name} and {records[1].name} are not of the same patients.")
    means = {patient: float(np.mean([one[patient] for one in scores])) for patient in scores[0]}
    return relative_loss(means, _patients(clean))


def _point(record: RunRecord) -> Point:
    return Point(record.settings["corruption"])


def _score_name(record: RunRecord) -> str:
    return next(iter(record.patients))


def _patients(record: RunRecord) -> dict[str, float]:
    scores = record.patients[_score_name(record)]
    return {patient: math.nan if score is None else float(score) for patient, score in scores.items()}


def _interval(record: RunRecord) -> Interval:
    return bootstrap_interval(_patients(record))


def _limits(interval: Interval) -> tuple[float, float, float]:
    return interval.estimate, interval.low, interval.high


def _scored(interval: Interval) -> str:
    limits = "" if math.isnan(interval.low) else f" [{interval.low:.4f}, {interval.high:.4f}]"
    return f"{interval.estimate:.4f}{limits}"


def _percent(interval: Interval) -> str:
    if math.isnan(interval.estimate):
        return "-"
    # no -0.0
    estimate, low, high = (round(100 * value, 1) + 0.0 for value in _limits(interval))
    return f"{estimate:.1f} %" + ("" if math.isnan(low) else f" [{low:.1f}, {high:.1f}]")


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"
