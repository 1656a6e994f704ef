"""The reports' Table I: four teachers, four students, and the student alone, by the classification bundles."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigWorkflow
from monai.data import DataLoader
from torch import nn

from ckdmed.bundle.errors import root_cause
from ckdmed.bundle.setting_check import check_given
from ckdmed.bundle.typed_command import typed_command
from ckdmed.bundle.workflow import bundle_folder, bundle_workflow
from ckdmed.data.shared_cache import SharedCacheDataset
from ckdmed.engines import load_network
from ckdmed.experiments.recorded_runs import remove_resume_files
from ckdmed.files import remove_leftovers
from ckdmed.json_files import read_json, read_json_lines
from ckdmed.methods import with_options_of
from ckdmed.metrics import apply_temperature, classification_scores, patient_probabilities
from ckdmed.paths import checked_name, output_path
from ckdmed.reports import RunRecord

__all__ = ["PRESETS", "STUDENTS", "TEACHERS", "Table1Settings", "planned_runs", "run_table1"]

logger = logging.getLogger(__name__)

# Both presets train as the bundles do with a dataset_dir; "compact" is what two CPU cores do in under two hours.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "compact": {
        "image_size": 64,
        "vgg_width": 0.25,
        "vit_patch": 8,
        "vit_hidden": 96,
        "vit_layers": 4,
        "vit_heads": 4,
        "epochs": 12,
        "teacher_epochs": 12,
        "learning_rate": 0.002,
        "teacher_learning_rate": 0.001,
        "batch_size": 32,
        "cache_teacher": True,
    },
}

# arm -> what to print
TEACHERS = {
    "teacher_vgg_vit": "teacher VGG19 + ViT (hybrid; also the MSGFF teacher)",
    "teacher_vgg_vgg": "teacher VGG19 + VGG19",
    "teacher_vit_vit": "teacher ViT + ViT",
}
STUDENTS = {
    "student_vgg_vit": "student of VGG19 + ViT",
    "student_vgg_vgg": "student of VGG19 + VGG19",
    "student_vit_vit": "student of ViT + ViT",
    "student_msgff": "student of VGG19 + ViT with MSGFF",
    "student_alone": "student alone",
}
_SETTINGS_OF_TEACHER = ("epochs", "learning_rate")


@dataclass(frozen=True)
class Table1Settings:
    """What Table I is made of.

    Attributes:
        output_dir: for ``records``, ``runs`` and the table.
        dataset_dir: Figshare slices; None for phantoms, at the bundles' own small sizes.
        bundles: folder that holds ``cls_teacher`` and ``cls_kd``; by default see ``bundle_folder``.
        preset: of `PRESETS`.
        fold_source: "group", "official", or "slices" (see :func:`~ckdmed.bundle.figshare_classes`).
        folds: which of the five.
        seeds: of the students; the first one is the teachers'.
        arms: of `TEACHERS` and `STUDENTS`; a student brings its teacher along.
        settings: further settings of the bundle ``cls_kd``, in front of the preset's.
    """

    output_dir: Path
    dataset_dir: str | None = None
    bundles: Path | None = None
    preset: str = "compact"
    fold_source: str = "group"
    folds: Sequence[int] = (0,)
    seeds: Sequence[int] = (0, 1, 2)
    arms: Sequence[str] = (*TEACHERS, *STUDENTS)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {self.preset!r}.")
        unknown = sorted(set(self.arms) - {*TEACHERS, *STUDENTS})
        if unknown or not self.arms:
            raise ValueError(f"arms must be among {', '.join([*TEACHERS, *STUDENTS])}, got {unknown or 'none'}.")
        if not self.folds or not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"folds {list(self.folds)} and seeds {list(self.seeds)} must each be given once or more.")
        folders = {name: bundle_folder(name, self.bundles) for name in ("cls_teacher", "cls_kd")}
        # before the first training, not after it
        check_given(read_json(folders["cls_kd"] / "train.json"), self.settings)


@dataclass(frozen=True)
class _Run:
    """One training: an arm on a fold with a seed."""

    arm: str
    fold: int
    seed: int
    fold_source: str

    @property
    def name(self) -> str:
        return f"{self.arm}-{self.fold_source}{self.fold}-seed{self.seed}"

    @property
    def teacher(self) -> str | None:
        """The arm of the student's teacher."""
        if self.arm in TEACHERS or self.arm == "student_alone":
            return None
        return "teacher_vgg_vit" if self.arm == "student_msgff" else self.arm.replace("student", "teacher")


def planned_runs(settings: Table1Settings) -> list[_Run]:
    """The trainings in the order in which they run: a fold's teachers before its students."""
    runs = []
    for fold in settings.folds:
        students = [
            _Run(arm, fold, seed, settings.fold_source)
            for seed in settings.seeds
            for arm in STUDENTS
            if arm in settings.arms
        ]
        needed = {run.teacher for run in students} | set(settings.arms)
        runs += [_Run(arm, fold, settings.seeds[0], settings.fold_source) for arm in TEACHERS if arm in needed]
        runs += students
    return runs


def run_table1(settings: Table1Settings) -> list[RunRecord]:
    """Do the runs that have no record yet; one that was broken off is resumed.

    Every run leaves ``records/<name>.json`` and its weights, history and curves in ``runs/<name>``. A run's numbers
    are those of the weights that validated best, on the section's slices as they are (no augmentation).

    Raises:
        ValueError: a record of other settings stands in the output folder.
    """
    records = []
    remove_leftovers(settings.output_dir)
    runs = planned_runs(settings)
    for number, run in enumerate(runs, start=1):
        path = output_path(settings.output_dir, f"records/{checked_name(run.name)}.json", make_parents=False)
        overrides = _overrides(settings, run)
        if path.is_file():
            record = RunRecord.read(path)
            if record.settings.get("overrides") != json.loads(json.dumps(overrides)):
                raise ValueError(f"{path} is of a run with other settings; give another output folder, or delete it.")
            logger.info(f"run {number} of {len(runs)}: {run.name} is done")
        else:
            logger.info(f"run {number} of {len(runs)}: {run.name}")
            record = _do(settings, run, overrides)
            record.write(path)
        # a run that was killed after its record has some too
        remove_resume_files(settings.output_dir / "runs" / run.name)
        records.append(record)
    return records


def _overrides(settings: Table1Settings, run: _Run) -> dict[str, Any]:
    """The settings of the bundle for a run, without the paths."""
    given = {**(PRESETS[settings.preset] if settings.dataset_dir else {}), **settings.settings}
    values: dict[str, Any] = {}
    if run.arm in TEACHERS:
        # what is said of the student (its network among it) is nothing to the teacher's bundle
        config = read_json(bundle_folder("cls_teacher", settings.bundles) / "train.json")
        known = set(config) - {"network_def", *_SETTINGS_OF_TEACHER}
        values = {k: v for k, v in given.items() if k.split("#")[0] in known}
        values |= {name: given[f"teacher_{name}"] for name in _SETTINGS_OF_TEACHER if f"teacher_{name}" in given}
        values["teacher_kind"] = run.arm.removeprefix("teacher_")
    else:
        # the folds' teachers are trained apart, so that all students of a kind have the same one
        values = {k: v for k, v in given.items() if k not in ("teacher_epochs", "teacher_learning_rate")}
        values["teacher_kind"] = (run.teacher or "teacher_vgg_vit").removeprefix("teacher_")
        if run.teacher is None:
            values = with_options_of("supervised", "classification", values) | {"method": "supervised"}
        elif run.arm != "student_msgff":
            values["beta"] = 0.0
    return values | {"fold": run.fold, "fold_source": run.fold_source, "seed": run.seed}


def _do(settings: Table1Settings, run: _Run, overrides: Mapping[str, Any]) -> RunRecord:
    bundle = "cls_teacher" if run.arm in TEACHERS else "cls_kd"
    folder = output_path(settings.output_dir, f"runs/{checked_name(run.name)}", make_parents=False)
    paths: dict[str, Any] = {"output_dir": str(folder), "dataset_dir": settings.dataset_dir, "resume": True}
    if settings.dataset_dir is None:
        phantoms = settings.output_dir / "phantoms"
        paths["sections#phantom_dir"] = str(phantoms)
    if run.teacher is not None:
        teacher = _Run(run.teacher, run.fold, settings.seeds[0], run.fold_source).name
        paths["teacher_checkpoint"] = str(settings.output_dir / "runs" / teacher / "models" / "model.pt")
    shared = "ckdmed.data.shared_cache.SharedCacheDataset"
    datasets = {"train#dataset#_target_": shared, "validate#dataset#_target_": shared}
    workflow = bundle_workflow(bundle_folder(bundle, settings.bundles), {**overrides, **paths, **datasets})
    started = time.perf_counter()
    try:
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    except Exception as error:
        # MONAI says "Failed to evaluate ..." of whatever went wrong
        raise RuntimeError(f"{run.name}: {root_cause(error)}") from error
    metrics = _measure(workflow, folder)
    history = read_json_lines(folder / "metrics.jsonl")
    trained = sum(row["seconds"] for row in history)
    sections = workflow.parser.get_parsed_content("sections")
    return RunRecord(
        name=run.name,
        arm=run.arm,
        command=typed_command(),
        seed=run.seed,
        split={"name": run.fold_source, "fold": run.fold},
        metrics=metrics,
        data_sha256=_fingerprint(sections) if settings.dataset_dir else "",
        settings={"preset": settings.preset if settings.dataset_dir else "phantoms", "overrides": dict(overrides)},
        seconds=round(max(trained, time.perf_counter() - started), 1),
    )


def _fingerprint(sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """SHA-256 over what the slices are and where each of them stands."""
    rows = [
        [name, str(item["id"]), int(item["label"]), str(item["patient_group"])]
        for name, items in sorted(sections.items())
        for item in items
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _measure(workflow: ConfigWorkflow, folder: Path) -> dict[str, float | None]:
    """Scores of the best weights on every section."""
    get = workflow.parser.get_parsed_content
    device = torch.device(get("device"))
    network = load_network(get("network_def").to(device), str(folder / "models" / "model.pt"), device).eval()
    metrics: dict[str, float | None] = {}
    for section, short in (("train", "train"), ("validation", "val"), ("test", "test")):
        items = get("sections")[section]
        data = SharedCacheDataset(items, get("validate#preprocessing"), num_workers=2)
        logits = _logits(network, data, int(get("batch_size")), device)
        labels = np.array([item["label"] for item in items])
        probabilities = apply_temperature(logits, 1.0)
        slices = classification_scores(probabilities, labels)
        metrics[f"{short}_loss"] = slices["nll"]
        metrics[f"{short}_accuracy"] = slices["accuracy"]
        if section == "train":
            continue
        means, truth, _ = patient_probabilities(probabilities, labels, [item["patient_group"] for item in items])
        metrics[f"{short}_balanced_accuracy"] = slices["balanced_accuracy"]
        metrics[f"{short}_macro_auc"] = slices["macro_auc"]
        metrics[f"{short}_ece"] = slices["ece"]
        metrics[f"{short}_patient_accuracy"] = classification_scores(means, truth)["accuracy"]
    return {name: None if value is None or not np.isfinite(value) else float(value) for name, value in metrics.items()}


@torch.no_grad()
def _logits(network: nn.Module, data: SharedCacheDataset, batch_size: int, device: torch.device) -> np.ndarray:
    loader = DataLoader(data, batch_size=batch_size, shuffle=False)
    return torch.cat([network(batch["image"].to(device)).float().cpu() for batch in loader]).numpy()
