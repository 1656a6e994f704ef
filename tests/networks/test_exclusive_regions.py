"""Exclusive regions: log-odds whose sigmoid is the softmax, weights by the network's own names, masks as classes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ckdmed.losses.exclusive_masks import ExclusiveMasks, class_indices
from ckdmed.methods import distillation_loss
from ckdmed.networks import ExclusiveRegions, segmentation_student, segmentation_teacher
from ckdmed.networks.taps import TappedOutput
from ckdmed.recipes import check_bundle_teacher, check_exclusive, loss_for


def test_the_sigmoid_of_the_log_odds_is_the_softmax() -> None:
    logits = torch.randn(2, 4, 3, 5)
    odds = ExclusiveRegions(nn.Identity())(logits)
    assert odds.shape == (2, 3, 3, 5)
    assert torch.allclose(torch.sigmoid(odds), torch.softmax(logits, dim=1)[:, 1:], atol=1e-6)
    # log(e^2 / (1 + e^1)) by hand
    by_hand = ExclusiveRegions(nn.Identity())(torch.tensor([0.0, 2.0, 1.0]).reshape(1, 3, 1, 1))
    assert by_hand[0, 0, 0, 0].item() == pytest.approx(2 - 1.31326169)
    assert not (torch.sigmoid(odds) > 0.5).sum(dim=1).gt(1).any()


def test_weights_have_the_names_of_the_network() -> None:
    plain = segmentation_student("unet", 1, 3, 2)
    shown = segmentation_student("unet", 1, 2, 2, exclusive=True)
    assert list(shown.state_dict()) == list(plain.state_dict())
    shown.load_state_dict(plain.state_dict(), strict=True)
    image = torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        expected = torch.softmax(plain.eval()(image), dim=1)[:, 1:]
        assert torch.allclose(torch.sigmoid(shown.eval()(image)), expected, atol=1e-6)
        assert torch.allclose(torch.jit.script(shown)(image), shown(image), atol=1e-6)
    both = nn.ModuleList([ExclusiveRegions(segmentation_student("unet", 1, 3, 2)), nn.Linear(1, 1)])
    names = list(both.state_dict())
    assert names[0].startswith("0.encoder") and names[-1] == "1.bias"
    both.load_state_dict({name: value + 1 for name, value in both.state_dict().items()}, strict=True)
    teacher = segmentation_teacher("segresnet", in_channels=1, out_channels=2, base=2, exclusive=True)
    assert teacher(torch.rand(1, 1, 16, 16)).shape == (1, 2, 16, 16)


def test_masks_as_class_indices() -> None:
    masks = torch.tensor([[[[1.0, 0, 0]], [[0, 1, 0]]]])
    assert class_indices(masks).tolist() == [[[[1, 2, 0]]]]
    with pytest.raises(ValueError, match="regions overlap"):
        class_indices(torch.ones(1, 2, 1, 1))
    logits = torch.tensor([[[[0.0, 0, 3]], [[2, 0, 0]], [[0, 1, 0]]]])
    seen = ExclusiveMasks(lambda z, y: nn.functional.cross_entropy(z, y[:, 0]))(logits, masks)
    expected = nn.functional.cross_entropy(logits, torch.tensor([[[1, 2, 0]]]))
    assert torch.allclose(seen, expected)


@pytest.mark.parametrize("method", ["ckd", "report_kdpp", "kd", "cwd", "dist"])
def test_methods_read_classes_of_the_masks(method: str) -> None:
    torch.manual_seed(0)
    masks = torch.zeros(2, 2, 8, 8)
    masks[:, 0, :4] = 1
    masks[:, 1, 6:] = 1
    maps = {"d4": torch.rand(2, 4, 4, 4)}
    student = TappedOutput(torch.randn(2, 3, 8, 8, requires_grad=True), maps, {})
    teacher = TappedOutput(torch.randn(2, 3, 8, 8), {"d4": torch.rand(2, 4, 4, 4)}, {})
    loss = distillation_loss(method, "segmentation", layers=["d4"], exclusive=True)
    loss.build({"d4": (2, 4, 4, 4), "logits": (2, 3, 8, 8)}, {}, {"d4": (2, 4, 4, 4), "logits": (2, 3, 8, 8)})
    values = loss(student, teacher, masks, progress=0.5)
    values.total.backward()
    assert student.logits.grad.abs().sum() > 0
    exact = (20 * torch.cat([1 - masks.sum(1, keepdim=True), masks], dim=1)).detach()
    near = loss(TappedOutput(exact, maps, {}), teacher, masks, progress=0.5).terms["supervised"]
    assert float(near) < 0.01 < float(values.terms["supervised"])


def test_the_teachers_loss_and_what_is_refused() -> None:
    from ckdmed.losses import supervised_segmentation_loss

    network = segmentation_student("unet", 1, 3, 2)
    loss = loss_for(network, supervised_segmentation_loss("softmax"), exclusive=True)
    masks = torch.zeros(1, 2, 16, 16)
    masks[:, 0, :4] = 1
    assert loss(network(torch.rand(2, 1, 16, 16)), masks.repeat(2, 1, 1, 1)) > 0
    check_exclusive(False, mixup=1.0, teacher_folds=3)
    with pytest.raises(ValueError, match="set mixup to 0"):
        check_exclusive(True, mixup=0.2)
    with pytest.raises(ValueError, match="set it to 1"):
        check_exclusive(True, teacher_folds=5)
    check_bundle_teacher("zoo", False, False)
    for given, message in (((True, False), "set exclusive to false"), ((False, True), "set grey_as_rgb to false")):
        check_bundle_teacher(None, *given)
        with pytest.raises(ValueError, match=message):
            check_bundle_teacher("zoo", *given)
