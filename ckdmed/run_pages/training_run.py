"""What a training left in its output folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ckdmed.bundle.renamed_settings import with_new_names
from ckdmed.bundle.run_folder import weights_folder
from ckdmed.file_hash import sha256_of
from ckdmed.json_files import read_json
from ckdmed.networks.checkpoint import read_checkpoint
from ckdmed.reports import read_history

from .words import shown_value

__all__ = ["Evaluation", "TrainingRun", "data_name", "read_evaluation", "read_training_run", "stored_values"]

logger = logging.getLogger(__name__)

SETTINGS, HISTORY, SUMMARY = "settings.json", "metrics.jsonl", "summary.json"
# what an evaluation is asked for beside the section, with what it has that is asked for nothing
_ASKED: Mapping[str, Any] = {"corruption": None, "tta": False, "threshold": 0.5, "peer_checkpoint": None}
# what it takes from the record of the training, unless it is asked for something else
_FOLLOWS = ("image_size", "scaling", "clahe")


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        folder: of its files.
        name: how a reader tells it from others of its run.
        summary: its ``summary.json``.
        conditions: in words, in what it differs from an evaluation of the run's weights on its data that was asked for
            nothing else; evaluations of different conditions are not of one kind.
        of_others: whether it scored other weights than those that the run has now.
    """

    folder: Path
    name: str
    summary: Mapping[str, Any]
    conditions: str = ""
    of_others: bool = False

    @property
    def section(self) -> str:
        """The section that was scored, "" where the summary does not tell."""
        return str((self.summary.get("settings") or {}).get("section") or "")

    @property
    def is_classification(self) -> bool:
        """Whether classes of slices were scored, not masks."""
        return "slices" in self.summary


@dataclass(frozen=True)
class TrainingRun:
    """A training, by its files.

    Attributes:
        folder: of its files.
        weights: its own, whether they are there or not.
        settings: that it ran with, by the names of today, with all options of its method.
        command: the words of the command line.
        versions: package -> version.
        history: a row for each epoch; none where no epoch ended.
        teachers: name -> rows of a teacher that was trained along the way.
        sections: the record of the patients of each section, or {}.
        evaluations: of its weights.
    """

    folder: Path
    weights: Path
    settings: Mapping[str, Any]
    command: Sequence[str]
    versions: Mapping[str, str]
    history: Sequence[Mapping[str, Any]]
    teachers: Mapping[str, Sequence[Mapping[str, Any]]]
    sections: Mapping[str, Any]
    evaluations: Sequence[Evaluation]

    @property
    def bundle(self) -> str:
        """Name of the bundle, "" where the settings do not tell."""
        return Path(str(self.settings.get("bundle_root") or "")).name

    @property
    def key_metric(self) -> str | None:
        """The validation metric by which the weights were chosen, by the first that the history holds."""
        return next((str(name) for row in self.history for name in row.get("metrics") or ()), None)

    @property
    def keeps_last(self) -> bool:
        """Whether the newest weights were kept, since the network learned from the patients that it is validated on."""
        return bool(self.settings.get("train_on_validation"))

    @property
    def best(self) -> tuple[float, int] | None:
        """The key metric of the weights that were kept, and its epoch: the largest, the earliest of several, or the
        last one."""
        history = self.history
        if self.keeps_last:
            validated = [row for row in history if self.key_metric is not None and _number(row, self.key_metric)]
            history = validated[-1:]
        return best_of(history, self.key_metric)


def best_of(history: Sequence[Mapping[str, Any]], metric: str | None) -> tuple[float, int] | None:
    """The largest value of a validation metric and its epoch, the earliest of several; None where there is none."""
    if metric is None:
        return None
    found = [(row["metrics"][metric], -int(row["epoch"])) for row in history if _number(row, metric)]
    value, epoch = max(found, default=(0.0, 0))
    return (float(value), -epoch) if found else None


def _number(row: Mapping[str, Any], metric: str) -> bool:
    value = (row.get("metrics") or {}).get(metric)
    # NaN is not equal to itself
    return isinstance(value, (int, float)) and value == value


def read_training_run(folder: Path) -> TrainingRun:
    """Read the records of a training.

    Raises:
        ValueError: a record is damaged; names the file.
    """
    record = _object(folder / SETTINGS)
    # of runs of earlier versions, options of the method that were not given are unknown
    settings, options = record.get("settings"), record.get("method_options", {})
    if not isinstance(options, dict):
        raise ValueError(f"{folder / SETTINGS}: is damaged (method_options are not an object).")
    if not isinstance(settings, dict):
        raise ValueError(f"{folder / SETTINGS}: holds no settings of a run; give the output folder of a training.")
    history = read_history(folder / HISTORY) if (folder / HISTORY).is_file() else []
    teachers = {
        path.parent.relative_to(folder).as_posix(): read_history(path)
        for place in ("teacher", "teachers")
        for path in sorted((folder / place).rglob("*.jsonl"))
        if not path.name.startswith(".")
    }
    sections = folder / "sections.json"
    weights = weights_folder(folder, settings) / "model.pt"
    sha256 = sha256_of(weights) if weights.is_file() else None
    return TrainingRun(
        folder=folder,
        weights=weights,
        settings={**with_new_names(settings), **options},
        command=[str(word) for word in record.get("command") or ()],
        versions={str(name): str(value) for name, value in (record.get("versions") or {}).items()},
        history=history,
        teachers=teachers,
        sections=_object(sections) if sections.is_file() else {},
        evaluations=[
            _of_run(read_evaluation(path.parent, folder), with_new_names(settings), sha256)
            for path in sorted(folder.glob(f"*/{SUMMARY}"))
            if _visible(path)
        ],
    )


def read_evaluation(folder: Path, run: Path | None = None) -> Evaluation:
    """Read the summary of an evaluation.

    Args:
        folder: of its files.
        run: of the training, by which it is named.

    Raises:
        ValueError: the summary is damaged, or none of an evaluation.
    """
    summary = _object(folder / SUMMARY)
    if "overall" not in summary and "slices" not in summary:
        raise ValueError(f"{folder / SUMMARY}: is not a summary of an evaluation (neither 'overall' nor 'slices').")
    name = folder.name if run is None else folder.relative_to(run).as_posix()
    asked = [f"{key} {shown_value(own)}" for key, own in _settings_of(summary).items() if _ASKED.get(key, own) != own]
    return Evaluation(folder, name, summary, ", ".join(asked))


def _settings_of(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of the bundle that an evaluation ran with."""
    found = (summary.get("settings") or {}).get("settings")
    return found if isinstance(found, Mapping) else {}


def _of_run(evaluation: Evaluation, settings: Mapping[str, Any], sha256: str | None) -> Evaluation:
    """An evaluation in a run's folder, with what sets it apart from the run."""
    own = with_new_names(dict(_settings_of(evaluation.summary)))
    parts = [evaluation.conditions] if evaluation.conditions else []
    parts += [
        f"{key} {shown_value(own[key])}"
        for key in _FOLLOWS
        if key in own and key in settings and own[key] != settings[key]
    ]
    if "dataset_dir" in own and data_name(own) != data_name(settings):
        parts.append(f"data {data_name(own)}")
    record = evaluation.summary.get("settings") or {}
    scored = record.get("checkpoint_sha256")
    others = sha256 is not None and isinstance(scored, str) and scored != sha256
    if others:
        parts.append(f"other weights than the run's own ({record.get('checkpoint')})")
    return replace(evaluation, conditions=", ".join(parts), of_others=others)


def data_name(settings: Mapping[str, Any]) -> str:
    """The name of a run's data, which may lie elsewhere on another machine; "phantoms" for none."""
    place = settings.get("dataset_dir")
    return Path(str(place)).name if place else "phantoms"


def stored_values(checkpoint: Path) -> int | None:
    """How many numbers a checkpoint holds, parameters and buffers alike; None where there is no file.

    Raises:
        ValueError: the file is no checkpoint, see `ckdmed.networks.checkpoint.read_checkpoint`.
    """
    if not checkpoint.is_file():
        return None
    return _count(read_checkpoint(checkpoint))


def _count(state: Any) -> int:
    if hasattr(state, "numel"):
        return int(state.numel())
    return sum(_count(part) for part in state.values()) if isinstance(state, Mapping) else 0


def _object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds {type(content).__name__}, not an object.")
    return content


def _visible(path: Path) -> bool:
    return not any(part.startswith(".") for part in path.parts[-2:])
