"""A comparison of arms over seeds and label regimes: each run is a bundle's, each result a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from ckdmed.bundle.workflow import bundle_folder, bundle_workflow
from ckdmed.data import build_figshare_datalist, read_datalist, write_datalist
from ckdmed.data.datalist import DATALIST_NAME
from ckdmed.data.phantoms import write_figshare_phantoms
from ckdmed.experiments.compare_arms import PATIENT_METRIC, Run
from ckdmed.experiments.recorded_runs import RecordedRuns
from ckdmed.files import save_weights, write_json
from ckdmed.json_files import read_json, read_json_lines

__all__ = ["Comparison", "phantom_data"]


def phantom_data(folder: Path, patients: int, size: int, seed: int = 0) -> Path:
    """A folder of phantoms with its datalist, made once."""
    write_figshare_phantoms(folder, n_patients=patients, size=size, seed=seed)
    if not (folder / DATALIST_NAME).is_file():
        datalist, _ = build_figshare_datalist(folder, seed=seed, progress=False)
        write_datalist(datalist, folder / DATALIST_NAME)
    return folder


@dataclass
class Comparison(RecordedRuns[Run]):
    """Runs what is missing of a comparison; see :class:`~ckdmed.experiments.recorded_runs.RecordedRuns`."""

    datalist_command: ClassVar[str] = "datalist"
    made_settings: ClassVar[tuple[str, ...]] = (*RecordedRuns.made_settings, "label_fraction", "teacher_checkpoint")

    def read_datalist(self, path: Path) -> Mapping[str, Any]:
        return read_datalist(path)

    def metrics(self, run: Run, summary: Mapping[str, Any]) -> dict[str, Any]:
        overall = summary["overall"]
        return {
            "Dice per slice": overall["dice"]["slice_mean"],
            PATIENT_METRIC: overall["dice"]["patient_mean"],
            "HD95 per slice": overall["hd95"]["slice_mean"],
            "HD95 per patient": overall["hd95"]["patient_mean"],
        }

    def patients(self, run: Run, summary: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
        rows = summary["per_patient"]
        return {PATIENT_METRIC: {str(row[summary["patient_key"]]): row["dice"] for row in rows}}

    def split_of(self, run: Run) -> dict[str, Any]:
        return {"label_fraction": run.regime}

    @property
    def seconds_note(self) -> str:
        return "seconds are those of training and validation, without the teacher's"

    def run_settings(self, run: Run, base: Mapping[str, Any]) -> dict[str, Any]:
        made = run.settings({**base, "cache": "disk"})
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
        """As many epochs as take the time of the run of "ours"; fixed at the first look, for a resumed run's sake.

        Without a GPU it is processor time: what else a machine had to do is not the price of a method.
        """
        kept = self.folder(run) / "longer.json"
        if kept.is_file():
            return int(read_json(kept)["epochs"])
        seconds = {}
        for name in ("alone", "ours"):
            history = self.output_dir / "runs" / f"labelled={run.regime:g}-{name}-seed={run.seed}" / "metrics.jsonl"
            rows = read_json_lines(history)
            clock = "seconds" if torch.cuda.is_available() else "cpu_seconds"
            seconds[name] = sum(row[clock] for row in rows)
        ratio = max(seconds["ours"] / max(seconds["alone"], 1e-9), 1.0)
        write_json(kept, {"epochs": max(round(epochs * ratio), epochs), "seconds": seconds})
        return max(round(epochs * ratio), epochs)

    def prepare(self, run: Run, settings: Mapping[str, Any]) -> None:
        if run.arm.teacher == "random":
            self._write_untrained(run, Path(settings["teacher_checkpoint"]))

    def _write_untrained(self, run: Run, path: Path) -> None:
        if path.is_file():
            return
        workflow = bundle_workflow(bundle_folder("seg_kd", self.bundles), self._plan(run))
        workflow.parser.parse(reset=True)
        with torch.random.fork_rng():
            torch.manual_seed(run.seed)
            save_weights(path, workflow.parser.get_parsed_content("teacher_def").state_dict())
