"""A gradient scaler for trainings in float16, on any device."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.inferers import Inferer

from ckdmed.inferers.precision import autocast_dtype

__all__ = ["GradientScaling"]


class GradientScaling:
    """Give a ``SupervisedTrainer`` a gradient scaler where its inferer runs the network in float16.

    Gradients of float16 underflow: the loss is scaled up before the backward pass and the gradients down before the
    step, and a step whose gradients overflow is left out. MONAI's trainer has the steps for it, but makes its scaler
    for CUDA alone and runs in an autocast of its own; here the autocast stays the inferer's. In bfloat16 and in full
    precision nothing is changed.

    Args:
        inferer: of the trainer, see :class:`~ckdmed.inferers.AutocastInferer`.

    Attach before :class:`~ckdmed.handlers.ResumeCheckpoint`, which keeps and restores the scaler's state.
    """

    def __init__(self, inferer: Inferer | None) -> None:
        self.inferer = inferer

    def attach(self, engine: Engine) -> None:
        """Register on the trainer's ``STARTED``."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        trainer: Any = engine
        device = torch.device(trainer.state.device)
        if autocast_dtype(self.inferer, device) is not torch.float16:
            return
        trainer.amp, trainer.amp_kwargs = True, {"enabled": False}
        trainer.scaler = torch.amp.GradScaler(device.type)
