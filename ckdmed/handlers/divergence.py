"""The end of a training with a loss or weights that are no longer numbers."""

from __future__ import annotations

import math
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from monai.utils import CommonKeys

from ckdmed.counted import counted

__all__ = ["DivergedError", "StopWhenDiverged", "not_finite"]


class DivergedError(RuntimeError):
    """A training whose loss or weights are not finite."""


class StopWhenDiverged:
    """Raise at the first loss that is not finite, and before weights that are not finite are validated or saved.

    On a GPU a loss is checked one step later, so that no step waits for it, and always before the epoch ends.

    Args:
        network: what learns, without its wrapper for several processes.
        optimizer: whose learning rate is named.

    Of a trainer whose teachers learn along (``teacher_values``, ``teacher_optimizer``) both losses are checked.
    Attach to it before the handlers that validate or save.

    Raises:
        DivergedError: names epoch, step, losses, terms and learning rates.
    """

    def __init__(self, network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.network = network
        self.optimizer = optimizer
        self._unseen: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], str] | None = None
        self._terms: dict[str, torch.Tensor] = {}

    def attach(self, engine: Engine) -> None:
        """Register on the trainer's losses and epochs."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._note)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end_of_epoch)

    def _note(self, engine: Engine) -> None:
        self._look()
        output: Any = engine.state.output
        losses = {"loss": output[CommonKeys.LOSS].detach()}
        # teachers that learn along minimise a loss of their own, which is no part of the student's
        teachers = getattr(engine, "teacher_values", None)
        if teachers is not None:
            losses["loss of the teachers"] = teachers.total
        self._unseen = losses, dict(getattr(engine.state, "terms", {})), self._when(engine)
        if losses["loss"].device.type == "cpu":
            self._look()

    def _look(self) -> None:
        unseen, self._unseen = self._unseen, None
        if unseen is None:
            return
        losses, self._terms, when = unseen
        values = torch.stack([value.float() for value in losses.values()]).tolist()
        if not all(map(math.isfinite, values)):
            told = ", ".join(f"{name} {value}" for name, value in zip(losses, values))
            raise DivergedError(f"the training diverged: {told}{self._told_terms()} in {when}. {_REMEDY}")

    def _end_of_epoch(self, engine: Engine) -> None:
        self._look()
        if broken := not_finite(self.network):
            raise DivergedError(
                f"the training diverged: the loss was finite{self._told_terms()}, but the last step made {broken[0]} "
                f"not finite ({counted(len(broken), 'tensor')}) in {self._when(engine)}. {_REMEDY}"
            )

    def _told_terms(self) -> str:
        return "".join(f", {name} {float(term.mean()):.4g}" for name, term in self._terms.items())

    def _when(self, engine: Engine) -> str:
        state = engine.state
        rate = f"learning rate {self.optimizer.param_groups[0]['lr']:.4g}"
        teachers = getattr(engine, "teacher_optimizer", None)
        if teachers is not None:
            rate += f" ({teachers.param_groups[0]['lr']:.4g} for the teachers)"
        return f"epoch {state.epoch} of {state.max_epochs}, step {state.iteration}, at {rate}"


_REMEDY = (
    "Nothing of this epoch is saved; weights and checkpoints of earlier epochs are. Start again with a lower learning "
    "rate, and look for images or labels with values that are not finite."
)


def not_finite(network: torch.nn.Module) -> list[str]:
    """Names of the parameters that hold NaN or infinite values, and of the buffers that hold NaN."""
    found = [name for name, value in network.named_parameters() if not bool(value.detach().isfinite().all())]
    # a buffer may hold infinities for good, such as an attention mask
    return found + [name for name, value in network.named_buffers() if bool(value.isnan().any())]
