"""Losses against slow NumPy loops that were written from the formulas alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

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
    KDLoss,
    MSGFFLoss,
    SimilarityLoss,
    SoftDiceKDLoss,
)

B, C, H, W = 2, 3, 4, 6


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return 2 * rng.normal(size=(B, C, H, W)), 2 * rng.normal(size=(B, C, H, W))


def run(loss: torch.nn.Module, student: np.ndarray, other: np.ndarray, **kwargs: np.ndarray) -> float:
    tensors = {name: torch.from_numpy(value) for name, value in kwargs.items()}
    return float(loss(torch.from_numpy(student), torch.from_numpy(other), **tensors).item())


def softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z) / np.exp(z).sum()


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def kl(p: np.ndarray, q: np.ndarray) -> float:
    return float((p * np.log(p / q)).sum())


def binary_kl(p: float, q: float) -> float:
    return float(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))


def positions() -> list[tuple[int, int, int]]:
    return [(b, i, j) for b in range(B) for i in range(H) for j in range(W)]


def test_softmax_soft_targets_with_a_mask(pair: tuple[np.ndarray, np.ndarray]) -> None:
    s, t = pair
    mask = np.random.default_rng(1).uniform(size=(B, 1, H, W)).round(1)
    total = 0.0
    for b, i, j in positions():
        total += mask[b, 0, i, j] * 9 * kl(softmax(t[b, :, i, j] / 3), softmax(s[b, :, i, j] / 3))
    assert run(KDLoss("softmax", 3.0), s, t, mask=mask) == pytest.approx(total / mask.sum(), rel=1e-10)


def test_binary_soft_targets_equal_the_two_class_form(pair: tuple[np.ndarray, np.ndarray]) -> None:
    s, t = pair
    channels = [
        np.mean([4 * binary_kl(sigmoid(t[b, c, i, j] / 2), sigmoid(s[b, c, i, j] / 2)) for b, i, j in positions()])
        for c in range(C)
    ]
    assert run(KDLoss("sigmoid"), s, t) == pytest.approx(np.mean(channels), rel=1e-10)
    assert run(KDLoss("sigmoid", channel="sum"), s, t) == pytest.approx(np.sum(channels), rel=1e-10)
    for c in range(C):
        two_s, two_t = (np.concatenate([z[:, c : c + 1], np.zeros_like(z[:, :1])], axis=1) for z in (s, t))
        assert run(KDLoss("softmax", 2.0), two_s, two_t) == pytest.approx(channels[c], rel=1e-10)
        assert run(KDLoss(), s[:, c : c + 1], t[:, c : c + 1]) == pytest.approx(channels[c], rel=1e-10)


def test_gradients_of_soft_targets_have_their_closed_form(pair: tuple[np.ndarray, np.ndarray]) -> None:
    s, t = (torch.from_numpy(x) for x in pair)
    leaf = s.clone().requires_grad_()
    KDLoss("softmax", 3.0)(leaf, t).backward()
    expected = 3.0 * (torch.softmax(s / 3, 1) - torch.softmax(t / 3, 1)) / (B * H * W)
    assert leaf.grad is not None and torch.allclose(leaf.grad, expected, atol=1e-12)
    leaf = s.clone().requires_grad_()
    KDLoss("sigmoid", 3.0)(leaf, t).backward()
    expected = 3.0 * (torch.sigmoid(s / 3) - torch.sigmoid(t / 3)) / s.numel()
    assert leaf.grad is not None and torch.allclose(leaf.grad, expected, atol=1e-12)


def test_balance_is_the_mean_of_the_two_means(pair: tuple[np.ndarray, np.ndarray]) -> None:
    s, t = pair
    t[:, 2] = -np.abs(t[:, 2])  # the third channel has no foreground: its plain mean counts
    values = run_none = KDLoss("sigmoid", reduction="none")(torch.from_numpy(s), torch.from_numpy(t)).numpy()
    expected = []
    for c in range(C):
        foreground = [values[b, c, i, j] for b, i, j in positions() if t[b, c, i, j] > 0]
        background = [values[b, c, i, j] for b, i, j in positions() if t[b, c, i, j] <= 0]
        expected.append((np.mean(foreground) + np.mean(background)) / 2 if foreground else np.mean(background))
    assert run(KDLoss("sigmoid", balance="fg_bg"), s, t) == pytest.approx(np.mean(expected), rel=1e-10)
    assert run_none.shape == s.shape


def test_temperature_hands_the_binary_loss_to_the_background() -> None:
    teacher = torch.full((1, 1, 10, 10), -6.0, dtype=torch.float64)
    teacher.view(-1)[:3] = 4.0
    student = teacher - teacher.sign()  # an error of one unit everywhere, towards indecision
    shares = []
    for temperature in (1.0, 2.0, 4.0):
        values = KDLoss(temperature=temperature, reduction="none")(student, teacher).view(-1)
        shares.append(round(100 * (values[3:].sum() / values.sum()).item()))
    assert shares == [82, 93, 96]
    balanced = KDLoss(temperature=1.0, balance="fg_bg", reduction="mean")(student, teacher)
    values = KDLoss(temperature=1.0, reduction="none")(student, teacher).view(-1)
    assert balanced.item() == pytest.approx(0.5 * values[:3].mean().item() + 0.5 * values[3:].mean().item())


def test_soft_dice(pair: tuple[np.ndarray, np.ndarray]) -> None:
    s, t = pair
    losses = []
    for b in range(B):
        for c in range(C):
            p, q = sigmoid(s[b, c]), sigmoid(t[b, c])
            losses.append(1 - (2 * (p * q).sum() + 1e-5) / ((p * p).sum() + (q * q).sum() + 1e-5))
    assert run(SoftDiceKDLoss("sigmoid"), s, t) == pytest.approx(np.mean(losses), rel=1e-10)


def test_channel_l2_features(pair: tuple[np.ndarray, np.ndarray]) -> None:
    s, t = pair
    total = 0.0
    for b, i, j in positions():
        u, v = s[b, :, i, j], t[b, :, i, j]
        total += ((u / np.linalg.norm(u) - v / np.linalg.norm(v)) ** 2).sum()
    assert run(FeatureMSELoss("channel_l2"), s, t) == pytest.approx(total / (B * H * W), rel=1e-10)
    assert run(FeatureMSELoss("channel_l2"), 7 * s, t) == pytest.approx(total / (B * H * W), rel=1e-10)


def test_tokens_are_normalised_along_their_last_axis() -> None:
    rng = np.random.default_rng(0)
    s, t = rng.normal(size=(2, 5, 8)), rng.normal(size=(2, 5, 8))
    total = 0.0
    for b in range(2):
        for n in range(5):
            u, v = ((x[b, n] - x[b, n].mean()) / np.sqrt(x[b, n].var() + 1e-6) for x in (s, t))
            total += ((u - v) ** 2).mean()
    assert run(FeatureMSELoss("layernorm", channel_dim=-1), s, t) == pytest.approx(total / 10, rel=1e-9)


def test_msgff_pools_maps_of_different_sizes() -> None:
    rng = np.random.default_rng(0)
    s, t = rng.normal(size=(2, 3, 4, 4)), rng.normal(size=(2, 3, 8, 8))
    terms = []
    for k in (4, 1, 2):  # the native resolution is the smaller grid, 4 x 4
        hs, ht = 4 // k, 8 // k
        cells = []
        for i in range(k):
            for j in range(k):
                a = s[:, :, i * hs : (i + 1) * hs, j * hs : (j + 1) * hs].mean(axis=(2, 3))
                b = t[:, :, i * ht : (i + 1) * ht, j * ht : (j + 1) * ht].mean(axis=(2, 3))
                cells.append((a - b) ** 2)
        terms.append(np.mean(cells))
    assert run(MSGFFLoss(scales=(None, 1, 2)), s, t) == pytest.approx(np.mean(terms), rel=1e-10)


@pytest.mark.parametrize("exponent", [1.0, 2.0, 3.0])
def test_attention_transfer_of_maps_of_different_sizes(exponent: float) -> None:
    rng = np.random.default_rng(0)
    s, t = rng.normal(size=(2, 3, 4, 4)), rng.normal(size=(2, 5, 8, 8))
    total = 0.0
    for b in range(2):
        a = (np.abs(s[b]) ** exponent).sum(axis=0)
        big = (np.abs(t[b]) ** exponent).sum(axis=0)
        small = np.array([[big[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(4)] for i in range(4)])
        total += ((a / np.linalg.norm(a) - small / np.linalg.norm(small)) ** 2).sum()
    assert run(AttentionTransferLoss(exponent=exponent), s, t) == pytest.approx(total / 2, rel=1e-10)


def sobel_loop(image: np.ndarray) -> np.ndarray:
    """Sobel magnitude with replicated borders, any number of axes, unnormalised kernel."""
    padded = np.pad(image, 1, mode="edge")
    out = np.zeros_like(image)
    for index in np.ndindex(*image.shape):
        squares = 0.0
        for axis in range(image.ndim):
            value = 0.0
            for offset in np.ndindex(*(3,) * image.ndim):
                weight = float(offset[axis] - 1)
                for other in range(image.ndim):
                    if other != axis:
                        weight *= (1, 2, 1)[offset[other]]
                value += weight * padded[tuple(i + o for i, o in zip(index, offset))]
            squares += value**2
        out[index] = np.sqrt(squares)
    return out


@pytest.mark.parametrize("size", [(5, 6), (3, 4, 5)])
def test_edges(size: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    s, y = rng.normal(size=(2, 2, *size)), (rng.uniform(size=(2, 2, *size)) > 0.5).astype(float)
    scale = 8 if len(size) == 2 else 32
    total = [
        np.abs(sobel_loop(sigmoid(s[b, c])) - sobel_loop(y[b, c])).mean() / scale for b in range(2) for c in range(2)
    ]
    assert run(EdgeLoss(link="sigmoid", stab=0), s, y) == pytest.approx(np.mean(total), rel=1e-10)


def test_channel_wise(pair: tuple[np.ndarray, np.ndarray]) -> None:
    s, t = pair
    total = np.mean([4 * kl(softmax(t[b, c] / 2), softmax(s[b, c] / 2)) for b in range(B) for c in range(C)])
    assert run(ChannelWiseLoss(2.0), s, t) == pytest.approx(total, rel=1e-10)
    offset = s + np.arange(C).reshape(1, C, 1, 1)
    assert run(ChannelWiseLoss(), s, offset) == pytest.approx(0, abs=1e-12)


def test_decoupled_and_its_identity_with_soft_targets(pair: tuple[np.ndarray, np.ndarray]) -> None:
    s, t = pair
    labels = np.random.default_rng(0).integers(0, C, size=(B, H, W))
    total, as_plain, plain = 0.0, 0.0, 0.0
    for b, i, j in positions():
        y, p, q = labels[b, i, j], softmax(t[b, :, i, j] / 4), softmax(s[b, :, i, j] / 4)
        of_target = 16 * binary_kl(p[y], q[y])
        of_rest = 16 * kl(np.delete(p, y) / (1 - p[y]), np.delete(q, y) / (1 - q[y]))
        total += of_target + 8 * of_rest
        as_plain += of_target + (1 - p[y]) * of_rest
        plain += 16 * kl(p, q)
    count = B * H * W
    assert run(DKDLoss(), s, t, target=labels) == pytest.approx(total / count, rel=1e-10)
    assert as_plain == pytest.approx(plain, rel=1e-10)
    assert run(KDLoss("softmax", 4.0), s, t) == pytest.approx(as_plain / count, rel=1e-10)
    two = run(DKDLoss(alpha=0), s[:, :2], t[:, :2], target=np.minimum(labels, 1))
    assert two == pytest.approx(0, abs=1e-12)


def test_dist_with_and_without_a_mask(pair: tuple[np.ndarray, np.ndarray]) -> None:
    s, t = pair
    for mask in (np.ones((B, 1, H, W)), (np.random.default_rng(1).uniform(size=(B, 1, H, W)) > 0.4).astype(float)):
        kept = [(b, i, j) for b, i, j in positions() if mask[b, 0, i, j]]
        rows_s = np.array([softmax(s[b, :, i, j]) for b, i, j in kept])
        rows_t = np.array([softmax(t[b, :, i, j]) for b, i, j in kept])
        inter = 1 - np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(rows_s, rows_t)])
        intra = 1 - np.mean([np.corrcoef(rows_s[:, c], rows_t[:, c])[0, 1] for c in range(C)])
        value = run(DISTLoss(beta=2.0, gamma=3.0, link="softmax"), s, t, mask=mask)
        assert value == pytest.approx(2 * inter + 3 * intra, rel=1e-6)


def test_similarity_of_different_shapes() -> None:
    rng = np.random.default_rng(0)
    s, t = rng.normal(size=(4, 3, 5, 5)), rng.normal(size=(4, 7))
    grams = []
    for x in (s.reshape(4, -1), t):
        gram = np.array([[a @ b for b in x] for a in x])
        grams.append(np.array([row / np.linalg.norm(row) for row in gram]))
    assert run(SimilarityLoss(), s, t) == pytest.approx(((grams[0] - grams[1]) ** 2).sum() / 16, rel=1e-10)


def test_coordinate_of_volumes() -> None:
    rng = np.random.default_rng(0)
    s, t = rng.normal(size=(2, 2, 3, 4, 5)), rng.normal(size=(2, 2, 3, 4, 5))
    total = 0.0
    for b in range(2):
        for others in ((2, 3), (1, 3), (1, 2)):
            u, v = s[b].mean(axis=others).ravel(), t[b].mean(axis=others).ravel()
            total += ((u / np.linalg.norm(u) - v / np.linalg.norm(v)) ** 2).sum()
    assert run(CoordinateLoss(), s, t) == pytest.approx(total / 2, rel=1e-10)


def test_class_affinity(pair: tuple[np.ndarray, np.ndarray]) -> None:
    values = []
    for b in range(B):
        matrices = []
        for z in (pair[0][b], pair[1][b]):
            maps = np.array([softmax(z[:, i, j]) for i in range(H) for j in range(W)]).T
            maps = np.array([row / np.linalg.norm(row) for row in maps])
            matrices.append(np.array([[a @ c for c in maps] for a in maps]).ravel())
        cosine = matrices[0] @ matrices[1] / np.linalg.norm(matrices[0]) / np.linalg.norm(matrices[1])
        values.append(1 - cosine)
    assert run(ClassAffinityLoss(), *pair) == pytest.approx(np.mean(values), rel=1e-9)


def test_combination_with_an_ignored_label(pair: tuple[np.ndarray, np.ndarray]) -> None:
    logits = pair[0]
    labels = np.random.default_rng(0).integers(0, C, size=(B, 1, H, W))
    labels[0, 0, 0] = 255
    dice, jaccard, entropy = [], [], []
    for b in range(B):
        kept = [(i, j) for i in range(H) for j in range(W) if labels[b, 0, i, j] != 255]
        p = np.array([softmax(logits[b, :, i, j]) for i, j in kept])
        y = np.array([np.eye(C)[labels[b, 0, i, j]] for i, j in kept])
        entropy += [-np.log((a * b).sum()) for a, b in zip(p, y)]
        for c in range(C):
            overlap, sizes = (p[:, c] * y[:, c]).sum(), p[:, c].sum() + y[:, c].sum()
            dice.append(1 - (2 * overlap + 1e-7) / (sizes + 1e-7))
            jaccard.append(1 - (overlap + 1e-7) / (sizes - overlap + 1e-7))
    expected = (np.mean(dice) + np.mean(jaccard) + np.mean(entropy)) / 3
    value = run(CombinationLoss(ignore_index=255), logits, labels, target=labels)
    assert value == pytest.approx(expected, rel=1e-9)


logits = arrays(np.float32, (2, 1, 3, 3), elements=st.floats(-500, 500, width=32, allow_subnormal=False))


@settings(max_examples=40, deadline=None)
@given(student=logits, teacher=logits, temperature=st.sampled_from([0.5, 1.0, 4.0, 20.0]))
def test_binary_soft_targets_are_finite_and_not_negative(
    student: np.ndarray, teacher: np.ndarray, temperature: float
) -> None:
    leaf = torch.from_numpy(student).requires_grad_()
    value = KDLoss(temperature=temperature)(leaf, torch.from_numpy(teacher))
    value.backward()
    assert torch.isfinite(value) and value.item() >= -1e-4
    assert leaf.grad is not None and torch.isfinite(leaf.grad).all()
    assert SoftDiceKDLoss()(leaf, torch.from_numpy(teacher)).item() >= 0
