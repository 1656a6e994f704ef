"""Experiments that are broken off, as Ctrl-C does it, and what must hold of those that went on from there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch

from ckdmed.experiments.recorded_runs import RecordedRuns
from ckdmed.handlers import TrainingHistory
from ckdmed.reports import RunRecord


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
    whole: RecordedRuns[Any], again: RecordedRuns[Any], runs: Sequence[Any]
) -> tuple[RunRecord, dict[str, torch.Tensor]]:
    """Assert that runs which went on left what unbroken ones left; returns the last one's record and weights."""
    for run in runs:
        records = [RunRecord.read(c.record_path(run, "validation")) for c in (whole, again)]
        assert records[0].metrics == records[1].metrics and records[0].settings == records[1].settings
        assert records[0].data_sha256 == whole.data_sha256 and len(whole.data_sha256) == 64
        assert records[0].split["section"] == "validation" and records[0].seed == run.seed
        assert not list((again.folder(run) / "models").glob("resume*"))
    weights = [torch.load(c.folder(runs[-1]) / "models" / "model.pt", weights_only=True) for c in (whole, again)]
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
    return records[0], weights[0]
