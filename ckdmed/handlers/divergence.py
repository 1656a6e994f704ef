"""The end of a training whose loss or weights are no longer numbers."""

from __future__ import annotations

import math
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from monai.utils import CommonKeys

__all__ = ["DivergedError", "StopWhenDiverged", "not_finite"]


class DivergedError(RuntimeError):
    """A training whose loss or weights are not finite."""


class StopWhenDiverged:
    """Raise at the first loss that is not finite, and before weights that are not finite are validated or kept.

    On a GPU a loss is looked at one step later, so that no step waits for it, and always before the epoch ends.

    Args:
        network: what learns, without its wrapper for several processes.
        optimizer: whose learning rate is named.

    Attach to the trainer before the handlers that validate or save.

    Raises:
        DivergedError: names epoch, step, loss, terms and learning rate.
    """

    def __init__(self, network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.network = network
        self.optimizer = optimizer
        self._unseen: tuple[torch.Tensor, dict[str, torch.Tensor], str] | None = None

    def attach(self, engine: Engine) -> None:
        """Register on the trainer's losses and epochs."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._note)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end_of_epoch)

    def _note(self, engine: Engine) -> None:
        self._look()
        output: Any = engine.state.output
        loss = output[CommonKeys.LOSS].detach()
        self._unseen = loss, dict(getattr(engine.state, "terms", {})), self._when(engine)
        if loss.device.type == "cpu":
            self._look()

    def _look(self) -> None:
        unseen, self._unseen = self._unseen, None
        if unseen is None or math.isfinite(value := float(unseen[0])):
            return
        terms = "".join(f", {name} {float(term.mean()):.4g}" for name, term in unseen[1].items())
        raise DivergedError(f"the training diverged: loss {value}{terms} in {unseen[2]}. {_REMEDY}")

    def _end_of_epoch(self, engine: Engine) -> None:
        self._look()
        if broken := not_finite(self.network):
            raise DivergedError(
                f"the training diverged: the loss was finite, but the last step made {broken[0]} not finite "
                f"({len(broken)} tensors) in {self._when(engine)}. {_REMEDY}"
            )

    def _when(self, engine: Engine) -> str:
        rate = self.optimizer.param_groups[0]["lr"]
        state = engine.state
        return f"epoch {state.epoch} of {state.max_epochs}, step {state.iteration}, at learning rate {rate:.4g}"


_REMEDY = (
    "Nothing of this epoch is kept; the weights and checkpoints of the epochs before it are. Begin again with a lower "
    "learning rate, and look for images or labels that are not finite."
)


def not_finite(network: torch.nn.Module) -> list[str]:
    """Names of the parameters that hold NaN or infinite values, and of the buffers that hold NaN."""
    found = [name for name, value in network.named_parameters() if not bool(value.detach().isfinite().all())]
    # a buffer may hold infinities for good, such as an attention mask
    return found + [name for name, value in network.named_buffers() if bool(value.isnan().any())]
