"""The parts of a page about one training: what it was, its curves, teacher against student, what its weights score."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.counted import counted
from ckdmed.reports.files import plain
from ckdmed.runtime import is_deployed

from .blocks import Facts, Line, LineChart, Picture, Section, Table, Text
from .evaluation_part import evaluation_sections
from .resource_part import resource_blocks, resources_beside
from .training_run import TrainingRun, best_of, stored_values
from .words import NONE, duration, file_size, large_number, number, shown_value

__all__ = ["PLACES", "best_name", "metric_line", "metric_name", "training_sections"]

#: settings that say where things lie or are computed, not what is trained
PLACES = frozenset(
    {"bundle_root", "output_dir", "ckpt_dir", "cache_dir", "dataset_dir", "device", "rank", "distributed", "resume"}
)
#: settings that a reader asks for first
_FIRST = (
    "method",
    "student_kind",
    "student_base",
    "student_backbone",
    "student_pretrained",
    "student_encoder_pretrained",
    "teacher_kind",
    "teacher_base",
    "teacher_checkpoint",
    "profile",
    "dataset_dir",
    "label_fraction",
    "modalities",
    "image_size",
    "epochs",
    "teacher_epochs",
    "batch_size",
    "learning_rate",
    "augmentation",
    "seed",
)
_PICTURES = {"predictions.png": "ground truth and predictions outlined on images of the validation set"}


def training_sections(run: TrainingRun, stem: str) -> list[Section]:
    """All parts about a training.

    Args:
        run: its records.
        stem: begins the names of its pictures; unique in a report.

    Raises:
        ValueError: a checkpoint or a table of its folder is damaged.
    """
    parts = [Section("Training", [_facts(run)])]
    for count, evaluation in enumerate(run.evaluations, 1):
        parts += evaluation_sections(evaluation, f"{stem}-evaluation-{count}")
    if not run.evaluations:
        parts.append(Section("Results", [Text("This run's folder holds no evaluation; run evaluate.json.", "note")]))
    compared = _teacher_against_student(run)
    if compared:
        parts.append(Section("Teacher against student", compared))
    parts.append(Section("Curves", _curves(run, stem)))
    if pictures := _pictures(run, stem):
        parts.append(Section("Slices of the validation set", pictures))
    parts.append(Section("Settings", _settings(run)))
    return parts


def metric_name(metric: str | None) -> str:
    """A validation metric's name as a reader knows it."""
    if metric is None:
        return "validation"
    words = metric.removeprefix("val_").replace("_", " ").replace("mean dice", "mean Dice")
    return f"validation: {words}" if metric.startswith("val_") else words


def best_name(run: TrainingRun) -> str:
    """What the score of the weights that a run kept is called."""
    if run.keeps_last:
        return f"last {metric_name(run.key_metric)}, on patients that it learned from"
    return f"best {metric_name(run.key_metric)}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _facts(run: TrainingRun) -> Facts:
    items = []
    if run.best is not None:
        value, epoch = run.best
        items.append((best_name(run), number(value), f"epoch {epoch} of {len(run.history)}"))
    items.append(("epochs", str(len(run.history)), ""))
    if seconds := sum(float(row.get("seconds") or 0) for row in run.history):
        items.append(("time of training and validation", duration(seconds), _teacher_time(run)))
    for what in ("method", "seed"):
        if what in run.settings:
            items.append((what, shown_value(run.settings[what]), ""))
    for section, record in (run.sections.get("sections") or {}).items():
        patients = record.get("patients") if isinstance(record, Mapping) else None
        if isinstance(patients, Mapping):
            items.append((f"patients, {section}", str(len(patients)), _items(record)))
    return Facts(items)


def _items(record: Mapping[str, Any]) -> str:
    found = record.get("items")
    return counted(len(found), "item") if isinstance(found, (list, Mapping)) and found else ""


def _teacher_time(run: TrainingRun) -> str:
    seconds = sum(float(row.get("seconds") or 0) for rows in run.teachers.values() for row in rows)
    return f"and {duration(seconds)} for its teacher" if seconds else ""


def _pictures(run: TrainingRun, stem: str) -> list[Picture]:
    return [
        Picture((run.folder / name).read_bytes(), f"{stem}-{name}", f"Picture: {what}", what.capitalize() + ".")
        for name, what in _PICTURES.items()
        if (run.folder / name).is_file()
    ]


def _curves(run: TrainingRun, stem: str) -> list[Any]:
    if not run.history:
        return [Text("No epoch of this run has ended.", "note")]
    drawn = run.folder / "curves.png"
    picture = Picture(drawn.read_bytes(), f"{stem}-curves.png", "Curves of the run") if drawn.is_file() else None
    rows = list(run.history)
    losses = [Line("loss", _points(rows, lambda row: row.get("loss")))]
    losses += [
        Line(name, _points(rows, lambda row, name=name: (row.get("terms") or {}).get(name)))  # type: ignore[misc]
        for name in dict.fromkeys(name for row in rows for name in row.get("terms") or {})
    ]
    blocks: list[Any] = []
    if any(line.points for line in losses):
        blocks.append(LineChart("Loss and its terms", "epoch", "mean of the epoch", losses, picture=picture))
    metric = run.key_metric
    if metric is not None:
        teachers = [
            metric_line(f"{name} (its own epochs)", history, metric, dashed=True)
            for name, history in run.teachers.items()
        ]
        best = run.best
        mark = (
            None
            if best is None
            else (float(best[1]), best[0], f"{'last' if run.keeps_last else 'best'}, {best[0]:.4f} in epoch {best[1]}")
        )
        lines = [metric_line("student" if teachers else "network", rows, metric), *teachers]
        blocks.append(LineChart(_upper(metric_name(metric)), "epoch", metric_name(metric), lines, mark))
        others = dict.fromkeys(str(name) for row in rows for name in row.get("metrics") or {} if name != metric)
        for name in others:
            line = metric_line(name, rows, name)
            if line.points:
                blocks.append(LineChart(_upper(metric_name(name)), "epoch", metric_name(name), [line]))
    rates = _points(rows, lambda row: row.get("learning_rate"))
    if rates:
        blocks.append(LineChart("Learning rate", "epoch", "at the end of the epoch", [Line("learning rate", rates)]))
    return blocks


def metric_line(label: str, rows: Sequence[Mapping[str, Any]], metric: str, dashed: bool = False) -> Line:
    """A validation metric over the epochs of a history."""
    return Line(label, _points(rows, lambda row: (row.get("metrics") or {}).get(metric)), dashed)


def _points(rows: Sequence[Mapping[str, Any]], value_of: Any) -> list[tuple[float, float]]:
    found: list[tuple[Any, Any]] = [(row.get("epoch"), value_of(row)) for row in rows]
    # an epoch twice, as after a resume: the later row counts
    points = {float(at): float(value) for at, value in found if _is_number(at) and _is_number(value)}
    return sorted(points.items())


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _teacher_against_student(run: TrainingRun) -> list[Any]:
    """Size and score of the student and of what taught it; the resource figure where one was made."""
    teachers = _teacher_files(run)
    blocks: list[Any] = []
    if teachers:
        rows = [["student", *_weights(run.weights), number(run.best[0] if run.best else None)]]
        for name, (file, score) in teachers.items():
            rows.append([name, *_weights(file), score])
        # a teacher has other epochs, of which the best were kept
        score = metric_name(run.key_metric) if run.keeps_last else best_name(run)
        head = ["", "numbers in the checkpoint", "file", score]
        blocks.append(Table(head, rows, "Sizes and scores"))
    figures = resources_beside(run.folder)
    for folder in figures:
        blocks += resource_blocks(folder)
    if teachers and not figures:
        words = "This run's folder holds no figures of resources; ckdmed deploy measures them."
        blocks.append(Text(words, "note"))
    return blocks


def _teacher_files(run: TrainingRun) -> dict[str, tuple[Path, str]]:
    found: dict[str, tuple[Path, str]] = {}
    for name, history in run.teachers.items():
        best = best_of(history, run.key_metric)
        files = sorted(file for file in (run.folder / name).glob("*.pt") if "resume" not in file.name)
        for file in files[:1]:
            found[name] = (file, number(best[0]) if best else NONE)
    return found | {name: (file, NONE) for name, file in _given_teachers(run.settings).items()}


def _given_teachers(settings: Mapping[str, Any]) -> dict[str, Path]:
    """Teachers that a run was given; they may have been moved or replaced since."""
    given = settings.get("teacher_checkpoint") or settings.get("teacher_checkpoints")
    if isinstance(given, Mapping):
        return {f"teacher {name} ({Path(str(file)).name})": Path(str(file)) for name, file in given.items()}
    places = [Path(str(file)) for file in (given if isinstance(given, list) else [given] if given else [])]
    found = {f"teacher ({place.name})": place for place in places}
    for name, place in list(found.items()):
        if place.suffix == ".json" and place.is_file():
            # imports the trainers
            from ckdmed.engines.teachers.folds import TeacherFolds

            del found[name]
            files = TeacherFolds.read(place).checkpoints
            found |= {f"teacher of fold {fold} ({file.name})": file for fold, file in enumerate(files)}
    return found


def _weights(file: Path) -> list[str]:
    if not file.is_file():
        return [NONE, NONE]
    # the weights of a deployed file stand in its graph
    values = None if is_deployed(file) else stored_values(file)
    return [NONE if values is None else large_number(values), file_size(file.stat().st_size)]


def _settings(run: TrainingRun) -> list[Any]:
    settings = plain(run.settings)
    first = [name for name in _FIRST if name in settings]
    rest = [name for name in settings if name not in first]
    blocks: list[Any] = [
        Table(["setting", "value"], [[name, shown_value(settings[name])] for name in first], prose=True),
        Table(
            ["setting", "value"],
            [[name, shown_value(settings[name])] for name in rest],
            "All other settings",
            folded=True,
            prose=True,
        ),
    ]
    if run.command:
        blocks.append(Table(["", ""], [["command", shlex.join(run.command)]], "Command", folded=True, prose=True))
    if run.versions:
        rows = [[name, version] for name, version in run.versions.items()]
        blocks.append(Table(["package", "version"], rows, "Versions", folded=True, prose=True))
    return blocks
