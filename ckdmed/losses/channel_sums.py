"""Sums over the channels of feature maps, with a gradient, in as few passes over the maps as possible.

Feature maps are the largest tensors that a distillation loss reads, and what it does with them costs little beside the
reading. So they are read in the precision that the network gave them, on the CPU one sample at a time, so that the
float32 copy of a sample never leaves the cache; the sums are float32 (float64 for float64 maps).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from ckdmed.losses.conventions import working_dtype

__all__ = ["channel_products", "channel_squares"]


def channel_squares(features: torch.Tensor) -> torch.Tensor:
    """The sum over the channels of F^2, [B, C, *S] -> [B, 1, *S]."""
    squares: torch.Tensor = _Squares.apply(features)
    return squares


def channel_products(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The sums over the channels of F^2, G^2 and F G of two maps [B, C, *S], each [B, 1, *S]."""
    squares_first, squares_second, products = _Products.apply(first, second)
    return squares_first, squares_second, products


def _pieces(tensor: torch.Tensor) -> Iterator[slice]:
    """Samples one by one on the CPU; elsewhere all at once, as each operation has a price of its own there."""
    step = 1 if tensor.device.type == "cpu" else max(tensor.shape[0], 1)
    return (slice(start, start + step) for start in range(0, tensor.shape[0], step))


def _sums_like(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.empty((tensor.shape[0], 1, *tensor.shape[2:]), dtype=dtype, device=tensor.device)


class _Squares(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(features)
        dtype = working_dtype(features)
        sums = _sums_like(features, dtype)
        for piece in _pieces(features):
            sums[piece] = features[piece].to(dtype).square().sum(dim=1, keepdim=True)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        (features,) = ctx.saved_tensors
        result = torch.empty_like(features)
        twice = 2 * grad
        for piece in _pieces(features):
            result[piece] = features[piece] * twice[piece]
        return result


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.save_for_backward(first, second)
        dtype = torch.promote_types(working_dtype(first), working_dtype(second))
        sums = tuple(_sums_like(first, dtype) for _ in range(3))
        for piece in _pieces(first):
            f, g = first[piece].to(dtype), second[piece].to(dtype)
            for total, product in zip(sums, (f.square(), g.square(), f * g)):
                total[piece] = product.sum(dim=1, keepdim=True)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        first, second = ctx.saved_tensors
        of_first, of_second, of_both = grads
        return (
            _product_gradient(first, second, 2 * of_first, of_both) if ctx.needs_input_grad[0] else None,
            _product_gradient(second, first, 2 * of_second, of_both) if ctx.needs_input_grad[1] else None,
        )


def _product_gradient(
    of: torch.Tensor, other: torch.Tensor, own_factor: torch.Tensor, factor: torch.Tensor
) -> torch.Tensor:
    """of * own_factor + other * factor, in the precision of the first."""
    result = torch.empty_like(of)
    for piece in _pieces(of):
        f, g = of[piece].to(factor.dtype), other[piece].to(factor.dtype)
        result[piece] = torch.addcmul(g * factor[piece], f, own_factor[piece])
    return result
