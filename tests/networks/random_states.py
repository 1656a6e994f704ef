"""Random weights under other libraries' names."""

from __future__ import annotations

import torch

State = dict[str, torch.Tensor]


def random_state(shapes: dict[str, tuple[int, ...]], gain: float = 2.0) -> State:
    """Values whose scale a deep network in evaluation mode neither lets vanish nor explode."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            state[name] = torch.rand(shape, generator=generator) + 0.5
        else:
            fan_in = max(1, torch.Size(shape[1:]).numel())
            state[name] = torch.randn(shape, generator=generator) * (gain / fan_in) ** 0.5
    return state
