"""Sums over channels: the same values and gradients as written out, whatever the precision of the maps."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from ckdmed.losses import AttentionTransferLoss, FeatureMSELoss, MSGFFLoss
from ckdmed.losses.channel_sums import channel_products, channel_squares

SHAPES = [(3, 5, 4, 7), (1, 2, 3, 4, 5), (4, 3, 6)]


def maps(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2))
    return first.requires_grad_(), second.requires_grad_()


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_in_double_precision(shape: tuple[int, ...]) -> None:
    first, second = maps(shape, torch.float64)
    assert gradcheck(channel_squares, (first,))
    assert gradcheck(channel_products, (first, second))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_sums_are_those_of_full_precision_copies(dtype: torch.dtype, channels_last: bool) -> None:
    first, second = maps((3, 7, 5, 6), dtype)
    if channels_last:
        first, second = (x.detach().to(memory_format=torch.channels_last).requires_grad_() for x in (first, second))
    full = torch.float64 if dtype == torch.float64 else torch.float32
    f, g = first.detach().to(full), second.detach().to(full)
    got = channel_products(first, second)
    wanted = [x.sum(dim=1, keepdim=True) for x in (f * f, g * g, f * g)]
    for value, reference in zip(got, wanted):
        assert value.dtype == full
        torch.testing.assert_close(value, reference)
    torch.testing.assert_close(channel_squares(first), wanted[0])

    weights = [torch.linspace(-1, 2, 90, dtype=full).view(3, 1, 5, 6).roll(i, dims=3) for i in range(3)]
    total = torch.stack([(w * value).sum() for w, value in zip(weights, got)]).sum()
    of_first, of_second = torch.autograd.grad(total, (first, second))
    assert of_first.dtype == dtype and of_second.dtype == dtype
    torch.testing.assert_close(of_first, (2 * weights[0] * f + weights[2] * g).to(dtype))
    torch.testing.assert_close(of_second, (2 * weights[1] * g + weights[2] * f).to(dtype))


def test_only_what_asks_for_a_gradient_gets_one() -> None:
    first, second = maps((2, 3, 4, 4), torch.float32)
    products = channel_products(first, second.detach())
    assert torch.autograd.grad(products[2].sum(), first)[0].equal(second.detach())
    assert not channel_squares(first.detach()).requires_grad


def test_no_samples() -> None:
    empty = torch.zeros(0, 3, 4, 4)
    assert channel_squares(empty).shape == (0, 1, 4, 4)
    assert all(part.shape == (0, 1, 4, 4) for part in channel_products(empty, empty))


@pytest.mark.parametrize(
    ("loss", "grid"),
    [
        (FeatureMSELoss("channel_l2"), 6),
        (FeatureMSELoss("none"), 6),
        (FeatureMSELoss("layernorm"), 6),
        (FeatureMSELoss("channel_l2", resize="min"), 6),
        (FeatureMSELoss("channel_l2", resize="min"), 3),
        (AttentionTransferLoss(), 6),
        (AttentionTransferLoss(), 3),
        (AttentionTransferLoss(exponent=4), 3),
        (MSGFFLoss(normalize="channel_l2"), 3),
    ],
)
def test_losses_of_bfloat16_maps_equal_those_of_their_float32_copies(loss: torch.nn.Module, grid: int) -> None:
    student, _ = maps((2, 4, 6, 6), torch.bfloat16)
    _, teacher = maps((2, 4, grid, grid), torch.bfloat16, seed=1)
    copy = student.detach().float().requires_grad_()
    low, full = loss(student, teacher), loss(copy, teacher.detach().float())
    assert low.dtype == torch.float32
    assert low.item() == full.item()
    (of_low,), (of_full,) = torch.autograd.grad(low, student), torch.autograd.grad(full, copy)
    assert of_low.equal(of_full.to(torch.bfloat16))


def test_a_mask_of_a_finer_grid_weighs_normalised_features() -> None:
    student, teacher = maps((2, 4, 4, 4), torch.float64)
    mask = torch.ones(2, 1, 8, 8, dtype=torch.float64)
    mask[:, :, 4:] = 0
    masked = FeatureMSELoss("channel_l2")(student, teacher, mask)
    upper = FeatureMSELoss("channel_l2")(student[:, :, :2], teacher[:, :, :2])
    torch.testing.assert_close(masked, upper)
