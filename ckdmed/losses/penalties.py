"""Penalties that modules of a network put on their own outputs, added to the loss of its training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

__all__ = ["OutputPenalties", "with_penalties"]


class OutputPenalties:
    """What a network's modules ask for their outputs, gathered from one call of `taken` to the next.

    A module asks by an attribute ``output_penalty``, a function from its output to a scalar, as the transform of
    ``ckdmed.networks.fusion.SpatialTransformerFusion`` has it. Outputs in evaluation or without gradients do not count.

    Args:
        network: looked through once.
    """

    def __init__(self, network: nn.Module) -> None:
        self.modules = [module for module in network.modules() if hasattr(module, "output_penalty")]
        self._pending: list[torch.Tensor] = []
        for module in self.modules:
            module.register_forward_hook(self._hold)

    def _hold(self, module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        if module.training and torch.is_grad_enabled():
            self._pending.append(module.output_penalty(output))  # type: ignore[operator]

    def taken(self) -> list[torch.Tensor]:
        """Those since the last time, with their graphs."""
        pending, self._pending = self._pending, []
        return pending


class _PenalisedLoss(nn.Module):
    def __init__(self, loss: Callable[..., torch.Tensor], penalties: OutputPenalties) -> None:
        super().__init__()
        self.loss = loss
        self.penalties = penalties

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        total = self.loss(*args, **kwargs)
        for penalty in self.penalties.taken():
            total = total + penalty.to(total.device)
        return total


def with_penalties(loss: Callable[..., torch.Tensor], network: nn.Module) -> Callable[..., torch.Tensor]:
    """The loss plus what the network's modules ask for their outputs of the same training step: `OutputPenalties`.

    Args:
        loss: called with whatever the trainer gives it.
        network: looked through once; for a network without such modules ``loss`` itself comes back.
    """
    penalties = OutputPenalties(network)
    return _PenalisedLoss(loss, penalties) if penalties.modules else loss
