"""The same buffers on every process before a validation."""

from __future__ import annotations

import torch
from ignite.engine import Engine, Events
from torch import distributed

__all__ = ["SyncBuffers"]


class SyncBuffers:
    """Give all processes the first one's buffers (running statistics of batch norm) at the end of every epoch.

    DistributedDataParallel does so at the start of a forward pass only: after the last step of an epoch each process
    holds statistics of its own, would validate a network of its own, and the metric over all of them would belong to
    none. Without torch distributed nothing is done.

    Args:
        network: whose buffers; the plain network or the one that the trainer is given.

    Attach to the trainer, before the validation handler.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Register on ``EPOCH_COMPLETED``."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    @torch.no_grad()
    def __call__(self, _: Engine) -> None:
        if not distributed.is_initialized():
            return
        for buffer in self.network.buffers():
            distributed.broadcast(buffer, src=0)
