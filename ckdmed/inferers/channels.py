"""Networks that see some channels of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer

__all__ = ["ChannelsInferer"]


class ChannelsInferer(Inferer):
    """Show a network some of the channels of each batch, in a given order.

    It lets the trainer or evaluator of a network of few modalities run on data that hold more of them.

    Args:
        channels: indices along the channel axis; None shows all.
        inferer: runs the network on what is left. Default: MONAI's ``SimpleInferer``.

    Raises:
        ValueError: no channel; when called, one that the batch does not have.

    Example::

        evaluator = SupervisedEvaluator(..., inferer=ChannelsInferer([1], SlidingWindowInferer((96, 96, 96))))
    """

    def __init__(self, channels: Sequence[int] | None, inferer: Inferer | None = None) -> None:
        super().__init__()
        self.channels = None if channels is None else [int(channel) for channel in channels]
        if self.channels is not None and (not self.channels or min(self.channels) < 0):
            raise ValueError(f"channels must name at least one index from 0 up, got {channels}.")
        self.inferer = SimpleInferer() if inferer is None else inferer

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Infer the chosen channels of ``inputs`` with ``network``; further arguments go to the wrapped inferer."""
        if self.channels is not None:
            if max(self.channels) >= inputs.shape[1]:
                raise ValueError(f"the batch has {inputs.shape[1]} channels; channels {self.channels} are needed.")
            inputs = inputs[:, self.channels]
        return self.inferer(inputs, network, *args, **kwargs)
