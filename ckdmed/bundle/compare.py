"""A comparison of arms over seeds and label regimes: each run is a bundle's, each result a record."""

from __future__ import annotations

import gc
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ckdmed.bundle.compare_arms import Run
from ckdmed.bundle.workflow import bundle_folder, bundle_settings, bundle_workflow
from ckdmed.data import build_figshare_datalist, read_datalist, sha256_of, write_datalist
from ckdmed.data.datalist import DATALIST_NAME
from ckdmed.data.phantoms import write_figshare_phantoms
from ckdmed.files import save_weights, write_json
from ckdmed.reports import RunRecord

__all__ = ["Comparison", "phantom_data"]

logger = logging.getLogger(__name__)

# what a record's settings are without: places, and what does not change the result
_PLACES = ("dataset_dir", "output_dir", "cache_dir", "teacher_checkpoint", "resume", "cache", "cache_teacher")


def phantom_data(folder: Path, patients: int, size: int, seed: int = 0) -> Path:
    """A folder of phantoms with its datalist, made once."""
    write_figshare_phantoms(folder, n_patients=patients, size=size, seed=seed)
    if not (folder / DATALIST_NAME).is_file():
        datalist, _ = build_figshare_datalist(folder, seed=seed, progress=False)
        write_datalist(datalist, folder / DATALIST_NAME)
    return folder


@dataclass
class Comparison:
    """Runs what is missing of a comparison.

    A run is finished when its record lies in ``records/validation``; a run that was broken off goes on from its last
    epoch through the bundle's own ``resume``. The test section is looked at by :meth:`test` alone.

    Args:
        output_dir: of runs, records, caches and the table.
        dataset_dir: folder with a ``datalist.json``, so that all runs and all later ones share their patients.
        settings: of the bundles, for all runs: see ``ckdmed.bundle.sizes``.
        bundles: folder of the bundles, see ``bundle_folder``.

    Raises:
        ValueError: no datalist, with the command that makes one.
    """

    output_dir: Path
    dataset_dir: Path
    settings: Mapping[str, Any]
    bundles: Path | None = None
    command: Sequence[str] = field(default_factory=lambda: [Path(sys.argv[0]).name, *sys.argv[1:]])

    def __post_init__(self) -> None:
        datalist = self.dataset_dir / DATALIST_NAME
        if not datalist.is_file():
            raise ValueError(
                f"{datalist}: there is no datalist to fix the patients of each section for all runs; make it with "
                f"`ckdmed datalist {self.dataset_dir}`."
            )
        content = read_datalist(datalist)
        self.data_sha256 = sha256_of(datalist)
        self.split = {"name": "datalist by patient group", "datalist_seed": content.get("seed")}

    def record_path(self, run: Run, section: str) -> Path:
        """Where the record of a run on a section lies."""
        return self.output_dir / "records" / section / f"{run.name}.json"

    def folder(self, run: Run) -> Path:
        """Where a run's own files lie."""
        return self.output_dir / "runs" / run.name

    def done(self, run: Run, section: str = "validation") -> bool:
        """Whether the record is there.

        Raises:
            ValueError: it is there, made with other settings or other data.
        """
        path = self.record_path(run, section)
        if not path.is_file():
            return False
        record = RunRecord.read(path)
        planned, kept = self._plan(run), record.settings
        differ = [key for key in planned if key not in _PLACES and kept.get(key) != planned[key]]
        if differ or record.data_sha256 != self.data_sha256:
            what = ", ".join(f"{k} {kept.get(k)!r} then and {planned[k]!r} now" for k in differ) or "another datalist"
            raise ValueError(f"{path} was made with other settings ({what}); use another output folder.")
        return True

    def train(self, run: Run) -> bool:
        """Train, evaluate on the validation section and write the record, unless it is there.

        Returns:
            whether there was something to do.
        """
        if self.done(run):
            logger.info(f"{run.name}: done before")
            return False
        logger.info(f"{run.name}: begins")
        self._execute(run, ("train.json",), {})
        self._record(run, "validation")
        # what a broken-off run would need; a finished one does not
        for path in (self.folder(run) / "models").glob("resume_epoch=*.pt"):
            path.unlink()
        return True

    def test(self, run: Run) -> bool:
        """The look at the test section, once per run.

        Raises:
            ValueError: the run is not finished.
        """
        if not self.done(run):
            raise ValueError(f"{run.name} is not finished; the test section is for finished comparisons.")
        if self.done(run, "test"):
            return False
        self._record(run, "test")
        return True

    def _plan(self, run: Run) -> dict[str, Any]:
        """All settings of a run; those that follow from other runs are kept with it."""
        base = {
            **self.settings,
            "dataset_dir": str(self.dataset_dir),
            "output_dir": str(self.folder(run)),
            "cache": "disk",
            "cache_dir": str(self.output_dir / "cache"),
            "resume": True,
        }
        made = run.settings(base)
        if run.arm.teacher == "trained":
            made["teacher_checkpoint"] = str(self._teacher_of(run))
        elif run.arm.teacher == "random":
            made["teacher_checkpoint"] = str(self.output_dir / "untrained" / f"seed={run.seed}.pt")
        if run.arm.name == "alone_longer":
            made["epochs"] = self._longer(run, made["epochs"])
        return made

    def _teacher_of(self, run: Run) -> Path:
        return self.output_dir / "runs" / f"labelled={run.regime:g}-teacher-seed={run.seed}" / "models" / "model.pt"

    def _longer(self, run: Run, epochs: int) -> int:
        """As many epochs as take the time of the run of "ours"; fixed at the first look, for a resumed run's sake."""
        kept = self.folder(run) / "longer.json"
        if kept.is_file():
            return int(json.loads(kept.read_text(encoding="utf-8"))["epochs"])
        seconds = {}
        for name in ("alone", "ours"):
            record = self.output_dir / "records" / "validation" / f"labelled={run.regime:g}-{name}-seed={run.seed}.json"
            seconds[name] = RunRecord.read(record).seconds or 0.0
        ratio = max(seconds["ours"] / max(seconds["alone"], 1e-9), 1.0)
        write_json(kept, {"epochs": max(round(epochs * ratio), epochs), "seconds": seconds})
        return max(round(epochs * ratio), epochs)

    def _execute(self, run: Run, configs: Sequence[str], overrides: Mapping[str, Any]) -> None:
        settings = {**self._plan(run), **overrides}
        if run.arm.teacher == "random":
            self._write_untrained(run, Path(settings["teacher_checkpoint"]))
        workflow = bundle_workflow(bundle_folder(run.arm.bundle, self.bundles), settings, configs)
        try:
            workflow.initialize()
            workflow.run()
            workflow.finalize()
        finally:
            del workflow
            gc.collect()

    def _write_untrained(self, run: Run, path: Path) -> None:
        if path.is_file():
            return
        workflow = bundle_workflow(bundle_folder("seg_kd", self.bundles), self._plan(run))
        workflow.parser.parse(reset=True)
        with torch.random.fork_rng():
            torch.manual_seed(run.seed)
            save_weights(path, workflow.parser.get_parsed_content("teacher_def").state_dict())

    def _record(self, run: Run, section: str) -> None:
        evaluation = self.folder(run) / f"evaluation_{section}"
        self._execute(run, ("train.json", "evaluate.json"), {"section": section, "evaluation_dir": str(evaluation)})
        summary = json.loads((evaluation / "summary.json").read_text(encoding="utf-8"))
        history = [json.loads(line) for line in (self.folder(run) / "metrics.jsonl").read_text("utf-8").splitlines()]
        plan = self._plan(run)
        RunRecord(
            name=run.name,
            arm=run.arm.name,
            command=list(self.command),
            seed=run.seed,
            split={**self.split, "labelled_fraction": run.regime, "section": section},
            metrics=_metrics(summary),
            data_sha256=self.data_sha256,
            settings={k: v for k, v in plan.items() if k not in _PLACES},
            seconds=round(sum(row["seconds"] for row in history), 1),
            notes=f"seconds are those of training and validation, without the teacher's; {len(history)} epochs",
        ).write(self.record_path(run, section))


def _metrics(summary: Mapping[str, Any]) -> dict[str, float | None]:
    overall = summary["overall"]
    found = {
        "Dice per slice": overall["dice"]["slice_mean"],
        "Dice per patient": overall["dice"]["patient_mean"],
        "HD95 per slice": overall["hd95"]["slice_mean"],
        "HD95 per patient": overall["hd95"]["patient_mean"],
    }
    return {name: None if value is None or value != value else float(value) for name, value in found.items()}


def own_settings(name: str = "seg_kd") -> set[str]:
    """The names of a bundle's settings."""
    return set(bundle_settings(name))
