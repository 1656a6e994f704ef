"""What the losses refuse, what they warn about, and why."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor

from ckdmed.losses import (
    AttentionTransferLoss,
    BCEDiceLoss,
    ChannelWiseLoss,
    ClassAffinityLoss,
    CombinationLoss,
    CoordinateLoss,
    DISTLoss,
    DKDLoss,
    EdgeLoss,
    FeatureMSELoss,
    HardPseudoLabelLoss,
    HCLoss,
    KDLoss,
    LogitMSELoss,
    MSGFFLoss,
    ProbMSELoss,
    SimilarityLoss,
    SobelMagnitude,
    SoftDiceKDLoss,
    match_grids,
    pool_to,
    resize_to,
    soft_target_divergence,
)

LINKED = [KDLoss, ProbMSELoss, SoftDiceKDLoss, DISTLoss, HardPseudoLabelLoss]


def test_softmax_of_one_channel_would_teach_nothing() -> None:
    student = torch.randn(1, 1, 4, 4, requires_grad=True)
    log_s, log_t = F.log_softmax(student, dim=1), F.log_softmax(torch.randn(1, 1, 4, 4), dim=1)
    value = F.kl_div(log_s, log_t, log_target=True, reduction="sum")
    value.backward()
    assert value.item() == 0 and student.grad is not None and not student.grad.any()


@pytest.mark.parametrize("make", LINKED)
def test_softmax_of_one_channel_is_refused(make: Callable[..., torch.nn.Module]) -> None:
    with pytest.raises(ValueError, match="one channel is the constant 1"):
        make(link="softmax")(torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4))


@pytest.mark.parametrize("make", [*LINKED, lambda **kw: EdgeLoss("teacher", **kw)])
def test_auto_does_not_guess_for_several_channels(make: Callable[..., torch.nn.Module]) -> None:
    with pytest.raises(ValueError, match="link='softmax' when exactly one class .* link='sigmoid' when"):
        make(link="auto")(torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4))


@pytest.mark.parametrize("make", LINKED)
def test_an_unknown_link_is_named(make: Callable[..., torch.nn.Module]) -> None:
    with pytest.raises(ValueError, match="link is 'softmx'"):
        make(link="softmx")


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("make", [KDLoss, DKDLoss, ChannelWiseLoss, DISTLoss])
def test_temperatures_are_above_zero(make: Callable[..., torch.nn.Module], temperature: float) -> None:
    with pytest.raises(ValueError, match=f"temperature is {temperature}; it must be a finite number above 0"):
        make(temperature=temperature)
    with pytest.raises(ValueError, match="temperature is 0"):
        LogitMSELoss(literal_temperature=0)


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match=r"student has shape \(2, 3, 4, 4\) and teacher \(2, 1, 4, 4\)"):
        LogitMSELoss()(torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4))
    with pytest.raises(ValueError, match=r"student has shape \(2, 3\) and teacher \(2, 1\)"):
        soft_target_divergence(torch.zeros(2, 3), torch.zeros(2, 1), "softmax", 1.0)


@pytest.mark.parametrize(
    "loss", [KDLoss("softmax"), DKDLoss(), SoftDiceKDLoss("softmax"), DISTLoss(link="softmax"), ClassAffinityLoss()]
)
def test_probabilities_in_place_of_logits_are_noticed(loss: torch.nn.Module) -> None:
    logits = torch.randn(2, 3, 4, 4)
    kwargs = {"target": logits.argmax(dim=1)} if isinstance(loss, DKDLoss) else {}
    with pytest.warns(UserWarning, match="The teacher values all lie in .* look like probabilities"):
        loss(logits, logits.softmax(dim=1), **kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(logits, torch.randn(2, 3, 4, 4), **kwargs)


def test_probabilities_as_targets_flatten_them() -> None:
    logits = torch.tensor([[4.0, 0, -1]])
    right, wrong = torch.softmax(logits / 4, 1)[0], torch.softmax(torch.softmax(logits, 1) / 4, 1)[0]
    assert right.tolist() == pytest.approx([0.60, 0.22, 0.17], abs=0.006)
    assert wrong.tolist() == pytest.approx([0.39, 0.31, 0.31], abs=0.006)


BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: KDLoss("sigmoid", standardize=True), "standardize=True works over exclusive classes"),
    (lambda: KDLoss(standardize=True)(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2)), "needs two or more channels"),
    (lambda: KDLoss(balance="fgbg"), "balance is 'fgbg'"),
    (lambda: KDLoss(balance="fg_bg", reduction="none"), "reduction must be 'mean', not 'none'"),
    (lambda: KDLoss(reduction="batchmean"), "reduction is 'batchmean'"),
    (lambda: SoftDiceKDLoss(stab=0), "stab is 0"),
    (lambda: SoftDiceKDLoss(include_background=False), "needs link='softmax'"),
    (lambda: SoftDiceKDLoss()(torch.zeros(2, 1), torch.zeros(2, 1)), "needs spatial axes"),
    (lambda: FeatureMSELoss("l2"), "normalize is 'l2'"),
    (lambda: FeatureMSELoss()(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 8, 8)), "pass resize= where grids differ"),
    (lambda: MSGFFLoss(()), "at least one scale"),
    (lambda: MSGFFLoss((1, 1)), "none twice"),
    (lambda: MSGFFLoss((0,)), "each scale is None"),
    (lambda: MSGFFLoss(uniform_share=0), "uniform_share is 0"),
    (lambda: MSGFFLoss()(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4)), "Project the student"),
    (lambda: MSGFFLoss()(torch.zeros(1, 2), torch.zeros(1, 2)), r"\[B, C, H, W\]"),
    (lambda: AttentionTransferLoss("l2"), "variant is 'l2'"),
    (lambda: AttentionTransferLoss(exponent=0.5), "exponent is 0.5"),
    (lambda: AttentionTransferLoss(stab=0), "stab is 0"),
    (lambda: AttentionTransferLoss()(torch.zeros(1, 2), torch.zeros(1, 2)), "needs spatial axes"),
    (lambda: EdgeLoss()(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 4.0)), "use target='teacher'"),
    (lambda: EdgeLoss(link="softmax")(torch.zeros(1, 3, 4, 4), torch.full((1, 1, 4, 4), 3)), "must lie in 0..2"),
    (lambda: EdgeLoss(link="sigmoid")(torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4)), r"teacher \(1, 1, 4, 4\)"),
    (lambda: BCEDiceLoss(bce_weight=-1), "bce_weight is -1"),
    (lambda: BCEDiceLoss(stab=0), "stab is 0"),
    (lambda: BCEDiceLoss()(torch.zeros(1, 1), torch.zeros(1, 1)), "needs spatial axes"),
    (lambda: BCEDiceLoss()(torch.zeros(1, 1, 4), torch.full((1, 1, 4), 2)), "one channel per region"),
    (lambda: BCEDiceLoss()(torch.zeros(1, 3, 4), torch.zeros(1, 1, 4)), "one 0/1 channel per channel"),
    (lambda: EdgeLoss()(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4)), r"\[B, C, H, W\]"),
    (lambda: EdgeLoss(padding="reflect"), "padding is 'reflect'"),
    (lambda: SobelMagnitude(1), "spatial_dims is 1"),
    (lambda: SobelMagnitude(2, stab=-1), "stab is -1"),
    (lambda: SobelMagnitude(2)(torch.zeros(1, 1, 2, 2, 2)), "2 spatial axes"),
    (lambda: HardPseudoLabelLoss(threshold=1.0), "threshold is 1.0"),
    (lambda: ChannelWiseLoss()(torch.zeros(2, 3), torch.zeros(2, 3)), "needs spatial axes"),
    (lambda: DKDLoss(beta=-1), "neither may be negative"),
    (lambda: DKDLoss()(torch.zeros(2, 3), torch.zeros(2, 3)), "pass target=labels"),
    (lambda: DKDLoss()(torch.zeros(2, 1), torch.zeros(2, 1), target=torch.zeros(2)), "one channel"),
    (lambda: DKDLoss()(torch.zeros(2, 3), torch.zeros(2, 3), target=torch.tensor([0, 3])), "must lie in 0..2"),
    (lambda: DKDLoss()(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4), target=torch.zeros(2, 5)), "labels have shape"),
    (lambda: DISTLoss(gamma=-1), "neither may be negative"),
    (lambda: DISTLoss(link="softmax")(torch.randn(1, 3), torch.randn(1, 3)), "needs two or more rows"),
    (lambda: SimilarityLoss()(torch.zeros(2, 3), torch.zeros(3, 3)), "the batches differ"),
    (lambda: HCLoss(sizes=(0,)), "sizes is"),
    (lambda: HCLoss()(torch.zeros(2, 3), torch.zeros(2, 3)), r"\[B, C, H, W\]"),
    (lambda: CoordinateLoss(stab=0), "stab is 0"),
    (lambda: CoordinateLoss()(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4)), "channel_free=True"),
    (lambda: CoordinateLoss()(torch.zeros(1, 2, 1, 1), torch.zeros(1, 2, 1, 1)), "no spatial axis longer than 1"),
    (lambda: CoordinateLoss()(torch.zeros(1, 2), torch.zeros(1, 2)), r"\[B, C, H, W\]"),
    (lambda: ClassAffinityLoss()(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)), "the constant 1"),
    (lambda: ClassAffinityLoss()(torch.zeros(1, 2), torch.zeros(1, 2)), "needs spatial axes"),
    (lambda: CombinationLoss(stab=-1), "stab is -1"),
    (lambda: CombinationLoss("fixed"), "mode is 'fixed'"),
    (lambda: CombinationLoss()(torch.zeros(1, 2, 4, 4), torch.zeros(1, 5, 4)), "labels have shape"),
    (lambda: CombinationLoss()(torch.zeros(1, 2, 4, 4), torch.full((1, 4, 4), 2)), "must lie in 0..1"),
    (
        lambda: CombinationLoss()(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4), mask=torch.ones(1, 1, 1, 1)),
        "mask has spatial shape",
    ),
    (lambda: match_grids(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4, 4), "min"), "numbers of axes differ"),
    (lambda: match_grids(torch.zeros(1, 2, 4, 4), torch.zeros(2, 2, 4, 4), "min"), "the batches differ"),
    (lambda: match_grids(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 8, 8), "none"), "the grids differ"),
    (lambda: match_grids(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 8, 8), "max"), "resize is 'max'"),
    (lambda: pool_to(torch.zeros(1, 2, 4), (2,)), "cannot be pooled"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=lambda x: x[:40] if isinstance(x, str) else "")
def test_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_similarity_of_one_sample_warns() -> None:
    with pytest.warns(UserWarning, match="with one sample it is always 0"):
        assert SimilarityLoss()(torch.randn(1, 3), torch.randn(1, 3)).item() == 0


def test_resizing_names_what_it_resizes() -> None:
    student, teacher = torch.randn(1, 2, 4, 8), torch.randn(1, 2, 8, 4)
    grids = {r: [tuple(x.shape[2:]) for x in match_grids(student, teacher, r)] for r in ("student", "teacher", "min")}
    assert grids == {"student": [(8, 4)] * 2, "teacher": [(4, 8)] * 2, "min": [(4, 4)] * 2}
    volume = torch.randn(1, 2, 4, 6, 8)
    assert resize_to(volume, (2, 12, 8)).shape[2:] == (2, 12, 8)
    assert resize_to(volume, (4, 6, 8)) is volume
    assert torch.allclose(resize_to(volume, (2, 3, 4)).mean(), volume.mean(), atol=1e-6)


def test_a_grid_may_differ_where_resizing_is_asked_for() -> None:
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 8, 8)
    small = pool_to(teacher, (4, 4))
    for make in (FeatureMSELoss, ChannelWiseLoss, CoordinateLoss):
        assert torch.allclose(make(resize="min")(student, teacher), make()(student, small))
    fine = torch.ones(2, 1, 16, 16)
    value = FeatureMSELoss(resize="min")(student, teacher, mask=fine)
    assert torch.allclose(value, FeatureMSELoss()(student, small), rtol=1e-5)


def test_learned_scale_weights_keep_a_floor_and_follow_the_loss() -> None:
    loss = MSGFFLoss(scales=(None, 1), weights="learned", uniform_share=0.4)
    student, teacher = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    assert loss.scale_weights().tolist() == pytest.approx([0.5, 0.5])
    optimizer = torch.optim.Adam(loss.parameters(), lr=1.0)
    for _ in range(40):
        optimizer.zero_grad()
        loss(student, teacher).backward()
        optimizer.step()
    weights = loss.scale_weights()
    # averages differ less than pixels: the coarse scale is the easy one
    assert weights.sum().item() == pytest.approx(1.0)
    assert weights[0].item() == pytest.approx(0.2, abs=0.01)
    assert not list(MSGFFLoss().parameters())


def test_losses_have_no_state_to_save_and_return_plain_tensors() -> None:
    assert not EdgeLoss().state_dict()
    value = KDLoss()(MetaTensor(torch.zeros(1, 1, 2, 2)), MetaTensor(torch.ones(1, 1, 2, 2)))
    assert type(value) is torch.Tensor


def test_class_indices_are_as_good_as_their_one_hot_form() -> None:
    student, labels = torch.randn(2, 3, 4, 4), torch.randint(3, (2, 1, 4, 4))
    one_hot = F.one_hot(labels[:, 0], 3).movedim(-1, 1).float()
    loss = EdgeLoss(link="softmax")
    assert torch.equal(loss(student, labels), loss(student, one_hot))


@pytest.mark.parametrize("margin", [100.0, 1000.0])
def test_a_teacher_that_is_entirely_sure_gives_a_gradient(margin: float) -> None:
    student = torch.tensor([[0.5, 0.0, -0.5]], requires_grad=True)
    value = DKDLoss(temperature=1.0)(student, torch.tensor([[margin, 0.0, 1.0]]), target=torch.tensor([0]))
    (gradient,) = torch.autograd.grad(value, student)
    # the target's probability to 1, and the rest by 8 (p_s - p_t) within it
    rest = torch.softmax(torch.tensor([0.0, -0.5]), 0) - torch.softmax(torch.tensor([0.0, 1.0]), 0)
    p = torch.softmax(student.detach()[0], 0)
    torch.testing.assert_close(gradient[0], torch.cat([p[:1] - 1, p[1:] + 8 * rest]), atol=1e-3, rtol=1e-3)


def test_integer_and_boolean_masks_are_accepted() -> None:
    student = torch.randn(1, 1, 4, 4)
    mask = torch.rand(1, 1, 4, 4) > 0.5
    values = [EdgeLoss()(student, mask.to(dtype)) for dtype in (torch.bool, torch.uint8, torch.float32)]
    assert values[0] == values[1] == values[2]
