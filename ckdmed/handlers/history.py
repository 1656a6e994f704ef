"""The history of a training: every term and metric of every epoch, to the console, TensorBoard and a file."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ignite.engine import Engine, Events
from monai.utils import CommonKeys

from ckdmed.files import write_atomic
from ckdmed.handlers.training_accuracy import TrainingAccuracy

__all__ = ["TrainingHistory"]


class _Moment(NamedTuple):
    wall: float
    cpu: float


def _now() -> _Moment:
    return _Moment(time.perf_counter(), time.process_time())


class TrainingHistory:
    """Average the loss and its named terms over each epoch and record them with the validation metrics.

    One JSON object a line goes to ``path``: epoch, iteration, loss, each term's raw mean over the steps that have it,
    its weight (with which the mean counts in the epoch's loss; smaller than the weight of the step in which it is
    greatest, where it changes or some steps lack the term), learning rate, seconds, cpu_seconds (processor time of
    this process), both of the whole epoch, the same of its training steps alone (step_seconds, step_cpu_seconds:
    without validation), metrics, and of a classifier's training the accuracy of the steps (`TrainingAccuracy`). The
    console gets one line an epoch, TensorBoard the same scalars and, per iteration, the terms.

    Args:
        path: the ``.jsonl`` file; rewritten whole each epoch, so that it is never half a line.
        evaluator: whose ``state.metrics`` belong to the epoch in which it ran.
        optimizer: whose learning rate is noted.
        summary_writer: a TensorBoard ``SummaryWriter``, or None.
        save: False on every rank but one.
        prefix: before the names of TensorBoard's scalars, "teacher" gives ``teacher/epoch/loss``.

    Attach to the trainer after the validation handler. Has ``state_dict`` so that a resumed run keeps its history.
    """

    def __init__(
        self,
        path: str,
        evaluator: Engine | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        summary_writer: Any = None,
        save: bool = True,
        prefix: str = "",
    ) -> None:
        self.path = Path(path)
        self.evaluator = evaluator
        self.optimizer = optimizer
        self.summary_writer = summary_writer
        self.save = save
        self.prefix = f"{prefix}/" if prefix else ""
        self.rows: list[dict[str, Any]] = []
        self.logger = logging.getLogger(type(self).__name__)
        self._evaluated_at = 0
        self._begin()

    def _begin(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}
        self._weighted: dict[str, torch.Tensor | float] = {}
        self._weight_sums: dict[str, float] = {}
        self._accuracy = TrainingAccuracy()
        self._started = self._steps_ended = _now()

    def attach(self, engine: Engine) -> None:
        """Register on the trainer's epochs and iterations."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self._begin())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch)
        engine.add_event_handler(Events.COMPLETED, lambda _: self.summary_writer and self.summary_writer.flush())
        if self.evaluator is not None:
            self.evaluator.add_event_handler(Events.COMPLETED, self._evaluated)

    def _evaluated(self, evaluator: Engine) -> None:
        self._evaluated_at = int(evaluator.state.epoch)

    def _iteration(self, engine: Engine) -> None:
        output: Any = engine.state.output
        first = output[0] if isinstance(output, list) else output
        values = {CommonKeys.LOSS: torch.as_tensor(first[CommonKeys.LOSS]), **getattr(engine.state, "terms", {})}
        weights = getattr(engine.state, "weights", {})
        for name, value in values.items():
            # sums stay on the device: a number is read once an epoch, not once a step
            value = value.detach().double().mean()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1
            if name in weights:
                self._weighted[name] = self._weighted.get(name, 0.0) + weights[name] * value
                self._weight_sums[name] = self._weight_sums.get(name, 0.0) + weights[name]
        self._accuracy.update(output, engine.state.batch)
        if self.summary_writer is not None and self.save and engine.state.iteration % 10 == 1:
            for name, value in values.items():
                self._scalar(f"step/{name}", float(value.detach().mean()), engine.state.iteration)
        self._steps_ended = _now()

    def _epoch(self, engine: Engine) -> None:
        means = {name: float(self._sums[name]) / self._counts[name] for name in self._sums}
        began, stepped, ended = self._started, self._steps_ended, _now()
        row: dict[str, Any] = {
            "epoch": engine.state.epoch,
            "iteration": engine.state.iteration,
            "loss": means.pop(CommonKeys.LOSS),
            "terms": means,
            "weights": self._weights(means),
            "seconds": round(ended.wall - began.wall, 3),
            # what it cost the processors, whatever else they had to do meanwhile
            "cpu_seconds": round(ended.cpu - began.cpu, 3),
            "step_seconds": round(stepped.wall - began.wall, 3),
            "step_cpu_seconds": round(stepped.cpu - began.cpu, 3),
        }
        if self.optimizer is not None:
            row["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        if self.evaluator is not None and self._evaluated_at == engine.state.epoch:
            row["metrics"] = {k: float(v) for k, v in self.evaluator.state.metrics.items()}
        if (accuracy := self._accuracy.taken()) is not None:
            row["training"] = {"accuracy": accuracy}
        self.rows.append(row)
        if not self.save:
            return
        self._write()
        self.logger.info(_line(row, engine.state.max_epochs))
        self._to_tensorboard(row)

    def _weights(self, means: Mapping[str, float]) -> dict[str, float]:
        """Name -> weight with which the terms' means add up to that of the loss."""
        steps, found = self._counts[CommonKeys.LOSS], {}
        for name, weighted in self._weighted.items():
            # a term that was 0 has no share
            weight = float(weighted) / means[name] if means[name] else self._weight_sums[name]
            found[name] = _rounded(weight / steps)
        return found

    def _write(self) -> None:
        text = "".join(json.dumps(row) + "\n" for row in self.rows)
        write_atomic(self.path, lambda p: p.write_text(text, encoding="utf-8"))

    def _to_tensorboard(self, row: Mapping[str, Any]) -> None:
        if self.summary_writer is None:
            return
        groups = {"epoch": {"loss": row["loss"]}, "term": row["terms"], "weight": row["weights"]}
        groups["validation"] = row.get("metrics", {})
        groups["training"] = row.get("training", {})
        for group, values in groups.items():
            for name, value in values.items():
                self._scalar(f"{group}/{name}", value, row["epoch"])
        if "learning_rate" in row:
            self._scalar("epoch/learning_rate", row["learning_rate"], row["epoch"])

    def _scalar(self, name: str, value: float, step: int) -> None:
        self.summary_writer.add_scalar(self.prefix + name, value, step)

    def state_dict(self) -> dict[str, Any]:
        """The rows so far, as text: a checkpoint holds plain values only."""
        return {"rows": json.dumps(self.rows)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.rows = json.loads(state["rows"])


def _rounded(weight: float) -> float:
    # a constant weight would carry the rounding of its sums
    return float(f"{weight:.6g}")


def _line(row: Mapping[str, Any], epochs: int | None) -> str:
    terms = " + ".join(f"{row['weights'].get(n, 0):.3g} x {n} {v:.4f}" for n, v in row["terms"].items())
    metrics = ", ".join(f"{n} {v:.4f}" for n, v in row.get("metrics", {}).items())
    return (
        f"epoch {row['epoch']}/{epochs}: loss {row['loss']:.4f}"
        + (f" = {terms}" if terms else "")
        + (f"; validation {metrics}" if metrics else "")
        + f"; {row['seconds']:.1f} s"
    )
