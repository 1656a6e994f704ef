"""Saving a training so that it survives being killed, and its best student on its own."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from ckdmed.counted import counted
from ckdmed.files import load_weights, remove_leftovers, save_weights
from ckdmed.handlers.history import TrainingHistory

__all__ = ["BestModel", "ResumeCheckpoint"]

_NAME = re.compile(r"resume_epoch=(\d+)\.pt")
# what a checkpoint says of the training itself
_PROGRESS = ("epoch", "iteration", "epoch_length", "max_epochs")


class BestModel:
    """Keep the weights of the network that validated best, as a plain ``state_dict`` that loads strictly.

    Args:
        path: file to write, such as ``models/model.pt``.
        network: the plain network (not its wrapper for training).
        key_metric: name of the metric in the evaluator's ``state.metrics``.
        better: ``better(new, best)``; greater by default. A metric that is not a number is never better.
        save: False on every rank but one.
        last: keep the newest weights instead, whatever they score: for a training on the patients that it is validated
            on, whose scores no longer tell which weights are good.

    Attach to the evaluator.
    """

    def __init__(
        self,
        path: str,
        network: torch.nn.Module,
        key_metric: str,
        better: Callable[[float, float], bool] = lambda new, best: new > best,
        save: bool = True,
        last: bool = False,
    ) -> None:
        self.path = Path(path)
        self.network = network
        self.last = last
        self.key_metric = key_metric
        self.better = better
        self.save = save
        self.metric: float | None = None
        self.epoch = 0
        self.logger = logging.getLogger(type(self).__name__)

    def attach(self, engine: Engine) -> None:
        """Register on the evaluator's ``COMPLETED``."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, evaluator: Engine) -> None:
        if self.key_metric not in evaluator.state.metrics:
            raise KeyError(
                f"the evaluator has no metric '{self.key_metric}'; it has {sorted(evaluator.state.metrics)}."
            )
        value = float(evaluator.state.metrics[self.key_metric])
        worse = value != value or (self.metric is not None and not self.better(value, self.metric))
        if worse and not self.last:
            return
        self.metric, self.epoch = value, int(evaluator.state.epoch)
        if self.save:
            save_weights(self.path, {k: v.detach().cpu() for k, v in self.network.state_dict().items()})
            which = f"newest weights, {self.key_metric}" if self.last else f"best {self.key_metric} so far"
            self.logger.info(f"{which} {value:.4f} (epoch {self.epoch}): {self.path}")

    def state_dict(self) -> dict[str, Any]:
        """The best value and its epoch, to be kept with the checkpoint of the run."""
        return {"metric": self.metric, "epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave; where the weights are gone, the next validation saves new ones."""
        self.metric, self.epoch = state["metric"], int(state["epoch"])
        if self.metric is not None and not self.path.is_file():
            self.logger.warning(
                f"{self.path}, the weights of epoch {self.epoch} with {self.key_metric} {self.metric:.4f}, is missing; "
                "the best of the epochs that follow is saved in its place."
            )
            self.metric = None


class ResumeCheckpoint:
    """Write everything that a training needs to go on after each epoch, and read it back to resume.

    A run that is killed at any moment loses the epoch in progress and no more. Files are put in place whole; the newest
    two remain, and one that cannot be read is skipped with a warning in favour of the one before.

    Args:
        save_dir: folder of the ``resume_epoch=N.pt`` files.
        objects: name -> object with ``state_dict`` and ``load_state_dict`` (student, projections, optimizer, learning
            rate schedule, :class:`BestModel`, history).
        resume: go on from the newest readable file; without one the training starts from the beginning, and says so.
            If False, files of an earlier run in ``save_dir`` are an error.
        keep: how many files to keep.
        save: False on every rank but one; all ranks read.
        device: where the tensors are loaded to.

    Attach to the trainer, after every other handler that acts at the end of an epoch.

    A trainer that is run again goes on with what it has in memory.

    Raises:
        RuntimeError: at the start, if ``save_dir`` holds files of an earlier run that is not resumed, or none that can
            be read of a run that is resumed and has weights; or if a readable file lacks one of the objects or does
            not fit them, or comes of a training of another length.
        ValueError: an object named like one of the entries that say how far the training is.
    """

    def __init__(
        self,
        save_dir: str,
        objects: Mapping[str, Any],
        resume: bool = False,
        keep: int = 2,
        save: bool = True,
        device: str | torch.device = "cpu",
    ) -> None:
        self.save_dir = Path(save_dir)
        self.objects = dict(objects)
        taken = sorted(set(self.objects) & {*_PROGRESS, "scaler"})
        if taken:
            raise ValueError(f"objects cannot be named {taken}: the checkpoint uses these names itself.")
        self.resume = resume
        self.keep = keep
        self.save = save
        self.device = device
        self.logger = logging.getLogger(type(self).__name__)

    def attach(self, engine: Engine) -> None:
        """Register loading on ``STARTED`` and saving on ``EPOCH_COMPLETED``."""
        engine.add_event_handler(Events.STARTED, self.load)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def files(self) -> list[Path]:
        """The checkpoints that exist, newest first."""
        found = [p for p in self.save_dir.glob("resume_epoch=*.pt") if _NAME.fullmatch(p.name)]
        return sorted(found, key=_epoch, reverse=True)

    def load(self, engine: Engine) -> None:
        """Restore the newest readable checkpoint, or see to it that there is nothing of an earlier run."""
        if engine.state.epoch:
            return
        if self.save:
            remove_leftovers(self.save_dir)
        if not self.resume:
            if self.save and self.files():
                raise RuntimeError(
                    f"'{self.files()[0]}' is of an earlier run, which is not overwritten: resume that run, or give "
                    "another folder."
                )
            return
        for path in self.files():
            try:
                state = load_weights(path, self.device)
            except ValueError as error:
                self.logger.warning(f"{error} Continuing with the checkpoint before it.")
                continue
            self._restore(engine, path, state)
            if self.save:
                # the run may have been killed between saving and deleting
                self._prune()
            return
        self._check_nothing_is_lost()
        self.logger.info(f"nothing to resume in {self.save_dir}; starting from the beginning.")

    def _check_nothing_is_lost(self) -> None:
        """Raise RuntimeError where a training from the beginning would overwrite the result of an earlier one."""
        if damaged := self.files():
            raise RuntimeError(
                f"'{damaged[0]}' cannot be read, nor can another checkpoint in its folder, so the run cannot be "
                "resumed. Its best weights so far stay where they are: to begin again, give another output_dir."
            )
        kept = [item.path for item in self.objects.values() if isinstance(item, BestModel) and item.path.is_file()]
        epochs = [_rows(item.path) for item in self.objects.values() if isinstance(item, TrainingHistory)]
        # one that was killed before its first checkpoint was written has nothing to lose but that epoch
        if kept and max(epochs, default=2) > 1:
            raise RuntimeError(
                f"'{kept[0]}' is of an earlier training of which no checkpoint is left in '{self.save_dir}', so it "
                "cannot be resumed, and a new one would overwrite it: give another output_dir, or move it away."
            )

    def _restore(self, engine: Engine, path: Path, state: Mapping[str, Any]) -> None:
        self._check(engine, path, state)
        for name, item in self.objects.items():
            try:
                item.load_state_dict(state[name])
            except (RuntimeError, ValueError, KeyError) as error:
                raise RuntimeError(
                    f"'{path}': its {name} does not match this run's ({error}); resume with the settings it was made "
                    "with."
                ) from error
        scaler = getattr(engine, "scaler", None)
        if (scaler is None) != (state.get("scaler") is None):
            then, now = ("with", "without") if scaler is None else ("without", "with")
            raise RuntimeError(
                f"'{path}' was made {then} a gradient scaler, but this run is {now} one: resume on the kind of device "
                "and with the mixed precision (amp) that it was made with."
            )
        if scaler is not None:
            scaler.load_state_dict(state["scaler"])
        engine.state.epoch = state["epoch"]
        engine.state.iteration = state["iteration"]
        self.logger.info(f"resuming after epoch {engine.state.epoch} of {engine.state.max_epochs} from {path}")

    def _check(self, engine: Engine, path: Path, state: Mapping[str, Any]) -> None:
        missing = sorted({*self.objects, *_PROGRESS} - set(state))
        if missing:
            raise RuntimeError(f"'{path}' lacks {missing}; it belongs to a run with other settings.")
        if state["epoch_length"] != engine.state.epoch_length:
            raise RuntimeError(
                f"'{path}' was made with {counted(state['epoch_length'], 'step')} per epoch, but this run has "
                f"{engine.state.epoch_length}; resume with the same data, batch size and number of processes."
            )
        if state["max_epochs"] != engine.state.max_epochs:
            raise RuntimeError(
                f"'{path}' is of a training of {counted(state['max_epochs'], 'epoch')}, but this run has "
                f"{engine.state.max_epochs}; learning rate and ramps depend on the length of the training: resume "
                "with the same number of epochs."
            )

    def write(self, engine: Engine) -> None:
        """Save the state after an epoch and delete the files that are no longer kept."""
        if not self.save:
            return
        scaler = getattr(engine, "scaler", None)
        state = {
            **{name: getattr(engine.state, name) for name in _PROGRESS},
            "scaler": None if scaler is None else scaler.state_dict(),
            **{name: item.state_dict() for name, item in self.objects.items()},
        }
        save_weights(self.save_dir / f"resume_epoch={engine.state.epoch:04d}.pt", state)
        self._prune()

    def _prune(self) -> None:
        for path in self.files()[self.keep :]:
            path.unlink(missing_ok=True)


def _rows(history: Path) -> int:
    return len(history.read_text(encoding="utf-8").splitlines()) if history.is_file() else 0


def _epoch(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match.group(1)) if match else -1
