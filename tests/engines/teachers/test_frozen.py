from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from ckdmed.engines import FrozenTeacher, weights_hash
from ckdmed.methods import distillation_loss
from tests.toy import pair, trainer, unet


def test_training_leaves_weights_and_buffers_bit_identical():
    loss = distillation_loss()
    student, teacher = pair(loss, dropout=0.2)
    before = teacher.state_hash()
    engine = trainer(student, teacher, loss, epochs=2)
    teacher.train()
    engine.run()
    assert teacher.state_hash() == before
    assert all(p.grad is None for p in teacher.parameters())
    assert not any(m.training for m in teacher.modules())


def test_hash_sees_weights_buffers_and_types():
    teacher = FrozenTeacher(unet())
    seen = {teacher.state_hash()}
    with torch.no_grad():
        next(teacher.network.parameters()).view(-1)[0] += 1e-6
    seen.add(teacher.state_hash())
    buffer = next(b for b in teacher.network.buffers() if b.is_floating_point())
    buffer.view(-1)[0] += 1
    seen.add(teacher.state_hash())
    seen.add(weights_hash(teacher.network.double()))
    assert len(seen) == 4
    assert weights_hash(unet(seed=3)) == weights_hash(unet(seed=3)) != weights_hash(unet(seed=4))


def test_hash_takes_bfloat16_and_scalars():
    assert len(weights_hash(nn.BatchNorm1d(2).to(torch.bfloat16))) == 64


def test_train_is_refused_by_itself_and_by_what_holds_it():
    teacher = FrozenTeacher(unet(dropout=0.5))
    holder = nn.ModuleDict({"teacher": teacher, "student": unet()})
    for module in (teacher, holder):
        assert module.train() is module
        assert not any(m.training for m in teacher.modules())
    assert holder["student"].training


def test_speaks_the_same_twice_and_without_gradients():
    teacher = FrozenTeacher(unet(dropout=0.5), taps={"d1": "decoder.d1"})
    teacher.network.train()
    teacher.train()
    x = torch.rand(2, 1, 32, 32, requires_grad=True)
    first, second = teacher(x), teacher(x)
    assert torch.equal(first.logits, second.logits)
    assert not first.logits.requires_grad and not first.features["d1"].requires_grad
    assert not any(p.requires_grad for p in teacher.parameters())
    # what it says may enter operations that a backward pass needs, as tensors of inference mode may not
    weight = torch.ones(1, requires_grad=True)
    (weight * first.logits).sum().backward()
    assert weight.grad.item() == pytest.approx(first.logits.sum().item(), rel=1e-4)


def test_takes_metatensors_and_says_plain_tensors():
    said = FrozenTeacher(unet())(MetaTensor(torch.rand(1, 1, 16, 16)))
    assert type(said.logits) is torch.Tensor


def test_sees_the_channels_it_is_given():
    network = unet(in_channels=2)
    teacher = FrozenTeacher(network, input_channels=[3, 1])
    x = torch.rand(2, 4, 16, 16)
    torch.testing.assert_close(teacher(x).logits, network(torch.stack([x[:, 3], x[:, 1]], dim=1)))


def test_two_dimensional_teacher_of_volumes():
    network = unet(in_channels=2, out_channels=3)
    teacher = FrozenTeacher(network, taps={"d2": "decoder.d2"}, spatial_dims=2)
    x = torch.rand(2, 2, 5, 16, 32)
    said = teacher(x)
    assert said.logits.shape == (2, 3, 5, 16, 32)
    assert said.features["d2"].shape == (2, 4, 5, 8, 16)
    for sample in range(2):
        for z in range(5):
            single = teacher(x[sample : sample + 1, :, z])
            torch.testing.assert_close(said.logits[sample, :, z], single.logits[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(
                said.features["d2"][sample, :, z], single.features["d2"][0], rtol=1e-4, atol=1e-5
            )


def test_teacher_that_returns_something_else():
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    with pytest.raises(TypeError, match="teacher Two returned a tuple"):
        FrozenTeacher(Two())(torch.zeros(1, 1, 2, 2))


def test_unknown_tap():
    with pytest.raises(ValueError, match="UNet has no submodule 'decoder.d7'"):
        FrozenTeacher(unet(), taps={"d7": "decoder.d7"})


@pytest.mark.parametrize("spatial_dims, passes", [(2, 4), (3, 8)])
def test_averaging_over_mirror_images(spatial_dims: int, passes: int):
    network = unet(spatial_dims=spatial_dims).eval()
    image = torch.rand(2, 1, *(16,) * spatial_dims)
    teacher = FrozenTeacher(network, taps={"d4": "decoder.d4"}, average_flips=True)
    said = teacher(image)
    axes = [[a for a in range(spatial_dims) if state >> a & 1] for state in range(passes)]
    dims = [[a + 2 for a in some] for some in axes]
    with torch.no_grad():
        each = [network(image.flip(some)).flip(some) for some in dims]
    torch.testing.assert_close(said.logits, torch.stack(each).mean(0))
    torch.testing.assert_close(said.features["d4"], FrozenTeacher(network, {"d4": "decoder.d4"})(image).features["d4"])
    torch.testing.assert_close(teacher(image.flip(2)).logits, said.logits.flip(2))


def test_a_deployed_file_has_no_features():
    network = unet()
    network.deployed_sha256 = ["0"]  # type: ignore[assignment]
    FrozenTeacher(network)
    with pytest.raises(ValueError, match="a deployed file gives only logits, none of the features d4 .*kd"):
        FrozenTeacher(network, {"d4": "decoder.d4"})
