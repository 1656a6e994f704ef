"""Experiments as the command line makes them, with a trainer that trains nothing or one that is broken off."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from ckdmed.cli.experiment import experiment_parser
from ckdmed.experiments import experiment
from ckdmed.experiments.distilling import Distilling
from ckdmed.experiments.engine import Experiment
from ckdmed.experiments.plan import Run
from ckdmed.files import save_weights, write_atomic, write_json
from ckdmed.handlers import TrainingHistory
from ckdmed.labels import REGIONS
from ckdmed.reports import RunRecord

PATIENTS = ("a", "b", "c", "d")


def options(name: str, *words: str) -> argparse.Namespace:
    """The options of an experiment at its tiny profile."""
    return experiment_parser(experiment(name)).parse_args(["--output_dir", "unused", "--profile", "tiny", *words])


def planned(name: str, *words: str) -> list[Run]:
    """The runs of the options."""
    return experiment(name).plan(options(name, *words))


def made(name: str, folder: Path, data: Path, *words: str) -> tuple[Any, list[Run]]:
    """An experiment of the options and its runs."""
    args = options(name, *words)
    chosen = experiment(name)
    settings = chosen.given_settings(args)
    return chosen.from_options(args, folder, data, settings), chosen.plan(args)


class FakeTrainer:
    """Stands in for the bundles: a training leaves weights and a history, an evaluation a summary.

    Args:
        fails_at: name of a run whose training raises ``error``, once it has begun.
        error: what it raises.
    """

    def __init__(self, fails_at: str | None = None, error: BaseException | None = None) -> None:
        self.fails_at = fails_at
        self.error = error or KeyboardInterrupt()
        #: run and what was asked of it, in order
        self.asked: list[tuple[str, str]] = []

    def __call__(self, made: Experiment, run: Run, configs: Sequence[str], overrides: Mapping[str, Any]) -> None:
        made.settings_of(run)
        self.asked.append((run.name, str(overrides.get("section", "train"))))
        if "evaluate.json" in configs:
            write_json(Path(overrides["evaluation_dir"]) / "summary.json", _summary(_score(run), overrides["section"]))
            return
        folder = made.folder(run)
        save_weights(folder / "models" / "resume_epoch=0001.pt", {})
        if run.name == self.fails_at:
            raise self.error
        save_weights(folder / "models" / "model.pt", {"weight": torch.zeros(3)})
        seconds = dict.fromkeys(("seconds", "cpu_seconds", "step_seconds", "step_cpu_seconds"), 1.5)
        line = json.dumps({"epoch": 1, "iteration": 3, **seconds}) + "\n"
        write_atomic(folder / "metrics.jsonl", lambda path: path.write_text(line, encoding="utf-8"))


def install(monkeypatch: pytest.MonkeyPatch, trainer: FakeTrainer) -> FakeTrainer:
    """Let all experiments train with it."""
    monkeypatch.setattr(Experiment, "_execute", lambda *given, without=(): trainer(*given))

    def measure(made: Experiment, run: Run, section: str) -> tuple[dict[str, Any], dict[str, Any]]:
        trainer.asked.append((run.name, section))
        score = _score(run)
        short = {"validation": "val", "test": "test"}[section]
        names = ("loss", "accuracy", "balanced_accuracy", "patient_accuracy")
        own = {f"{short}_{name}": score for name in names}
        seen = {"train_loss": score, "train_accuracy": score} if section == "validation" else {}
        return {**seen, **own}, {f"{short}_patient_accuracy": dict.fromkeys(PATIENTS, score)}

    monkeypatch.setattr(experiment("table1"), "measure", measure)
    # networks are not built
    monkeypatch.setattr(Distilling, "_refusal", lambda self, run: None)
    monkeypatch.setattr("ckdmed.experiments.engine.check_buildable", lambda *_: None)
    return trainer


def _score(run: Run) -> float:
    """The better, the further the arm's name is from the baseline's."""
    return 0.5 + 0.01 * (len(run.arm.name) % 7) + 0.001 * run.seed


def _summary(score: float, section: str) -> dict[str, Any]:
    means = {"slice_mean": score, "patient_mean": score}
    overall = {name: means for name in ("dice", "hd95", "lesionwise_dice", "lesionwise_hd95_mm")}
    rows = [{"patient_group": patient, "dice": score} for patient in PATIENTS]
    parts = {region: {"overall": overall} for region in REGIONS}
    return {"overall": overall, "per_region": parts, "patient_key": "patient_group", "per_patient": rows}


@contextmanager
def noted_epochs(monkeypatch: pytest.MonkeyPatch, killed_after: int | None = None) -> Iterator[list[int]]:
    """The epochs that end within, of all trainings; after so many of them the process is killed, and must be."""
    end, ended = TrainingHistory._epoch, list[int]()

    def noted(self: TrainingHistory, engine: Any) -> None:
        end(self, engine)
        ended.append(engine.state.epoch)
        if len(ended) == killed_after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingHistory, "_epoch", noted)
        with nullcontext() if killed_after is None else pytest.raises(KeyboardInterrupt):
            yield ended


def check_same_outcome(
    whole: Experiment, again: Experiment, runs: Sequence[Run], section: str = "validation"
) -> tuple[RunRecord, dict[str, torch.Tensor]]:
    """Assert that runs which went on left what unbroken ones left; returns the last one's record and weights."""
    for run in runs:
        records = [RunRecord.read(c.record_path(run, section)) for c in (whole, again)]
        assert records[0].metrics == records[1].metrics and records[0].settings == records[1].settings
        assert records[0].patients == records[1].patients
        assert records[0].data_sha256 == whole.data_sha256 and len(whole.data_sha256) == 64
        assert records[0].split["section"] == section and records[0].seed == run.seed
        assert not list((again.folder(run)).rglob("resume*.pt"))
    weights = [torch.load(c.folder(runs[-1]) / "models" / "model.pt", weights_only=True) for c in (whole, again)]
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
    return records[0], weights[0]
