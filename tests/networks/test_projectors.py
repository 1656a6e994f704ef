"""Projectors, and the collapse that a trained teacher-side projection brings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from ckdmed.networks.projectors import (
    ConvProjector,
    FrozenOrthogonalProjector,
    TokenProjector,
    conv_projector,
    regressor,
    resizing_projector,
    token_projector,
)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_identity_weights_give_the_input(spatial_dims: int) -> None:
    projector = ConvProjector(3, 3, spatial_dims)
    with torch.no_grad():
        projector.conv.weight.copy_(torch.eye(3).view(3, 3, *(1,) * spatial_dims))
        projector.conv.bias.zero_()
    x = torch.randn(2, 3, *(4, 5, 6)[:spatial_dims])
    assert torch.equal(projector(x), x)
    assert torch.equal(projector(x, x.shape[2:]), x)


@pytest.mark.parametrize(
    ("source", "grid"),
    [((8, 8), (4, 4)), ((4, 4), (8, 8)), ((7, 9), (14, 4)), ((16, 12, 12), (8, 6, 6)), ((4, 12, 12), (8, 6, 12))],
)
def test_grids_of_any_ratio(source: tuple[int, ...], grid: tuple[int, ...]) -> None:
    dims = len(source)
    x = torch.randn(2, 3, *source)
    assert ConvProjector(3, 5, dims, size=grid)(x).shape == (2, 5, *grid)
    assert ConvProjector(3, 5, dims)(x, grid).shape == (2, 5, *grid)
    assert ConvProjector(3, 5, dims)(x).shape == (2, 5, *source)


def test_shrinking_averages() -> None:
    projector = ConvProjector(1, 1, size=(2, 2))
    x = torch.arange(16.0).view(1, 1, 4, 4)
    with torch.no_grad():
        projector.conv.weight.fill_(2.0)
        projector.conv.bias.fill_(1.0)
    assert projector(x).flatten().tolist() == [6, 10, 22, 26]


@pytest.mark.parametrize("norm", ["none", "batch", "instance"])
@pytest.mark.parametrize("act", ["none", "relu"])
@pytest.mark.parametrize("kernel", [1, 3])
def test_every_parameter_learns(norm: str, act: str, kernel: int) -> None:
    for dims in (2, 3):
        projector = ConvProjector(3, 4, dims, kernel=kernel, norm=norm, act=act)
        out = projector(torch.randn(2, 3, *(5,) * dims))
        assert out.shape == (2, 4, *(5,) * dims)
        assert act == "none" or out.min() >= 0
        (out * torch.randn_like(out)).sum().backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in projector.parameters())


def test_tokens_follow_the_grid_row_by_row() -> None:
    projector = TokenProjector(2, 2, grid=(2, 3))
    with torch.no_grad():
        projector.linear.weight.copy_(torch.eye(2))
        projector.linear.bias.zero_()
    x = torch.arange(12.0).view(1, 2, 2, 3)
    assert projector(x)[0].tolist() == [[i, i + 6] for i in range(6)]
    assert TokenProjector(2, 8, grid=(4, 4), layer_norm=True)(torch.randn(3, 2, 7, 5)).shape == (3, 16, 8)
    assert TokenProjector(2, 8, grid=(2, 2, 2))(torch.randn(3, 2, 4, 4, 4)).shape == (3, 8, 8)


@pytest.mark.parametrize(("inputs", "outputs"), [(8, 5), (5, 8), (4, 4)])
def test_the_frozen_matrix_is_orthogonal_seeded_and_no_parameter(inputs: int, outputs: int) -> None:
    state = torch.random.get_rng_state()
    projector = FrozenOrthogonalProjector(inputs, outputs, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    w = projector.weight.double()
    small = w @ w.T if outputs <= inputs else w.T @ w
    assert torch.allclose(small, torch.eye(min(inputs, outputs), dtype=torch.float64), atol=1e-6)
    assert not list(projector.parameters()) and "weight" in projector.state_dict()
    assert torch.equal(FrozenOrthogonalProjector(inputs, outputs, seed=3).weight, projector.weight)
    assert not torch.equal(FrozenOrthogonalProjector(inputs, outputs, seed=4).weight, projector.weight)


def test_the_frozen_projector_is_a_1x1_convolution_that_keeps_lengths_when_it_widens() -> None:
    projector = FrozenOrthogonalProjector(3, 6, spatial_dims=3)
    x = torch.randn(2, 3, 2, 4, 5)
    out = projector(x)
    expected = torch.nn.functional.conv3d(x, projector.weight.view(6, 3, 1, 1, 1))
    assert torch.allclose(out, expected, atol=1e-6)
    assert torch.allclose(out.norm(dim=1), x.norm(dim=1), atol=1e-5)


def matched_rms(teacher_side: nn.Module | None, student_side: nn.Module | None) -> tuple[float, float]:
    """Train a one-layer student to match fixed teacher features; (loss, root mean square of the student features)."""
    torch.manual_seed(0)
    images, features = torch.randn(4, 3, 6, 6), torch.randn(4, 8, 6, 6)
    student = nn.Conv2d(3, 4, 1, bias=False)
    modules = [m for m in (student, teacher_side, student_side) if m is not None]
    optimizer = torch.optim.Adam([p for m in modules for p in m.parameters()], lr=0.02)
    for _ in range(400):
        ours = student(images)
        projected = ours if student_side is None else student_side(ours)
        target = features if teacher_side is None else teacher_side(features)
        loss = (projected - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return loss.item(), student(images).square().mean().sqrt().item()


def test_a_trained_projection_of_the_teacher_collapses_and_ours_do_not() -> None:
    # images and features are unrelated, so a small loss can only mean that the target has been moved
    trained = nn.Conv2d(8, 4, 1, bias=False)
    loss, rms = matched_rms(trained, None)
    assert loss < 1e-6 and rms < 1e-2 and trained.weight.square().mean().sqrt() < 1e-2

    frozen = FrozenOrthogonalProjector(8, 4)
    before = frozen.weight.clone()
    loss, rms = matched_rms(frozen, None)
    assert loss > 0.5 and rms > 0.05 and torch.equal(frozen.weight, before)

    loss, rms = matched_rms(None, ConvProjector(4, 8))
    assert loss > 0.5 and rms > 0.05


BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: ConvProjector(3, 4, 1), "spatial_dims is 1"),
    (lambda: ConvProjector(0, 4), "in_channels is 0"),
    (lambda: ConvProjector(3, 4, kernel=2), "kernel is 2"),
    (lambda: ConvProjector(3, 4, norm="layer"), "norm is 'layer'"),
    (lambda: ConvProjector(3, 4, act="gelu"), "act is 'gelu'"),
    (lambda: ConvProjector(3, 4)(torch.zeros(1, 2, 4, 4)), r"\[B, 3, \*S\] with 2 spatial axes"),
    (lambda: ConvProjector(3, 4)(torch.zeros(1, 3, 4, 4), (2, 2, 2)), r"the grid \(2, 2, 2\) has 3 axes"),
    (lambda: TokenProjector(3, 4, grid=(2,)), "spatial_dims is 1"),
    (lambda: TokenProjector(3, 4, grid=(2, 0)), r"grid is \(2, 0\)"),
    (lambda: TokenProjector(3, 0, grid=(2, 2)), "width is 0"),
    (lambda: TokenProjector(3, 4, grid=(2, 2))(torch.zeros(1, 3, 4, 4, 4)), "2 spatial axes"),
    (lambda: FrozenOrthogonalProjector(3, 4, 4), "spatial_dims is 4"),
    (lambda: FrozenOrthogonalProjector(3, 4)(torch.zeros(1, 4, 2, 2)), r"\[B, 3, \*S\]"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=lambda x: x[:30] if isinstance(x, str) else "")
def test_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_projectors_from_the_shapes_of_both_features():
    shape_s, shape_t = (2, 3, 8, 8), (2, 5, 4, 4)
    x = torch.rand(*shape_s)
    assert conv_projector(shape_s, shape_t)(x).shape == (2, 5, 8, 8)
    assert resizing_projector(shape_s, shape_t)(x).shape == shape_t
    made = regressor(shape_s, shape_t)(x)
    assert made.shape == shape_t and made.min() >= 0
    assert resizing_projector((2, 3, 8, 8, 8), (2, 5, 4, 4, 4))(torch.rand(2, 3, 8, 8, 8)).shape == (2, 5, 4, 4, 4)


def test_tokens_without_those_of_the_class():
    x = torch.rand(2, 3, 8, 8)
    assert token_projector((2, 3, 8, 8), (2, 17, 6))(x).shape == (2, 16, 6)
    assert token_projector((2, 3, 8, 8), (2, 16, 6), prefix=0)(x).shape == (2, 16, 6)
    assert token_projector((2, 3, 4, 4, 4), (2, 9, 6))(torch.rand(2, 3, 4, 4, 4)).shape == (2, 8, 6)
    with pytest.raises(ValueError, match="15 tokens after that of the class do not fill a grid of equal edges"):
        token_projector((2, 3, 8, 8), (2, 16, 6))
    with pytest.raises(ValueError, match="tokens need a student's map"):
        token_projector((2, 3), (2, 17, 6))
