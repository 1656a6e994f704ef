"""Losses that normalise features: next to nothing of a feature must not become a gradient without bounds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from ckdmed.losses import (
    AttentionTransferLoss,
    CoordinateLoss,
    FeatureMSELoss,
    KDLoss,
    PrototypeLoss,
    RegionContrastLoss,
    RelationalLoss,
    SimilarityLoss,
)

SHAPE = (4, 6, 5, 5)
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
MASKS = (torch.rand(4, 2, 5, 5, generator=torch.Generator().manual_seed(5)) > 0.5).double()

LOSSES: dict[str, Loss] = {
    "similarity": SimilarityLoss(),
    "relational": RelationalLoss(),
    "contrast": lambda s, t: RegionContrastLoss()(s, t, MASKS),
    "prototypes": lambda s, t: PrototypeLoss()(s, t, MASKS),
    "attention": AttentionTransferLoss(),
    "attention-4": AttentionTransferLoss(exponent=4),
    "attention-paper": AttentionTransferLoss("paper"),
    "attention-seed": AttentionTransferLoss("seed"),
    "coordinate": CoordinateLoss(),
    "channel-l2": FeatureMSELoss("channel_l2"),
    "standardized": KDLoss("softmax", standardize=True),
}
each = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def _features(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _sample(features: torch.Tensor, size: float) -> torch.Tensor:
    features[0] *= size
    return features


def _equal_samples(features: torch.Tensor, size: float) -> torch.Tensor:
    features[1] = features[0] + size * features[1]
    return features


def _position(features: torch.Tensor, size: float) -> torch.Tensor:
    features[:, :, 0, 0] *= size
    return features


def _everything(features: torch.Tensor, size: float) -> torch.Tensor:
    return features * size


@each
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("vanish", [_sample, _equal_samples, _position, _everything])
def test_the_gradient_is_bounded(
    loss: Loss, vanish: Callable[[torch.Tensor, float], torch.Tensor], dtype: torch.dtype
) -> None:
    teacher = _features(1)
    for size in (0.0, 1e-20, 1e-12, 1e-8, 1e-5):
        student = vanish(_features(0), size).to(dtype).requires_grad_()
        value = loss(student, teacher.to(dtype))
        value.backward()
        assert torch.isfinite(value) and student.grad is not None
        assert student.grad.abs().max() < 3000, size


@each
@pytest.mark.parametrize("size", [1e-5, 1e-2, 1.0])
def test_it_is_the_gradient_below_the_bound_as_above(loss: Loss, size: float) -> None:
    student, teacher = _features(0).mul(size).requires_grad_(), _features(1)
    way = _features(2)
    (gradient,) = torch.autograd.grad(loss(student, teacher), student)
    step = 1e-4 * size
    with torch.no_grad():
        rise = (loss(student + step * way, teacher) - loss(student - step * way, teacher)) / (2 * step)
    torch.testing.assert_close((gradient * way).sum(), rise, rtol=1e-4, atol=1e-8)


def test_values_of_ordinary_features_are_those_of_the_formulas() -> None:
    student, teacher = _features(0).mul(0.1), _features(1).relu()
    grams = [F.normalize(x.flatten(1) @ x.flatten(1).T, dim=1, eps=0) for x in (student, teacher)]
    torch.testing.assert_close(
        SimilarityLoss()(student, teacher), (grams[0] - grams[1]).square().sum() / 16, rtol=1e-12, atol=0
    )
    for name in ("relational", "contrast", "prototypes", "attention", "attention-4"):
        # none of them changes with the scale, as long as no bound is in force
        torch.testing.assert_close(LOSSES[name](student, teacher), LOSSES[name](16 * student, teacher))
