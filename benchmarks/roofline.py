"""The least seconds that a computation can take on a machine: the roofline of each of its operations, summed.

An operation is not faster than its multiplications and additions at the rate of a large matrix product, nor than what
it reads and writes at the rate of a large copy (Williams et al. 2009, doi 10.1145/1498765.1498785). The operations are
those that PyTorch runs, backward pass and optimiser among them; a fusion of several would need less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

__all__ = ["Operation", "operations_of", "roofline_seconds"]


@dataclass(frozen=True)
class Operation:
    """What one operation computes and moves.

    Attributes:
        name: PyTorch's, such as "aten.convolution.default".
        dtype: of its largest input.
        flops: multiplications and additions, of convolutions and matrix products alone.
        moved: bytes of its inputs and outputs, each once.
    """

    name: str
    dtype: torch.dtype
    flops: int
    moved: int


@dataclass
class _Recorder(TorchDispatchMode):
    found: list[Operation] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        outputs = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        places = {tensor.untyped_storage().data_ptr() for tensor in inputs}
        writes = any(a.alias_info is not None and a.alias_info.is_write for a in func._schema.arguments)
        fresh = [tensor for tensor in outputs if tensor.untyped_storage().data_ptr() not in places]
        # a view moves nothing
        if inputs and (writes or fresh):
            count = flop_registry.get(func.overloadpacket)
            flops = 0 if count is None else int(count(*args, **kwargs, out_val=out))
            # what is written in place is written once more
            moved = sum(_bytes(tensor) for tensor in (*inputs, *(outputs if writes else fresh)))
            self.found.append(Operation(str(func), max(inputs, key=_bytes).dtype, flops, moved))
        return out


def operations_of(step: Callable[[], Any]) -> list[Operation]:
    """The operations of one call of ``step``, in their order."""
    with _Recorder() as recorder:
        step()
    return recorder.found


def roofline_seconds(
    operations: list[Operation], flops_per_second: Mapping[torch.dtype, float], bytes_per_second: float
) -> float:
    """The sum over operations of the larger of computing and moving.

    Args:
        operations: of :func:`operations_of`.
        flops_per_second: of matrix products, by their type; another type counts as float32.
        bytes_per_second: read and written by a copy.
    """
    usual = flops_per_second[torch.float32]
    return sum(
        max(one.flops / flops_per_second.get(one.dtype, usual), one.moved / bytes_per_second) for one in operations
    )


def _bytes(tensor: torch.Tensor) -> int:
    # an expanded value is read once
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
