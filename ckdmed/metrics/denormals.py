"""Arithmetic as SciPy expects it, in processes that flush denormal numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["with_denormals"]


@contextmanager
def with_denormals() -> Iterator[None]:
    """Keep denormal numbers inside the block, whatever ``torch.set_flush_denormal`` was set to before.

    The bundles flush them, for the speed of late training on a CPU. SciPy's KD-tree, by which MONAI measures distances
    between surfaces, splits at the number next to 0 where half of the points lie at 0; flushed, that is 0 again, and it
    recurses until the process dies of it.
    """
    # computed: a denormal constant is 0 in a module that is compiled while they are flushed
    flushed = float(torch.tensor([torch.finfo(torch.float64).tiny], dtype=torch.float64).mul(0.5)) == 0.0
    if flushed:
        torch.set_flush_denormal(False)
    try:
        yield
    finally:
        if flushed:
            torch.set_flush_denormal(True)
