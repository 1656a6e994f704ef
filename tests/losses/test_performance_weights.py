from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ckdmed.losses import KDLoss, PCRLoss, PerformanceWeightedLoss, SoftDiceKDLoss, TeacherShares, performance_weights

S = torch.tensor([0.0, 1, -2, 3], dtype=torch.float64).reshape(1, 1, 2, 2)
T = torch.tensor([2.0, 1, -4, 0], dtype=torch.float64).reshape(1, 1, 2, 2)


def shares(*performances: list[float], channels: int = 1) -> TeacherShares:
    made = TeacherShares(len(performances), channels)
    made.update(list(performances))
    return made


def test_published_vector() -> None:
    weights = performance_weights([0.887, 0.890, 0.837], total=0.15)
    torch.testing.assert_close(weights, torch.tensor([0.05089901, 0.05107116, 0.04802984]).double(), atol=5e-9, rtol=0)
    assert weights.sum().item() == pytest.approx(0.15) and weights.argmax() == 1


def test_equal_where_nothing_tells_them_apart_and_unmeasured_count_as_the_mean() -> None:
    assert performance_weights([0.0, 0.0]).tolist() == [0.5, 0.5]
    assert performance_weights([math.nan] * 4).tolist() == [0.25] * 4
    # (.2 + .6) / 2 = .4 for the third: .2 + .6 + .4 = 1.2
    torch.testing.assert_close(
        performance_weights([0.2, 0.6, math.nan]), torch.tensor([1 / 6, 0.5, 1 / 3], dtype=torch.float64)
    )
    by_channel = performance_weights(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
    assert by_channel.tolist() == [[0.25, 0.5], [0.75, 0.5]]


@pytest.mark.parametrize("wrong", [[], [-0.1, 0.5], [math.inf, 1.0], 0.5, [[[1.0]]]])
def test_performances_that_are_none(wrong: object) -> None:
    with pytest.raises(ValueError, match="performances"):
        performance_weights(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="total"):
        performance_weights([1.0], total=0)


def test_shares_start_equal_are_restored_and_check_their_shape() -> None:
    one, other = TeacherShares(3), TeacherShares(3)
    assert one.shares.flatten().tolist() == [1 / 3] * 3
    # mean over the measured channels: .5, .25, .25
    one.update([[0.2, 0.8], [0.25, math.nan], [0.0, 0.5]])
    torch.testing.assert_close(one.shares[:, 0], torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.shares, other.shares)
    with pytest.raises(ValueError, match=r"shape \(2, 1\); 3 teachers"):
        one.update([[1.0], [1.0]])
    with pytest.raises(ValueError, match="at least one teacher"):
        TeacherShares(0)


def test_weighted_sum_by_hand() -> None:
    # teacher 1 is the toy teacher (mean .43634092 at T 2), teacher 2 the student itself (0)
    loss = PCRLoss(shares([0.9], [0.3]), "sigmoid")
    assert loss(S, torch.cat([T, S], dim=1)).item() == pytest.approx(0.75 * 0.43634092, abs=1e-7)
    assert loss(S, torch.cat([S, S], dim=1)).item() == pytest.approx(0, abs=1e-12)


def test_shares_by_channel_by_hand() -> None:
    # channel 0: only teacher 1 counts; channel 1: only teacher 2
    given = shares([1.0, 0.0], [0.0, 1.0], channels=2)
    student = torch.cat([S, S], dim=1)
    teachers = torch.cat([T, T, S, S], dim=1)
    assert PCRLoss(given, "sigmoid")(student, teachers).item() == pytest.approx(0.43634092 / 2, abs=1e-7)
    dice = PerformanceWeightedLoss(given, SoftDiceKDLoss("sigmoid"))
    # the vector's denominator has no stabiliser
    assert dice(student, teachers).item() == pytest.approx(0.11022790 / 2, abs=1e-5)
    equal = TeacherShares(2, 2)
    torch.testing.assert_close(
        PCRLoss(equal, "sigmoid")(student, teachers), PCRLoss(TeacherShares(2), "sigmoid")(student, teachers)
    )


def test_softmax_against_numpy() -> None:
    rng = np.random.default_rng(0)
    student, *teachers = rng.normal(size=(3, 2, 4, 3, 3))
    weights = [0.8, 0.2]

    def softened(z: np.ndarray) -> np.ndarray:
        e = np.exp(z / 4 - (z / 4).max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    expected = sum(
        w * 16 * (softened(t) * np.log(softened(t) / softened(student))).sum(axis=1).mean()
        for w, t in zip(weights, teachers)
    )
    joined = torch.from_numpy(np.concatenate(teachers, axis=1))
    got = PCRLoss(shares([0.4], [0.1]), "softmax")(torch.from_numpy(student), joined)
    assert got.item() == pytest.approx(expected, rel=1e-9)


def test_repo_scale_is_positions_over_temperature_times_ours() -> None:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(2, 4, 4, 4, 4, generator=generator, dtype=torch.float64)
    teachers = torch.randn(2, 8, 4, 4, 4, generator=generator, dtype=torch.float64)
    given = shares([0.5], [0.7])
    ours = PCRLoss(given, "softmax", temperature=20.0)(student, teachers)
    repo = PCRLoss(given, "softmax", mode="repo")(student, teachers)
    assert (repo / ours).item() == pytest.approx(4**3 / 20)
    # the published line, T * kl_div(log_softmax(s / T), softmax(t / T), reduction="batchmean")
    printed = sum(
        weight
        * 20
        * torch.nn.functional.kl_div(
            torch.log_softmax(student / 20, 1), torch.softmax(one / 20, 1), reduction="batchmean"
        )
        for weight, one in zip(given.shares[:, 0], teachers.chunk(2, dim=1))
    )
    torch.testing.assert_close(repo, printed)


def test_repo_scale_is_the_same_of_shares_by_channel() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teachers = torch.randn(2, 3, 4, 4, generator=generator), torch.randn(2, 6, 4, 4, generator=generator)
    mask = torch.ones(2, 1, 4, 4)
    mask[:, :, :2] = 0
    for given in ({}, {"mask": mask}):
        one, each = (PCRLoss(TeacherShares(2, n), mode="repo")(student, teachers, **given) for n in (1, 3))
        torch.testing.assert_close(each, one)


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_gradcheck_and_no_gradient_to_the_teachers(link: str) -> None:
    generator = torch.Generator().manual_seed(1)
    student = torch.randn(2, 2, 2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    teachers = torch.randn(2, 6, 2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    loss = PCRLoss(shares([0.5], [0.6], [0.1]), link)
    assert torch.autograd.gradcheck(lambda s: loss(s, teachers), (student,))
    loss(student, teachers).backward()
    assert teachers.grad is None and student.grad is not None and student.grad.abs().max() > 1e-4
    assert loss.shares.shares.grad is None


@pytest.mark.parametrize("channels", [1, 3])
def test_dimensions_tiling_masks_and_half_precision(channels: int) -> None:
    generator = torch.Generator().manual_seed(2)
    student, teachers = torch.randn(2, 3, 4, 6, generator=generator), torch.randn(2, 6, 4, 6, generator=generator)
    loss = PCRLoss(shares([0.9, 0.2, 0.4], [0.5, 0.5, 0.0], channels=channels), "sigmoid")
    value = loss(student, teachers)
    torch.testing.assert_close(loss(student.unsqueeze(2), teachers.unsqueeze(2)), value)
    torch.testing.assert_close(loss(student.tile(2, 1, 2, 2), teachers.tile(2, 1, 2, 2)), value)
    mask = torch.zeros(2, 1, 4, 6)
    mask[..., :3] = 1
    torch.testing.assert_close(loss(student, teachers, mask=mask), loss(student[..., :3], teachers[..., :3]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(student, teachers), value)
    assert torch.isfinite(loss(torch.full((1, 3, 2, 2), 60.0).half(), torch.full((1, 6, 2, 2), -60.0).half()))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="not one per channel"):
        PCRLoss(TeacherShares(2, 3), "softmax")
    with pytest.raises(ValueError, match="need 6 channels on the same grid"):
        PCRLoss(TeacherShares(2), "sigmoid")(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2))
    with pytest.raises(ValueError, match="2 shares per teacher, but 3 channels"):
        PCRLoss(TeacherShares(2, 2), "sigmoid")(torch.zeros(1, 3, 2, 2), torch.zeros(1, 6, 2, 2))
    with pytest.raises(ValueError, match="mode"):
        PCRLoss(TeacherShares(2), "sigmoid", mode="paper")
    assert isinstance(PCRLoss(TeacherShares(1)).loss, KDLoss)
