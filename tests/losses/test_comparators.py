"""The field's comparators by hand, against slow loops, and their gradients in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from ckdmed.losses import (
    AdversarialLoss,
    ExitsLoss,
    LossCorrection,
    OFALoss,
    PartialCrossAttentionLoss,
    PrototypeLoss,
    RegionContrastLoss,
    RelationalLoss,
    ReviewLoss,
    soft_target_divergence,
)
from ckdmed.losses.cross_attention import attention_of
from ckdmed.losses.label_forms import LabelledLogitsLoss
from ckdmed.networks.token_projectors import (
    AttentionProjector,
    GroupLinearProjector,
    TokenMapProjector,
    attention_projector,
    group_projector,
)

STUDENT = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.5, 0.0]], dtype=torch.float64)
TEACHER = torch.tensor([[2.0, 0.0, -2.0], [0.0, 3.0, 0.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 1])
F = torch.arange(1.0, 9.0, dtype=torch.float64).reshape(1, 2, 2, 2)
G = torch.tensor([[[1.0, 1], [1, 1]], [[0, 2], [0, 2]]], dtype=torch.float64).unsqueeze(0)
RIGHT = torch.tensor([[0.0, 1], [0, 1]], dtype=torch.float64).reshape(1, 1, 2, 2)


@pytest.mark.parametrize(("epsilon", "value"), [(1.0, 0.76866411), (1.5, 1.14321970), (2.0, 1.78636181)])
def test_ofa(epsilon: float, value: float):
    assert OFALoss(epsilon, "softmax")(STUDENT, TEACHER, LABELS).item() == pytest.approx(value, abs=1e-7)


def test_ofa_of_a_label_with_shares_of_two_classes_is_the_mean_of_theirs():
    # the teacher rules the second class out, whose share would weigh (0.7)^1.5 - 0.7 < 0 in the formula
    teacher = torch.tensor([[8.0, -4.0, -8.0]], dtype=torch.float64)
    student = torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64)
    loss = OFALoss(1.5, "softmax")
    shares = torch.tensor([[0.3, 0.7, 0.0]], dtype=torch.float64)
    expected = 0.3 * loss(student, teacher, torch.tensor([0])) + 0.7 * loss(student, teacher, torch.tensor([1]))
    torch.testing.assert_close(loss(student, teacher, shares), expected)
    # by hand, the teacher being as good as sure of the first class: 0.3 (2^1.5 - 1) + 0.7 times its loss
    assert loss(student, teacher, shares).item() == pytest.approx((0.3 * (2**1.5 - 1) + 0.7) * 0.40760596, abs=1e-3)
    # however sure the student is, the loss stays above 0
    assert loss(torch.tensor([[60.0, -60.0, -60.0]]), teacher, shares.float()).item() >= 0


def test_ofa_of_a_position_that_is_partly_tumour_is_the_mean_of_both():
    loss = OFALoss(1.5, "sigmoid")
    student, teacher = torch.tensor([[0.5]], dtype=torch.float64), torch.tensor([[-9.0]], dtype=torch.float64)
    tumour, background = (loss(student, teacher, torch.full((1, 1), value)) for value in (1.0, 0.0))
    torch.testing.assert_close(loss(student, teacher, torch.full((1, 1), 0.7)), 0.7 * tumour + 0.3 * background)
    # the teacher sees no tumour; that the student sees none either costs something, however sure it is
    assert loss(torch.full((1, 1), -60.0), teacher.float(), torch.full((1, 1), 0.7)).item() > 0


@pytest.mark.parametrize("make", [lambda link: OFALoss(1.5, link), LossCorrection], ids=["ofa", "correction"])
@pytest.mark.parametrize("link", ["sigmoid", "softmax"])
def test_logits_and_labels_are_compared_in_full_precision(make: Callable[[str], LabelledLogitsLoss], link: str):
    generator = torch.Generator().manual_seed(0)
    s, t = ((6 * torch.randn(2, 3, 8, 8, generator=generator)).half() for _ in range(2))
    y = (torch.rand(2, 3, 8, 8, generator=generator) > 0.5).half() if link == "sigmoid" else torch.ones(2, 1, 8, 8)
    loss = make(link)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(s, t, y)
    assert value.dtype == torch.float32 and torch.equal(value, loss(s.float(), t.float(), y.float()))


def test_ofa_of_a_mask_is_that_of_its_two_classes():
    z, t, y = (
        torch.tensor(v, dtype=torch.float64).reshape(1, 1, 2, 2)
        for v in ([0.0, 1, -2, 3], [2.0, 1, -4, 0], [1.0, 1, 0, 0])
    )
    two = [torch.cat([torch.zeros_like(v), v], dim=1) for v in (z, t)]
    expected = OFALoss(1.5, "softmax")(*two, y.long()[:, 0])
    torch.testing.assert_close(OFALoss(1.5, "sigmoid")(z, t, y), expected)


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_a_whole_correction_at_temperature_one_makes_the_gradient_that_of_the_label(link: str):
    z = STUDENT.clone().requires_grad_()
    onehot = torch.nn.functional.one_hot(LABELS, 3).double()
    soft = soft_target_divergence(z, TEACHER, link, 1.0).mean()
    corrected = soft + LossCorrection(link, 1.0, floor=1e-9)(z, TEACHER, onehot)
    (found,) = torch.autograd.grad(corrected, z)
    if link == "softmax":
        expected = (torch.softmax(z, dim=1) - onehot) / 2
    else:
        expected = (torch.sigmoid(z) - onehot) / 6
    torch.testing.assert_close(found, expected.detach())
    # at another temperature: the derivative of the soft targets in the teacher's probabilities, by differences
    p = torch.softmax(TEACHER, dim=1) if link == "softmax" else torch.sigmoid(TEACHER)

    def gradient(probabilities: torch.Tensor) -> torch.Tensor:
        logits = probabilities.log() if link == "softmax" else torch.logit(probabilities)
        (g,) = torch.autograd.grad(soft_target_divergence(z, logits, link, 3.0).mean(), z)
        return g

    small = 1e-6
    slope = (gradient(p + small * (onehot - p)) - gradient(p - small * (onehot - p))) / (2 * small)
    (found,) = torch.autograd.grad(LossCorrection(link, 3.0, floor=1e-9)(z, TEACHER, onehot), z)
    torch.testing.assert_close(found, slope, rtol=1e-5, atol=1e-8)


def test_region_contrast_by_hand():
    assert RegionContrastLoss()(F, G, RIGHT).item() == pytest.approx(0.30176583, abs=1e-7)
    # a sample without the region has no pair
    empty = torch.cat([RIGHT, torch.zeros_like(RIGHT)])
    torch.testing.assert_close(RegionContrastLoss()(torch.cat([F, F]), torch.cat([G, G]), empty).item(), 0.30176583)
    nothing = RegionContrastLoss()(F.clone().requires_grad_(), G, torch.zeros_like(RIGHT))
    nothing.backward()
    assert nothing.item() == 0


def test_prototypes_against_a_loop():
    generator = torch.Generator().manual_seed(1)
    s, t = (torch.randn(2, c, 4, 6, generator=generator, dtype=torch.float64) for c in (3, 5))
    target = (torch.rand(2, 2, 4, 6, generator=generator) > 0.6).double()
    target[0, 1] = 0
    total, count = 0.0, 0
    for b in range(2):
        regions = [1 - target[b].amax(dim=0), *target[b]]
        for region in regions:
            if region.sum() == 0:
                continue
            maps = []
            for x in (s[b], t[b]):
                prototype = (x * region).sum(dim=(1, 2)) / region.sum()
                maps.append(
                    torch.stack([
                        torch.dot(x[:, i, j], prototype) / (x[:, i, j].norm() * prototype.norm())
                        for i in range(4) for j in range(6)
                    ])
                )  # fmt: skip
            total += float((maps[0] - maps[1]).square().mean())
            count += 1
    assert PrototypeLoss()(s, t, target).item() == pytest.approx(total / count, rel=1e-9)
    # on another grid regions are shares of cells
    assert torch.isfinite(PrototypeLoss()(s, t, torch.ones(2, 1, 8, 12)))


def test_relations_against_a_loop():
    generator = torch.Generator().manual_seed(2)
    s, t = (torch.randn(4, c, generator=generator, dtype=torch.float64) for c in (3, 5))

    def parts(e: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        d = torch.tensor([[float((a - b).norm()) for b in e] for a in e], dtype=torch.float64)
        angles = torch.zeros(4, 4, 4, dtype=torch.float64)
        for j in range(4):
            for i in range(4):
                for k in range(4):
                    if i != j and k != j:
                        a, b = e[i] - e[j], e[k] - e[j]
                        angles[j, i, k] = torch.dot(a, b) / (a.norm() * b.norm())
        return d / (d.sum() / 12), angles

    (ds, angles_s), (dt, angles_t) = parts(s), parts(t)
    huber = torch.nn.functional.smooth_l1_loss
    expected = 25 * huber(ds, dt) + 50 * huber(angles_s, angles_t)
    torch.testing.assert_close(RelationalLoss()(s, t), expected)
    # neither scale nor rotation nor place is a relation
    q = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
    assert RelationalLoss()(3 * s @ q + 1, s).item() == pytest.approx(0, abs=1e-9)


Q = torch.eye(2, dtype=torch.float64)
K = torch.tensor([[1.0, 1], [0, 2]], dtype=torch.float64)
V = torch.tensor([[1.0, 2], [3, 4]], dtype=torch.float64)


def test_attention_by_hand():
    expected = torch.tensor([[1.66047690, 2.66047690], [2.33952310, 3.33952310]], dtype=torch.float64)
    torch.testing.assert_close(attention_of(Q, K, V), expected, atol=1e-7, rtol=0)
    teacher = torch.cat([Q, K, V], dim=1)[None]
    student = torch.zeros_like(teacher)
    loss = PartialCrossAttentionLoss(prefix=0).eval()
    products = torch.tensor([[3.53553391, 7.77817459], [7.77817459, 17.67766953]], dtype=torch.float64)
    value = expected.square().mean() + products.square().mean()
    assert loss(student, teacher).item() == pytest.approx(value.item(), abs=1e-6)
    assert loss(teacher, teacher).item() == loss.train()(teacher, teacher).item() == 0


@pytest.mark.parametrize("granularity", ["element", "token", "matrix"])
def test_half_of_the_matrices_is_the_teachers(granularity: str):
    loss = PartialCrossAttentionLoss(2, granularity)
    torch.manual_seed(0)
    student, teacher = torch.zeros(40, 2, 25, 4), torch.ones(40, 2, 25, 4)
    shares = [float(loss._mixed(student, teacher).mean()) for _ in range(200)]
    assert sum(shares) / 200 == pytest.approx(0.5, abs=0.02 if granularity != "matrix" else 0.12)


def test_groups_of_positions_share_a_layer():
    torch.manual_seed(0)
    assert (
        len(GroupLinearProjector(3, 5, (14, 14)).weight) == 16 and len(GroupLinearProjector(3, 5, (7, 7)).weight) == 4
    )
    made = GroupLinearProjector(3, 5, (6, 6)).eval()
    x = torch.randn(2, 3, 6, 6)
    before = made(x)
    moved = x.clone()
    moved[:, :, 1, 2] += 1
    changed = (made(moved) - before).abs().sum(dim=(0, 2)) > 0
    assert changed.nonzero().flatten().tolist() == [1 * 6 + 2]
    with torch.no_grad():
        made.weight[1] += 1
    changed = ((made(x) - before).abs().sum(dim=(0, 2)) > 1e-6).reshape(6, 6)
    assert not changed[:4, :4].any() and changed[:4, 4:].all() and not changed[4:].any()
    with torch.no_grad():
        made.weight[:] = made.weight[0]
        made.bias[:] = made.bias[0]
    expected = x.flatten(2).transpose(1, 2) @ made.weight[0] + made.bias[0]
    torch.testing.assert_close(made(x), expected)
    assert GroupLinearProjector(3, 5, (4, 4, 4))(torch.randn(2, 3, 8, 8, 8)).shape == (2, 64, 5)


def test_both_directions_between_maps_and_tokens():
    for axes in (2, 3):
        map_shape, tokens = (2, 6, *(8,) * axes), (2, 1 + 4**axes, 10)
        forward = group_projector(map_shape, tokens)
        assert isinstance(forward, GroupLinearProjector)
        assert forward(torch.randn(map_shape)).shape == (2, 4**axes, 10)
        back = group_projector(tokens, map_shape)
        assert isinstance(back, TokenMapProjector) and back(torch.randn(tokens)).shape == map_shape
        queries = attention_projector(map_shape, (2, 1 + 4**axes, 30))
        assert isinstance(queries, AttentionProjector) and queries(torch.randn(map_shape)).shape == (2, 4**axes, 30)
    # tokens keep their places: a teacher's map of the same grid and a convolution that passes them on
    back = TokenMapProjector(2, 2, (2, 2), (2, 2))
    with torch.no_grad():
        back.conv.weight[:, :, 0, 0] = torch.eye(2)
        back.conv.bias.zero_()  # type: ignore[union-attr]
    x = torch.randn(1, 2, 2, 2)
    tokens_of_x = torch.cat([torch.zeros(1, 1, 2), x.flatten(2).transpose(1, 2)], dim=1)
    torch.testing.assert_close(back(tokens_of_x), x)


@pytest.mark.parametrize("form", ["saturating", "non_saturating"])
def test_the_discriminators_gradient_reaches_the_student_and_the_students_never_the_discriminator(form: str):
    torch.manual_seed(0)
    loss = AdversarialLoss((8, 4), form).double()
    loss.build({"tokens": (2, 4, 6)}, {"tokens": (2, 5, 6)})
    assert loss.discriminator is not None
    loss.double()
    own = torch.randn(2, 4, 6, dtype=torch.float64, requires_grad=True)
    said = torch.randn(2, 5, 6, dtype=torch.float64, requires_grad=True)
    loss(own, said).backward()
    assert said.grad is None and own.grad is not None
    found = [w.grad.clone() for w in loss.discriminator.parameters()]  # type: ignore[union-attr]
    # each by itself: the student's loss with the discriminator held, the discriminator's with the features held
    d = loss.discriminator
    fake = torch.sigmoid(d(own))
    of_student = (1 - fake).log().mean() if form == "saturating" else -fake.log().mean()
    torch.testing.assert_close(own.grad, torch.autograd.grad(of_student, own)[0])
    assert own.grad.abs().sum() > 0
    of_d = -torch.sigmoid(d(said[:, 1:].detach())).log().mean() - (1 - torch.sigmoid(d(own.detach()))).log().mean()
    for one, expected in zip(found, torch.autograd.grad(of_d, list(d.parameters()))):
        torch.testing.assert_close(one, expected)
    assert loss(own, said).item() == pytest.approx(of_d.item())


def test_a_discriminator_learns_to_tell_two_clouds_apart():
    torch.manual_seed(0)
    loss = AdversarialLoss((8,), prefix=0)
    loss.build({"a": (4, 9, 2)}, {"a": (4, 9, 2)})
    own, said = torch.randn(4, 9, 2), torch.randn(4, 9, 2) + 4
    optimizer = torch.optim.Adam(loss.parameters(), 0.05)
    first = loss(own, said).item()
    for _ in range(40):
        optimizer.zero_grad()
        loss(own, said).backward()
        optimizer.step()
    assert loss(own, said).item() < 0.2 < 0.5 * 2 * math.log(2) < first + 1


def test_review_flows_from_deep_to_shallow():
    torch.manual_seed(0)
    loss = ReviewLoss(["deep", "shallow"])
    shapes = {"deep": (2, 4, 4, 4), "shallow": (2, 2, 8, 8)}, {"deep": (2, 8, 2, 2), "shallow": (2, 4, 8, 8)}
    loss.build(*shapes)
    student, teacher = ({n: torch.randn(s) for n, s in part.items()} for part in shapes)
    deep = student["deep"].requires_grad_()
    shallow = loss.fusions["shallow"]
    _, passed = loss.fusions["deep"](deep, None, (2, 2))
    fused, _ = shallow(student["shallow"], passed, (8, 8))
    (gradient,) = torch.autograd.grad(loss.distance(fused, teacher["shallow"]), deep)
    assert gradient.abs().sum() > 0 and fused.shape == (2, 4, 8, 8)
    with pytest.raises(RuntimeError, match="before it was built"):
        ReviewLoss(["deep"])(student, teacher)


def test_exits_end_at_the_classes_or_at_their_own_resolution():
    torch.manual_seed(0)
    loss = ExitsLoss(["b", "a"], OFALoss(1.0, "softmax"))
    maps = {"a": torch.randn(2, 4, 16, 16), "b": torch.randn(2, 6, 4, 4)}
    shapes = {name: tuple(m.shape) for name, m in maps.items()}
    loss.build({**shapes, "logits": (2, 3)}, {})
    assert {name: tuple(made(maps[name]).shape) for name, made in loss.exits.items()} == {"a": (2, 3), "b": (2, 3)}
    dense = ExitsLoss(["b", "a"], OFALoss(1.0, "sigmoid"))
    dense.build({**shapes, "logits": (2, 1, 16, 16)}, {})
    with torch.no_grad():
        for made in dense.exits.values():
            made.weight.zero_()
            made.bias.zero_()
    # p = 1/2 everywhere, so both exits cost log 2 whatever the teacher says
    value = dense(maps, torch.randn(2, 1, 16, 16), target=torch.ones(2, 1, 16, 16))
    assert value.item() > 2 * math.log(2) - 1e-5


GRADCHECKED = {
    "rkd": lambda s, t, y: RelationalLoss()(s, t),
    "contrast": lambda s, t, y: RegionContrastLoss()(s, t, y),
    "prototypes": lambda s, t, y: PrototypeLoss()(s, t, y),
    "ofa": lambda s, t, y: OFALoss(1.5, "sigmoid")(s[:, :1], t[:, :1], y),
    "correction": lambda s, t, y: LossCorrection("sigmoid", 2.0)(s[:, :1], t[:, :1], y),
    "attention": lambda s, t, y: PartialCrossAttentionLoss(2, prefix=0).eval()(
        s.flatten(2).transpose(1, 2), t.flatten(2).transpose(1, 2)
    ),
}


@pytest.mark.parametrize("name", GRADCHECKED)
def test_gradients(name: str):
    generator = torch.Generator().manual_seed(4)
    s, t = (torch.randn(3, 6, 2, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    y = (torch.rand(3, 1, 2, 3, generator=generator) > 0.5).double()
    leaf = t.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: GRADCHECKED[name](x, t, y), s.requires_grad_())
    GRADCHECKED[name](s, leaf, y).backward()
    assert leaf.grad is None


def test_what_is_refused():
    with pytest.raises(ValueError, match="epsilon is 0.5"):
        OFALoss(0.5)
    with pytest.raises(ValueError, match="floor is 0"):
        LossCorrection("sigmoid", floor=0.0)
    with pytest.raises(ValueError, match="which does not match logits of shape"):
        OFALoss(1.0, "sigmoid")(F, G, RIGHT)
    with pytest.raises(ValueError, match="masks .B, R, .S. are needed"):
        PrototypeLoss()(F, G, torch.zeros(1, 2))
    with pytest.raises(ValueError, match="holds no three matrices of 4 heads"):
        PartialCrossAttentionLoss(4, prefix=0)(torch.zeros(1, 2, 6), torch.zeros(1, 2, 6))
    with pytest.raises(ValueError, match="neither may be negative"):
        RelationalLoss(-1)
    with pytest.raises(ValueError, match="the batches differ"):
        RelationalLoss()(F, torch.cat([G, G]))
