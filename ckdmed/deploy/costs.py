"""Parameters and operations of a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["cuda_megabytes_of", "flops_of", "parameters_of"]


def parameters_of(network: nn.Module) -> int:
    """Numbers that were trained."""
    return sum(parameter.numel() for parameter in network.parameters())


def flops_of(network: nn.Module, input_shape: Sequence[int]) -> int:
    """Floating-point operations for one input by PyTorch's counter: two for a multiplication with its addition."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, *input_shape))
    return int(counter.get_total_flops())


def cuda_megabytes_of(network: nn.Module, input_shape: Sequence[int]) -> float | None:
    """Peak memory on a CUDA device for one input, weights included; None where there is no such device."""
    if not torch.cuda.is_available():
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    try:
        with torch.inference_mode():
            network.to("cuda")(torch.zeros(1, *input_shape, device="cuda"))
        return torch.cuda.max_memory_allocated() / 1e6
    finally:
        network.to("cpu")
