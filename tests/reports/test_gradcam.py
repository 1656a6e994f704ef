from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import nn

from ckdmed.reports import gradcam_maps, plot_gradcam


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(2)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.AvgPool2d(2)
        self.head = nn.Linear(2, 3)
        self.unused = nn.Conv2d(1, 1, 1)

    def forward(self, x):
        return self.head(self.pool(self.act(self.norm(self.conv(x)))).mean((2, 3)))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Small().train()


IMAGES = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def reference(model, images, classes):
    """Gradients of the class score at the pooled maps, by hand: the head's weight over the number of positions."""
    model.eval()
    with torch.no_grad():
        pooled = model.pool(model.act(model.norm(model.conv(images))))
        weight = model.head.weight[classes] / pooled[0, 0].numel()
        cam = torch.relu((weight[:, :, None, None] * pooled).sum(1, keepdim=True))
        cam = nn.functional.interpolate(cam, size=(8, 8), mode="bilinear", align_corners=False)[:, 0]
    return torch.stack([m / m.max() if m.max() > 0 else m for m in cam]).numpy()


def test_equals_the_formula_for_each_image(model):
    got = gradcam_maps(model, IMAGES, "pool", [0, 1, 2])
    np.testing.assert_allclose(got, reference(model, IMAGES, [0, 1, 2]), atol=1e-5)


def test_default_is_the_predicted_class_of_each_image(model):
    predicted = model.eval()(IMAGES).argmax(1).tolist()
    np.testing.assert_allclose(gradcam_maps(model, IMAGES, "pool"), gradcam_maps(model, IMAGES, "pool", predicted))


def test_model_is_left_as_it_was(model):
    model.norm.eval()
    model.head.bias.requires_grad_(False)
    model.conv.weight.grad = torch.ones_like(model.conv.weight)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    before = [(m.training, len(m._forward_hooks), len(m._backward_hooks)) for m in model.modules()]
    gradcam_maps(model, IMAGES, "conv", 0)
    assert [(m.training, len(m._forward_hooks), len(m._backward_hooks)) for m in model.modules()] == before
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert torch.equal(model.conv.weight.grad, torch.ones_like(model.conv.weight))
    assert model.act.inplace and model.conv.weight.requires_grad and not model.head.bias.requires_grad


def test_frozen_teacher_without_gradients_switched_on(model):
    expected = gradcam_maps(model, IMAGES, "conv", 1)
    model.requires_grad_(False).eval()
    with torch.no_grad():
        np.testing.assert_allclose(gradcam_maps(model, IMAGES, "conv", 1), expected)


class Tokens(nn.Module):
    """A token layer that carries the image itself, so that the map is known."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Identity()

    def forward(self, x):
        tokens = self.block(nn.functional.pad(x.flatten(2).transpose(1, 2), (0, 0, 1, 0)))
        return tokens.mean(1).repeat(1, 2), [tokens]


def test_tokens_become_a_map_and_the_first_output_counts():
    x = torch.rand(1, 1, 4, 4)
    np.testing.assert_allclose(gradcam_maps(Tokens(), x, "block", 0)[0], (x / x.max())[0, 0], atol=1e-6)
    with pytest.raises(ValueError, match="choose another layer or n_prefix"):
        gradcam_maps(Tokens(), x, "block", 0, n_prefix=0)


class Cut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Small()

    def forward(self, x):
        with torch.no_grad():
            return self.inner(x)


def test_errors(model):
    with pytest.raises(ValueError, match="no layer 'features'"):
        gradcam_maps(model, IMAGES, "features")
    with pytest.raises(ValueError, match="does not contribute"):
        gradcam_maps(model, IMAGES, "unused")
    with pytest.raises(ValueError, match="cuts the gradient"):
        gradcam_maps(Cut(), IMAGES, "inner.conv")


def test_picture_shows_the_map_where_it_is_high(tmp_path):
    heat = np.zeros((1, 16, 16))
    heat[0, :8] = 1
    path = plot_gradcam([np.zeros((16, 16))], {"a": heat, "b": heat * 0}, tmp_path / "x.png", ["t"], {"a": ["c"]}, "G")
    picture = imread(path)[..., :3]
    bright = (picture[..., 0] > 0.5) & (picture[..., 2] < 0.6)
    assert bright.sum() > 1000
    with pytest.raises(ValueError, match="differ in number or size"):
        plot_gradcam([np.zeros((16, 16))], {"a": heat[:, :8]}, path)
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_gradcam([], {"a": heat}, path)
