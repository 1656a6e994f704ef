from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.networks.nets.efficientnet import MBConvBlock

from ckdmed.networks import (
    CLASSIFICATION_STUDENTS,
    EfficientNetB0,
    EfficientNetLiteClassifier,
    EfficientNetLiteEncoder,
    classification_student,
    classification_student_map,
    classification_student_taps,
    load_efficientnet_weights,
)
from ckdmed.networks.taps import tap_shapes
from tests.networks.random_states import random_state
from tests.networks.test_efficientnet_lite import file_shapes


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the names and shapes of the published Lite0."""
    path = tmp_path_factory.mktemp("weights") / "lite0.pth"
    torch.save(random_state(file_shapes(), gain=1.5), path)
    return path


def test_logits_are_those_of_the_encoder_under_the_published_head(published: Path) -> None:
    network, encoder = EfficientNetLiteClassifier(num_classes=1000).eval(), EfficientNetLiteEncoder().eval()
    report = load_efficientnet_weights(network, published)
    load_efficientnet_weights(encoder, published)
    assert report.share == report.tensor_share == 1.0 and not (report.missing or report.unexpected)
    state = torch.load(published, weights_only=True)
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        features = encoder(x)[-1]
        head = torch.nn.functional.conv2d(features, state["_conv_head.weight"])
        scale, bias, mean, variance = (
            state[f"_bn1.{part}"].reshape(-1, 1, 1) for part in ("weight", "bias", "running_mean", "running_var")
        )
        pooled = ((head - mean) / torch.sqrt(variance + 1e-3) * scale + bias).clamp(0, 6).mean(dim=(2, 3))
        expected = pooled @ state["_fc.weight"].T + state["_fc.bias"]
        found = network(x)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))


def test_another_number_of_classes_keeps_its_own_last_layer(published: Path) -> None:
    network = classification_student("efficientnet_lite", 1, 3, str(published))
    assert network(torch.rand(2, 1, 64, 64)).shape == (2, 3)
    assert float(network._fc.weight.detach().abs().max()) <= 1280**-0.5
    again = EfficientNetLiteClassifier(1, 3)
    again.load_state_dict(network.state_dict(), strict=True)
    x = torch.rand(1, 1, 65, 70)
    with torch.no_grad():
        assert torch.equal(network.eval()(x), again.eval()(x))


@pytest.mark.parametrize(
    ("kind", "stage"),
    [
        *((k, (1, 80, 4, 4)) for k in CLASSIFICATION_STUDENTS[:2]),
        ("plain_cnn", (1, 128, 4, 4)),
        ("vit", (1, 192, 8, 8)),
    ],
)
def test_every_weight_learns_and_the_stages_can_be_tapped(kind: str, stage: tuple[int, ...]) -> None:
    network = classification_student(kind, in_channels=2, num_classes=4).train()
    for module in network.modules():
        if isinstance(module, MBConvBlock):
            # a block whose residual is dropped for both images gets no gradient, and should not
            module.drop_connect_rate = 0.0
    network(torch.randn(4, 2, 70, 64)).square().mean().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without, without
    logits, shapes = tap_shapes(network, {"msgff": "_blocks.3"}, (1, 2, 64, 64))
    assert logits == (1, 4) and shapes["msgff"] == stage


def test_b0_is_the_default_and_lite_scripts() -> None:
    assert isinstance(classification_student(), EfficientNetB0)
    network = classification_student("efficientnet_lite", 1, 3).eval()
    x = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(torch.jit.script(network)(x), network(x))


def test_refusals(published: Path) -> None:
    with pytest.raises(
        ValueError, match="kind of student must be one of efficientnet_b0, efficientnet_lite, plain_cnn, vit, got 'vgg'"
    ):
        classification_student("vgg")
    with pytest.raises(ValueError, match="backbone must be one of .*, got 'lite9'"):
        classification_student("efficientnet_lite", backbone="lite9")
    with pytest.raises(ValueError, match=r"lite0\.pth"):
        classification_student("efficientnet_b0", weights=str(published))


def test_plain_cnn_is_small_scripts_and_takes_odd_sizes() -> None:
    network = classification_student("plain_cnn", 1, 3).eval()
    # eight 3 x 3 convolutions of widths 16, 32, 64, 128, their norms, and a linear layer
    widths = [1, 16, 16, 32, 32, 64, 64, 128, 128]
    numbers = sum(9 * a * b + 2 * b for a, b in zip(widths, widths[1:])) + 3 * 128 + 3
    assert sum(p.numel() for p in network.parameters()) == numbers < 300_000
    for size in ((16, 16), (61, 97)):
        x = torch.rand(2, 1, *size)
        assert network(x).shape == (2, 3)
        torch.testing.assert_close(torch.jit.script(network)(x), network(x))
    again = classification_student("plain_cnn", 1, 3)
    again.load_state_dict(network.state_dict(), strict=True)
    assert torch.equal(again.eval()(x), network(x))


@pytest.mark.parametrize("kind", CLASSIFICATION_STUDENTS)
def test_the_map_to_look_at_is_there_in_every_kind(kind: str) -> None:
    network = classification_student(kind, 1, 3)
    for size in (64, 128):
        _, shapes = tap_shapes(network, {"map": classification_student_map(kind, size)}, (1, 1, size, size))
        assert min(shapes["map"][2:]) >= 4


def test_plain_cnn_refuses_what_it_cannot_be() -> None:
    with pytest.raises(ValueError, match="lite0.pth: a student of kind 'plain_cnn' has no published weights"):
        classification_student("plain_cnn", weights="lite0.pth")
    with pytest.raises(ValueError, match="base must be at least 1, got 3, 3 and 0"):
        classification_student("plain_cnn", options={"base": 0})
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\), got 1.0"):
        classification_student("plain_cnn", options={"dropout": 1.0})


def test_vit_is_small_scripts_and_takes_odd_sizes() -> None:
    network = classification_student("vit", 1, 3).eval()
    # embedding; four stages of two blocks (four d x d matrices of attention, an MLP four times as wide, two norms) with
    # positions on 8 x 8 patches; norm and linear layer
    d = 192
    block = 3 * d * d + d * d + d + 8 * d * d + 4 * d + d + 4 * d
    numbers = 64 * d + d + 8 * block + 4 * 64 * d + 2 * d + 3 * d + 3
    assert sum(p.numel() for p in network.parameters()) == numbers < 4_000_000
    for size in ((5, 8), (61, 97)):
        x = torch.rand(2, 1, *size)
        assert network(x).shape == (2, 3)
        torch.testing.assert_close(torch.jit.script(network)(x), network(x))
        # what is missing of the last patches is zeros, below and to the right
        whole = torch.zeros(2, 1, *(-(-edge // 8) * 8 for edge in size))
        whole[:, :, : size[0], : size[1]] = x
        assert torch.equal(network(x), network(whole))
    again = classification_student("vit", 1, 3)
    again.load_state_dict(network.state_dict(), strict=True)
    assert torch.equal(again.eval()(x), network(x))


def test_vit_tells_places_apart_and_spreads_its_blocks_over_the_stages() -> None:
    torch.manual_seed(0)
    options = {"patch_size": 4, "hidden_size": 8, "num_heads": 2, "num_layers": 6, "position_grid": 4}
    network = classification_student("vit", 1, 3, options=options).eval()
    assert [len(stage.blocks) for stage in network._blocks] == [1, 2, 1, 2]
    logits, shapes = tap_shapes(network, classification_student_taps(network), (1, 1, 16, 24))
    assert logits == (1, 3) and {name: shapes[name] for name in ("msgff", "exit1", "exit4")} == {
        name: (1, 8, 4, 6) for name in ("msgff", "exit1", "exit4")
    }
    x = torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        assert not torch.allclose(network(x), network(x.roll(4, -1)))
        for stage in network._blocks:
            stage.positions.zero_()
        # without positions the patches are a set
        torch.testing.assert_close(network(x), network(x.roll(4, -1)))
        # logits are the linear layer's of the mean of the normalised tokens
        mean = torch.nn.functional.layer_norm(network._blocks(network._embedding(x)).flatten(2).mT, (8,)).mean(1)
        torch.testing.assert_close(network(x), network._fc(mean))


def test_vit_refuses_what_it_cannot_be() -> None:
    with pytest.raises(ValueError, match="vit.pth: a student of kind 'vit' has no published weights"):
        classification_student("vit", weights="vit.pth")
    with pytest.raises(ValueError, match="must be at least 1, got 3, 3, 0 and 192"):
        classification_student("vit", options={"patch_size": 0})
    with pytest.raises(ValueError, match="num_layers must be at least 4, one for each stage, got 3"):
        classification_student("vit", options={"num_layers": 3})
    with pytest.raises(ValueError, match="192 channels cannot have 5 heads"):
        classification_student("vit", options={"num_heads": 5})
    with pytest.raises(ValueError, match=r"dropout of self-attention must lie in \[0, 1\), got 1"):
        classification_student("vit", options={"dropout": 1.0})
