"""Gradient norm of each term of a loss in the student, and an alarm for a term without any gradient."""

from __future__ import annotations

import logging
import math

import torch
from ignite.engine import Engine
from monai.engines import IterationEvents

__all__ = ["GradientReport", "term_gradient_norms"]


def term_gradient_norms(
    terms: dict[str, torch.Tensor], weights: dict[str, float], parameters: list[torch.nn.Parameter]
) -> dict[str, float]:
    """L2 norm of the gradient of each weighted term with respect to ``parameters``.

    The graphs are kept, so that the step's own backward pass can follow.
    """
    norms = {}
    for name, value in terms.items():
        if not value.requires_grad:
            norms[name] = 0.0
            continue
        gradients = torch.autograd.grad(value * weights[name], parameters, retain_graph=True, allow_unused=True)
        squares = sum(float(g.double().pow(2).sum()) for g in gradients if g is not None)
        norms[name] = math.sqrt(squares)
    return norms


class GradientReport:
    """Print each term's value, weight and gradient norm on the student in the first step of every epoch.

    Warns when a term's gradient is exactly zero at ``patience`` looks in a row (it teaches nothing: softmax over one
    channel, a detached tensor, a tap that does not depend on the weights), and when a term pulls ``ratio`` times as
    hard as the supervised one.

    Args:
        student: the plain student; projections are not counted.
        every: look in the first step of every ``every``-th epoch.
        patience: looks without any gradient before the warning.
        ratio: of a term's norm to the supervised term's norm.
        supervised: name of the supervised term.

    Attach to a :class:`~ckdmed.engines.DistillationTrainer`. Costs one backward pass a term at each look.
    """

    def __init__(
        self,
        student: torch.nn.Module,
        every: int = 1,
        patience: int = 2,
        ratio: float = 10.0,
        supervised: str = "supervised",
    ) -> None:
        self.student = student
        self.every = every
        self.patience = patience
        self.ratio = ratio
        self.supervised = supervised
        self.norms: dict[str, float] = {}
        self._silent: dict[str, int] = {}
        self.logger = logging.getLogger(type(self).__name__)

    def attach(self, engine: Engine) -> None:
        """Register between the loss and the backward pass."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        length = engine.state.epoch_length or 1
        epoch = (engine.state.iteration - 1) // length
        if (engine.state.iteration - 1) % length or epoch % self.every or getattr(engine, "compile", False):
            return
        values = engine.loss_values  # type: ignore[attr-defined]
        parameters = [p for p in self.student.parameters() if p.requires_grad]
        self.norms = term_gradient_norms(values.terms, values.weights, parameters)
        listing = ", ".join(
            f"{name} {float(values.terms[name].detach()):.4g} x {values.weights[name]:.3g} (gradient norm {norm:.3g})"
            for name, norm in self.norms.items()
        )
        self.logger.info(f"terms at step {engine.state.iteration}: {listing}")
        self._warn()

    def _warn(self) -> None:
        reference = self.norms.get(self.supervised, 0.0)
        for name, norm in self.norms.items():
            self._silent[name] = self._silent.get(name, 0) + 1 if norm == 0 else 0
            if self._silent[name] == self.patience:
                self.logger.warning(
                    f"the term '{name}' has had no gradient on the student {self.patience} times in a row: it teaches "
                    "nothing. Check its link (softmax over one channel is constant), its taps and its targets."
                )
            if name != self.supervised and reference > 0 and norm > self.ratio * reference:
                self.logger.warning(
                    f"the gradient of the term '{name}' is {norm / reference:.0f} times that of '{self.supervised}'; "
                    "lower its weight unless this is intended."
                )
