"""One method over values of its temperature, its weights or other settings: one at a time, or two as a grid."""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ckdmed.experiments.distilling import ALONE, Distilling
from ckdmed.experiments.given_settings import check_bundle_settings, parse_settings
from ckdmed.experiments.plan import Arm, Run
from ckdmed.experiments.tasks import TASKS, DistilledTask
from ckdmed.experiments.usual_settings import usual_settings, with_usual_settings
from ckdmed.methods import method_named, methods
from ckdmed.reports import RunRecord, plot_sweep, plot_sweep_grid

__all__ = ["BASE", "EXPERIMENT", "Sweep", "swept_values"]

#: the arm with the method's defaults, or what is set instead
BASE = "defaults"
_MOST_IN_A_GRID = 2


@dataclass
class Sweep(Distilling):
    """The arms are one method with one of its settings changed at a time, or every combination of two, beside the
    student alone and, without a grid, the method with its defaults."""

    name: ClassVar[str] = "sweep"

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        bundles = tuple(task.bundle for task in TASKS.values())
        parser.add_argument(
            "--bundle", choices=bundles, default=bundles[0], help=f"bundle to train (default: {bundles[0]})"
        )
        parser.add_argument("--method", metavar="NAME", help="distillation method")
        parser.add_argument(
            "--over",
            nargs="+",
            action="extend",
            default=[],
            metavar="SETTING=VALUE,VALUE",
            help="method options or other bundle settings, with the values to try, such as "
            "temperature=1,2,4,8 w_logit=0.3,1 or scales=[null,1],[null,1,2,4]; repeatable",
        )
        parser.add_argument(
            "--grid", action="store_true", help="run every combination of two settings, instead of one change at a time"
        )
        cls.add_shared_options(parser)

    @classmethod
    def task_of(cls, args: argparse.Namespace) -> DistilledTask:
        return next(task for task in TASKS.values() if task.bundle == args.bundle)

    @classmethod
    def plan(cls, args: argparse.Namespace) -> list[Run]:
        if not args.method or not args.over:
            raise ValueError("a sweep needs --method NAME and --over SETTING=VALUE,VALUE.")
        task = cls.task_of(args)
        over = swept_values(args.over)
        _check(over, args.method, task, args)
        if args.grid and len(over) != _MOST_IN_A_GRID:
            raise ValueError(
                f"a grid takes {_MOST_IN_A_GRID} settings, got {', '.join(over)}; for a third one, make a grid for "
                "each of its values with --set, or leave out --grid to change one at a time."
            )
        # those of the profile are given to all runs
        usual = usual_settings(over, {"method": args.method, **cls.shared_settings(args)}, task.name, task.bundle)
        if args.grid:
            chosen = [dict(zip(over, values)) for values in itertools.product(*over.values())]
        else:
            chosen = [usual, *({**usual, name: value} for name, values in over.items() for value in values)]
        shared = cls.shared_teacher(args)
        arms = {ALONE: Arm(ALONE, "student alone", {"method": ALONE}, task.bundle)}
        for values in chosen:
            name = "+".join(f"{key}={_text(value)}" for key, value in values.items() if value != usual[key]) or BASE
            arms.setdefault(name, Arm(name, name, {"method": args.method, **values}, task.bundle, shared.name))
        return cls.runs_of(list(arms.values()), {shared.name: shared}, args.seeds, task.name)

    @classmethod
    def completed(cls, records: Sequence[RunRecord]) -> list[RunRecord]:
        # which settings are swept may differ from call to call; the trainings do not
        return with_usual_settings(records, {name: task.bundle for name, task in TASKS.items()})

    @classmethod
    def arm_labels(cls, records: Sequence[RunRecord]) -> dict[str, str]:
        taught = _taught(cls.completed(records))
        swept = _swept(taught)
        settings = {record.arm: record.settings for record in taught}
        ordered = sorted(settings, key=lambda arm: (arm != BASE, arm.count("+"), _place(arm, settings[arm], swept)))
        alone = {ALONE: "student alone"} if any(record.arm == ALONE for record in records) else {}
        named: dict[str, str] = {}
        # a grid need not hold them
        if swept and BASE in settings:
            named[BASE] = f"{BASE} ({', '.join(f'{name} {_text(settings[BASE].get(name))}' for name in swept)})"
        return alone | {arm: named.get(arm, arm.replace("+", ", ")) for arm in ordered}

    @classmethod
    def opening(cls, records: Sequence[RunRecord]) -> list[str]:
        taught = ", ".join(sorted({str(record.settings["method"]) for record in _taught(records)}))
        return [f"Method: {taught}.\n"]

    @classmethod
    def check_records(cls, records: Sequence[RunRecord]) -> None:
        found = sorted({str(record.settings["method"]) for record in _taught(records)})
        if len(found) > 1:
            raise ValueError(f"the records are of the methods {', '.join(found)}; a sweep covers one.")
        super().check_records(cls.completed(records))

    @classmethod
    def picture(cls, records: Sequence[RunRecord], path: Path, labels: Mapping[str, str] | None = None) -> Path | None:
        """Draw the first score of the task: over each swept setting, or as a heat map where two changed together.

        Returns:
            ``path``, or None while fewer than two values have run.
        """
        cls.check_records(records)
        taught = _taught(cls.completed(records))
        swept = _swept(taught)
        if not swept:
            return None
        score = TASKS[records[0].split["task"]].scores[0]
        if names := _of_grid(taught):
            cells: dict[tuple[str, str], list[float]] = {}
            own = [record for record in taught if {*_changed(record.arm)} <= {*names}]
            for record in sorted(own, key=lambda r: [_order(r.settings[name]) for name in names]):
                cell = (_text(record.settings[names[0]]), _text(record.settings[names[1]]))
                cells.setdefault(cell, []).append(_score(record, score))
            return plot_sweep_grid(cells, (names[0], names[1]), score, path)
        lines = {name: _line(name, taught, values, score) for name, values in swept.items()}
        alone = [_score(record, score) for record in records if record.arm == ALONE]
        return plot_sweep(lines, score, path, alone, "student alone")


def swept_values(words: Sequence[str]) -> dict[str, list[Any]]:
    """``SETTING=VALUE,VALUE`` words as setting -> values; the values are JSON where they can be read so, else texts.

    Raises:
        ValueError: a word without ``=``, a setting or a value given twice, no value.
    """
    found: dict[str, list[Any]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not name or not equals or not text:
            raise ValueError(f"'{word}' is not SETTING=VALUE,VALUE to sweep over.")
        try:
            values = json.loads(f"[{text}]")
        except json.JSONDecodeError:
            # words are no JSON, and null or a number may stand among them
            values = [parse_settings([f"{name}={part}"])[name] for part in text.split(",")]
        # 1 and 1.0 are one value
        if name in found or len({_order(value) for value in values}) < len(values):
            raise ValueError(f"--over {word}: give all values of a setting at once, each one once.")
        found[name] = values
    return found


def _check(over: Mapping[str, Sequence[Any]], method: str, task: DistilledTask, args: argparse.Namespace) -> None:
    """Raise ValueError for a method that does not teach, and for settings that cannot be swept, or have such values."""
    options = method_named(method, task.name).options
    if method == ALONE:
        raise ValueError(
            f"--method {ALONE} is the student alone, with which a sweep is compared anyway; name one that has a "
            "teacher."
        )
    others = {name for one in methods(task.name).values() for name in one.options} - set(options)
    if wrong := [name for name in over if name in others]:
        raise ValueError(f"the method '{method}' has no option {', '.join(wrong)}; it has {', '.join(options)}.")
    Sweep.check_settings(over)
    if twice := sorted(set(over) & set(parse_settings(args.set))):
        raise ValueError(f"{', '.join(twice)} is given with --set and with --over.")
    if inner := [name for name in over if "#" in name]:
        raise ValueError(f"{', '.join(inner)} is part of a setting; sweep over settings, and give parts with --set.")
    for name, values in over.items():
        for value in values:
            check_bundle_settings(task.bundle, {name: value}, args.bundles)


def _taught(records: Sequence[RunRecord]) -> list[RunRecord]:
    """The records of students with a teacher."""
    return [record for record in records if record.settings.get("method", ALONE) != ALONE]


def _swept(taught: Sequence[RunRecord]) -> dict[str, list[Any]]:
    """Setting -> its values, of those that differ between arms."""
    found: dict[str, list[Any]] = {}
    for name in dict.fromkeys(name for record in taught for name in record.settings if name != "seed"):
        values = {_text(value): value for record in taught if (value := record.settings.get(name, _text)) is not _text}
        if len(values) > 1:
            found[name] = sorted(values.values(), key=_order)
    return found


def _line(name: str, taught: Sequence[RunRecord], values: Sequence[Any], score: str) -> dict[Any, list[float]]:
    """Value -> scores of the runs in which this setting alone differs from the defaults."""
    own = [record for record in taught if record.arm == BASE or record.arm.startswith(f"{name}=")]
    line = {
        _text(value): (value, [_score(record, score) for record in own if record.settings.get(name) == value])
        for value in values
    }
    # lists can be no keys, and stand under their text
    return {
        value if isinstance(value, (int, float)) and not isinstance(value, bool) else text: scores
        for text, (value, scores) in line.items()
        if scores
    }


def _score(record: RunRecord, score: str) -> float:
    value = record.metrics[score]
    return float("nan") if value is None else value


def _place(arm: str, settings: Mapping[str, Any], swept: Mapping[str, Sequence[Any]]) -> list[Any]:
    """Where an arm stands among the others: by the setting that differs, then by its value."""
    changed = _changed(arm)
    return [(name not in changed, _order(settings.get(name))) for name in swept]


def _changed(arm: str) -> list[str]:
    """The settings that differ from the defaults in an arm."""
    # there may be a sign in a number, as in 1e+20
    return [part.partition("=")[0] for part in arm.split("+") if "=" in part]


def _of_grid(taught: Sequence[RunRecord]) -> tuple[str, ...]:
    """The two settings that changed together in most runs; none where settings changed one at a time alone."""
    changed = [tuple(_changed(record.arm)) for record in taught]
    together = Counter(names for names in changed if len(names) == _MOST_IN_A_GRID)
    return together.most_common(1)[0][0] if together else ()


def _order(value: Any) -> tuple[int, float, str]:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return (0, float(value), "") if number else (1, 0.0, _text(value))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


EXPERIMENT = Sweep
