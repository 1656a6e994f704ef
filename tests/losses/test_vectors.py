"""Hand-worked values in float64, to 1e-7."""

from __future__ import annotations

import math

import pytest
import torch

from ckdmed.losses import (
    AttentionTransferLoss,
    ChannelWiseLoss,
    ClassAffinityLoss,
    CombinationLoss,
    CoordinateLoss,
    DISTLoss,
    DKDLoss,
    EdgeLoss,
    FeatureMSELoss,
    HCLoss,
    KDLoss,
    LogitMSELoss,
    MSGFFLoss,
    ProbMSELoss,
    SimilarityLoss,
    SobelMagnitude,
    SoftDiceKDLoss,
    attention_map,
    decoupled_divergences,
)
from ckdmed.losses.class_affinity import class_affinity
from ckdmed.losses.soft_targets import standardize_logits

MULTI_S = torch.tensor([[1.0, 0, -1], [0.5, 0.5, 0]], dtype=torch.float64)
MULTI_T = torch.tensor([[2.0, 0, -2], [0, 3, 0]], dtype=torch.float64)
MULTI_Y = torch.tensor([0, 1])
BINARY_S = torch.tensor([0.0, 1, -2, 3], dtype=torch.float64).view(1, 1, 2, 2)
BINARY_T = torch.tensor([2.0, 1, -4, 0], dtype=torch.float64).view(1, 1, 2, 2)
F_MAP = torch.arange(1.0, 9.0, dtype=torch.float64).view(1, 2, 2, 2)
G_MAP = torch.tensor([[[[1.0, 1], [1, 1]], [[0, 2], [0, 2]]]], dtype=torch.float64)


def close(value: torch.Tensor, expected: float, tolerance: float = 1e-7) -> bool:
    return abs(value.item() - expected) <= tolerance


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 0.36483840), (2.0, 0.57807020), (4.0, 0.62926944)])
def test_softmax_soft_targets(temperature: float, expected: float) -> None:
    assert close(KDLoss("softmax", temperature)(MULTI_S, MULTI_T), expected)


def test_softmax_soft_targets_at_a_high_temperature() -> None:
    difference = MULTI_S - MULTI_T
    limit = (difference - difference.mean(dim=1, keepdim=True)).square().sum(dim=1).mean() / (2 * 3)
    assert close(limit, 0.59722222, 1e-8)
    assert close(KDLoss("softmax", 1e4)(MULTI_S, MULTI_T), 0.59722222, 5e-5)


def test_the_classification_total() -> None:
    cross_entropy = torch.nn.functional.cross_entropy(MULTI_S, MULTI_Y)
    assert close(cross_entropy, 0.68281303)
    assert close(0.1 * cross_entropy + 0.9 * KDLoss("softmax")(MULTI_S, MULTI_T), 0.63462380)


def test_decoupled() -> None:
    of_target, of_rest = decoupled_divergences(MULTI_S, MULTI_T, MULTI_Y, 4.0)
    assert close(of_target.mean(), 0.59216247) and close(of_rest.mean(), 0.07543299)
    assert close(DKDLoss()(MULTI_S, MULTI_T, target=MULTI_Y), 1.19562635)


def test_correlation_of_classes() -> None:
    assert close(DISTLoss(gamma=0, link="softmax")(MULTI_S, MULTI_T), 0.25588142)
    assert close(DISTLoss(beta=0, link="softmax")(MULTI_S, MULTI_T), 1.68e-6, 5e-8)


def test_standardised_logits() -> None:
    assert torch.allclose(standardize_logits(MULTI_T)[0], MULTI_S[0], atol=2e-7)


@pytest.mark.parametrize(
    ("temperature", "each", "mean"),
    [
        (1.0, [0.32781333, 0, 0.07280566, 0.85544017], 0.31401479),
        (2.0, [0.44377629, 0, 0.26852302, 1.03306439], 0.43634092),
        (4.0, [0.48479779, 0, 0.42151338, 1.09958121], 0.50147309),
    ],
)
def test_binary_soft_targets(temperature: float, each: list[float], mean: float) -> None:
    values = KDLoss(temperature=temperature, reduction="none")(BINARY_S, BINARY_T)
    assert torch.allclose(values.flatten(), torch.tensor(each, dtype=torch.float64), rtol=0, atol=1e-7)
    assert close(KDLoss(temperature=temperature)(BINARY_S, BINARY_T), mean)
    assert close(KDLoss(temperature=temperature, reduction="sum")(BINARY_S, BINARY_T), 4 * mean, 4e-7)


def test_binary_soft_targets_at_a_high_temperature() -> None:
    assert close((BINARY_S - BINARY_T).square().mean() / 8, 0.53125)
    assert close(KDLoss(temperature=1e3)(BINARY_S, BINARY_T), 0.53125, 5e-6)


@pytest.mark.parametrize(("tau", "binary", "features"), [(1, 1.82161380, 0.52740346), (4, 2.02732110, 0.61703292)])
def test_channel_wise(tau: float, binary: float, features: float) -> None:
    assert close(ChannelWiseLoss(tau)(BINARY_S, BINARY_T), binary)
    assert close(ChannelWiseLoss(tau)(F_MAP, G_MAP), features)


def test_logit_and_probability_distance() -> None:
    assert close(10 * ProbMSELoss()(BINARY_S, BINARY_T), 0.90018644)
    mask_logits = torch.tensor([1.0, 1, 0, 0], dtype=torch.float64).view(1, 1, 2, 2)
    assert close(LogitMSELoss()(BINARY_S, BINARY_T), 4.25)
    assert close(LogitMSELoss(literal_temperature=4.0)(BINARY_S, BINARY_T), 68.0)
    bce = torch.nn.functional.binary_cross_entropy_with_logits(BINARY_S, mask_logits)
    assert close(0.1 * bce + 0.9 * LogitMSELoss(4.0)(BINARY_S, BINARY_T), 61.30454811)
    assert close(0.1 * bce + 0.9 * LogitMSELoss()(BINARY_S, BINARY_T), 3.92954811)


def test_soft_dice_squares_its_denominator() -> None:
    assert close(SoftDiceKDLoss()(BINARY_S, BINARY_T), 0.11022790)
    assert SoftDiceKDLoss()(BINARY_T, BINARY_T).item() == 0
    q = torch.sigmoid(BINARY_T)
    linear = 1 - 2 * (q * q).sum() / (2 * q.sum())
    assert close(linear, 0.26728129, 2e-6)


def test_dist_of_sigmoid_values() -> None:
    assert close(DISTLoss()(BINARY_S, BINARY_T), 0.43609595)


def test_features() -> None:
    assert close(FeatureMSELoss()(F_MAP, G_MAP), 17.5)
    assert close(FeatureMSELoss(reduction="sum")(F_MAP, G_MAP), 140)
    assert close(MSGFFLoss(scales=(1,))(F_MAP, G_MAP), 16.25)
    assert close(MSGFFLoss(scales=(1, 2))(F_MAP, G_MAP), 16.875)


def test_attention_maps() -> None:
    assert attention_map(F_MAP).flatten().tolist() == [26, 40, 58, 80]
    assert attention_map(G_MAP).flatten().tolist() == [1, 5, 1, 5]


@pytest.mark.parametrize(
    ("variant", "expected"),
    [("l2sum", 0.27109479), ("code", 0.06777370), ("paper", 0.52066764), ("seed", 1.46559016)],
)
def test_attention_transfer(variant: str, expected: float) -> None:
    assert close(AttentionTransferLoss(variant)(F_MAP, G_MAP), expected)


def test_importance_maps() -> None:
    assert close(AttentionTransferLoss(exponent=4)(F_MAP, G_MAP), 0.41768436)


def test_coordinate() -> None:
    assert close(CoordinateLoss()(F_MAP, G_MAP), 0.64183947)


def test_class_affinity() -> None:
    assert close(class_affinity(F_MAP.flatten(2))[0, 0, 1], 0.96886393)
    assert close(class_affinity(G_MAP.flatten(2))[0, 0, 1], 0.70710678)
    # unit diagonals: cos of (1, a, a, 1) and (1, b, b, 1)
    log_odds = [torch.log(x / (10 - x)) for x in (F_MAP, G_MAP + 1)]
    a, b = (class_affinity((x / 10).flatten(2))[0, 0, 1].item() for x in (F_MAP, G_MAP + 1))
    cosine = (1 + a * b) / math.sqrt((1 + a * a) * (1 + b * b))
    assert close(ClassAffinityLoss("sigmoid")(*log_odds), 1 - cosine)


def test_relations() -> None:
    ours = torch.tensor([[1.0, 0], [0, 1], [1, 1]], dtype=torch.float64)
    theirs = torch.tensor([[1.0, 1], [0, 1], [1, 0]], dtype=torch.float64)
    assert close(SimilarityLoss()(ours, theirs), 0.17065538)
    grid = torch.arange(16.0, dtype=torch.float64).view(1, 1, 4, 4)
    assert close(HCLoss()(grid, grid.flip(3)), 4.0)


def test_sobel_of_half_a_mask() -> None:
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    mask[..., 2:] = 1
    replicate = SobelMagnitude(2, normalize=False, stab=0)(mask)
    assert replicate[0, 0].tolist() == [[0, 4, 4, 0]] * 4
    zeros = SobelMagnitude(2, normalize=False, padding="zeros", stab=0)(mask)[0, 0]
    outer = torch.tensor([0, 3.16227766, 4.24264069, 4.24264069], dtype=torch.float64)
    assert torch.allclose(zeros[0], outer, atol=1e-8) and torch.allclose(zeros[3], outer, atol=1e-8)
    assert zeros[1:3].tolist() == [[0, 4, 4, 4]] * 2
    assert SobelMagnitude(2, stab=0)(mask)[0, 0].tolist() == [[0, 0.5, 0.5, 0]] * 4


def test_edges_of_half_a_mask_against_a_constant() -> None:
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    mask[..., 2:] = 1
    half = torch.zeros_like(mask)
    assert close(EdgeLoss(normalize=False, stab=0)(half, mask), 2.0)
    # zero padding gives the flat map edges of its own along the border
    assert close(EdgeLoss(normalize=False, padding="zeros", stab=0)(half, mask), 2.45594488)


def test_combination() -> None:
    logits = torch.zeros(1, 2, 1, 1, 2, dtype=torch.float64)
    logits[0, 1, 0, 0, 1] = 2
    labels = torch.tensor([0, 1]).view(1, 1, 1, 1, 2)
    dice, jaccard, cross_entropy = 0.67875278, 0.51697224, 0.41003760
    assert close(CombinationLoss()(logits, labels), 0.40477086, 2e-7)
    assert 0.40477086 == pytest.approx(((1 - dice) + (1 - jaccard) + cross_entropy) / 3, abs=1e-8)
    assert close(CombinationLoss("repo")(logits, labels), 0.55467215, 2e-7)
