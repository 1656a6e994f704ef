from __future__ import annotations

import pickle

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from ckdmed.engines import DistilledStudent, FrozenTeacher, attach_student, weights_hash
from ckdmed.losses import DistillationLoss, LossTerm, MSGFFLoss
from ckdmed.methods import distillation_loss
from ckdmed.networks import CohraUNet, UNet, segmentation_student, segmentation_student_taps
from tests.toy import STAGES, pair, unet


def test_projections_of_the_student_reach_the_teachers_channels():
    student, teacher = pair(distillation_loss("ckd", "segmentation", feature_layers=list(STAGES)))
    x = torch.rand(2, 1, 32, 32)
    ours, theirs = student(x), teacher(x)
    assert set(ours.projected) == set(STAGES) and theirs.projected == {}
    for name in STAGES:
        assert ours.features[name].shape[1] * 2 == theirs.features[name].shape[1]
        assert ours.projected[name].shape == theirs.features[name].shape
    assert sum(p.requires_grad for p in student.projections.parameters()) == 2 * len(STAGES)


def test_projections_of_the_teacher_are_frozen_and_orthogonal():
    student, teacher = pair(distillation_loss("report_kd", "segmentation"))
    x = torch.rand(2, 1, 32, 32)
    ours, theirs = student(x), teacher(x)
    assert ours.projected == {} and len(student.projections) == 0
    assert list(teacher.projections.parameters()) == []
    for name in STAGES:
        assert theirs.projected[name].shape == ours.features[name].shape
        weight = teacher.projections[name].weight
        torch.testing.assert_close(weight @ weight.T, torch.eye(len(weight)), atol=1e-5, rtol=0)


def test_student_inside_stays_plain():
    student, _ = pair(distillation_loss())
    plain = unet(seed=5)
    plain.load_state_dict(student.student.state_dict())
    x = torch.rand(2, 1, 32, 32)
    student.eval()
    assert isinstance(student.student(x), torch.Tensor)
    torch.testing.assert_close(plain.eval()(x), student(x).logits)
    assert not any("projections" in name for name in student.student.state_dict())
    assert any(name.startswith("projections.") for name in student.state_dict())


def test_the_student_is_scripted_and_pickled_once_its_taps_are_removed():
    student, _ = pair(distillation_loss())
    network, x = student.student.eval(), torch.rand(2, 1, 32, 32)
    names = set(network.state_dict())
    student.taps.remove()
    torch.testing.assert_close(torch.jit.script(network)(x), network(x))
    torch.testing.assert_close(pickle.loads(pickle.dumps(network))(x), network(x))
    assert set(network.state_dict()) == names


def test_projections_neither_use_nor_disturb_the_global_random_state():
    loss = distillation_loss()
    weights = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        student, _ = pair(loss, student=unet(), seed=7)
        assert torch.equal(torch.get_rng_state(), before)
        weights.append(weights_hash(student.projections))
    assert weights[0] == weights[1]
    assert weights_hash(pair(loss, student=unet(), seed=8)[0].projections) != weights[0]


def test_attaching_leaves_no_trace_on_student_and_teacher():
    student = unet()
    teacher = FrozenTeacher(unet(base=4), taps=STAGES)
    hashes = weights_hash(student), teacher.state_hash()
    attach_student(student, teacher, taps=STAGES, loss=distillation_loss(), input_shape=(2, 1, 32, 32))
    assert (weights_hash(student), teacher.state_hash()) == hashes
    assert student.training and all(p.grad is None for p in student.parameters())


def test_teacher_of_another_architecture_and_grid():
    # the teacher's features lie at a quarter of the student's resolution
    network = nn.Sequential(nn.Conv2d(1, 6, 3, stride=4, padding=1), nn.Upsample(scale_factor=4), nn.Conv2d(6, 1, 1))
    loss = distillation_loss("ckd", "segmentation", feature_layers=["d1"])
    teacher = FrozenTeacher(network, taps={"d1": "0"})
    student = attach_student(unet(), teacher, taps={"d1": "decoder.d1"}, loss=loss, input_shape=(2, 1, 32, 48))
    x = torch.rand(2, 1, 32, 48)
    values = loss(student(x), teacher(x), (x > 0.5).float(), progress=0.5)
    values.total.backward()
    assert teacher(x).features["d1"].shape == (2, 6, 8, 12)
    for name in ("features", "attention"):
        assert torch.isfinite(values.terms[name]) and values.terms[name] > 0
    assert student.projections["d1"].conv.weight.grad.abs().sum() > 0


class OfAnotherSize(nn.Conv2d):
    """It takes images of 64 pixels alone."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if image.shape[-1] != 64:
            raise ValueError("images must have 64 pixels")
        return super().forward(image)


def test_a_teacher_that_nothing_asks_need_not_take_the_images():
    """A student alone of images of 32 pixels was refused for the sake of its unused teacher."""
    teacher = FrozenTeacher(OfAnotherSize(1, 1, 1))
    loss = distillation_loss("supervised", "segmentation")
    student = attach_student(unet(), teacher, STAGES, loss, (2, 1, 32, 32))
    assert student(torch.zeros(2, 1, 32, 32)).logits.shape == (2, 1, 32, 32)
    with pytest.raises(ValueError, match="must have 64 pixels"):
        attach_student(unet(), teacher, STAGES, distillation_loss("kd", "segmentation"), (2, 1, 32, 32))


@pytest.mark.parametrize(("size", "grids"), [(96, None), (112, ("16x16", "14x14"))])
def test_a_padded_image_is_warned_of(size: int, grids: tuple[str, str] | None, caplog: pytest.LogCaptureFixture):
    student = segmentation_student("efficientnet_lite")
    taps = {"d4": segmentation_student_taps("efficientnet_lite")["d4"]}
    attach_student(student, FrozenTeacher(unet(), taps={"d4": "decoder.d4"}), taps, input_shape=(2, 1, size, size))
    if grids is None:
        assert not caplog.text
    else:
        assert (
            f"tap 'd4': the student's map is {grids[0]} and the teacher's {grids[1]} for an image of 112x112"
            in caplog.text
        )


def test_three_dimensional_student_of_a_two_dimensional_teacher():
    student_network = UNet(spatial_dims=3, features=(2, 4, 8))
    teacher = FrozenTeacher(unet(base=4), taps={"d1": "decoder.d1"}, spatial_dims=2)
    loss = distillation_loss("ckd", "segmentation", feature_layers=["d1"])
    student = attach_student(
        student_network,
        teacher,
        taps={"d1": "decoder.d1"},
        loss=loss,
        input_shape=(1, 1, 8, 16, 16),
    )
    x = torch.rand(2, 1, 8, 16, 16)
    values = loss(student(x), teacher(x), (x > 0.5).float(), progress=0.5)
    assert torch.isfinite(values.total)


def test_metatensors_go_in_and_plain_tensors_come_out():
    student, _ = pair(distillation_loss())
    said = student(MetaTensor(torch.rand(2, 1, 32, 32)))
    assert type(said.logits) is torch.Tensor
    assert all(type(value) is torch.Tensor for value in (*said.features.values(), *said.projected.values()))


def test_validation_of_the_plain_student_between_does_not_disturb():
    student, _ = pair(distillation_loss())
    x = torch.rand(2, 1, 32, 32)
    said = student(x)
    student.student(x)
    again = student.eval()(x)
    assert said.features["d3"].requires_grad and again.features["d3"].shape == said.features["d3"].shape


class Vector(nn.Module):
    """A classifier whose tap is a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(16, 4)
        self.head = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x.flatten(1)))


def test_a_student_that_gives_a_list_is_named():
    network = CohraUNet(2, 1, 1, features=(4, 6, 8), heads=2, deep_supervision=1)
    with pytest.raises(TypeError, match="the student CohraUNet returned a list; .* as one tensor"):
        DistilledStudent(network)(torch.rand(1, 1, 8, 8))


def test_what_cannot_be_attached():
    teacher = FrozenTeacher(unet(base=4), taps={"d1": "decoder.d1"})
    shape = (2, 1, 32, 32)
    with pytest.raises(ValueError, match=r"the teacher has no taps \['d2'\]; it has \['d1'\]"):
        attach_student(unet(), teacher, taps={"d2": "decoder.d2"}, input_shape=shape)
    with pytest.raises(ValueError, match="3 output channels, .* but the teacher 1"):
        attach_student(unet(out_channels=3), teacher, input_shape=shape)
    loss = distillation_loss(layers=["d1"])
    with pytest.raises(ValueError, match=r"the loss reads layers \['d1'\], for which no tap is given"):
        attach_student(unet(), teacher, loss=loss, input_shape=shape)
    with pytest.raises(ValueError, match="no submodule 'decoder.d9'"):
        attach_student(unet(), teacher, taps={"d1": "decoder.d9"}, input_shape=shape)
    vectors = FrozenTeacher(Vector(), taps={"v": "body"})
    with pytest.raises(ValueError, match=r"tap 'v': .* \(2, 4\).*two maps of the same number of axes"):
        attach_student(Vector(), vectors, {"v": "body"}, distillation_loss(layers=["v"]), input_shape=(2, 1, 4, 4))
    with pytest.raises(ValueError, match=r"projections without a tap of the same name: \['x'\]"):
        DistilledStudent(unet(), projections={"x": nn.Identity()})


def test_a_tap_that_no_submodule_can_be_called_after_is_refused():
    """A projection is a submodule of the tap's name, and every module has a method `half`."""
    loss = DistillationLoss({"features": LossTerm(MSGFFLoss(), "features", layers=["half"])})
    teacher = FrozenTeacher(unet(), taps={"half": "decoder.d2"})
    with pytest.raises(ValueError, match="tap 'half': PyTorch's modules have an attribute of that name"):
        attach_student(unet(), teacher, {"half": "decoder.d2"}, loss, (1, 1, 32, 32))
