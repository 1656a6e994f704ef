from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from monai.networks.nets import FlexibleUNet
from monai.networks.nets.efficientnet import MBConvBlock
from torch import nn
from torch.nn import functional as F

from ckdmed.networks import (
    EfficientNetB0,
    EfficientNetLiteEncoder,
    EfficientNetLiteUNet,
    UNet,
    load_efficientnet_weights,
    segmentation_student,
    segmentation_student_taps,
)
from tests.networks.efficientnet_stages import STAGES
from tests.networks.random_states import State, random_state

LITE1 = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 3),
    (6, 5, 2, 24, 40, 3),
    (6, 3, 2, 40, 80, 4),
    (6, 5, 1, 80, 112, 4),
    (6, 5, 2, 112, 192, 5),
    (6, 3, 1, 192, 320, 1),
)
LITE2 = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 3),
    (6, 5, 2, 24, 48, 3),
    (6, 3, 2, 48, 88, 4),
    (6, 5, 1, 88, 120, 4),
    (6, 5, 2, 120, 208, 5),
    (6, 3, 1, 208, 352, 1),
)
#: Stages as in `STAGES`, after which blocks, counted through, the five maps are taken, and how many numbers the file
#: published for it holds.
MODELS = {
    "efficientnet-lite0": (STAGES, (0, 2, 4, 10, 15), 4694073),
    "efficientnet-lite1": (LITE1, (0, 3, 6, 14, 20), 5470408),
    "efficientnet-lite2": (LITE2, (0, 3, 6, 14, 20), 6150232),
}


def blocks(model: str) -> list[tuple[str, int, int, int, int]]:
    """Name in the file, expansion, stride, channels in and out."""
    found: list[tuple[str, int, int, int, int]] = []
    for expansion, _, stride, before, after, repeats in MODELS[model][0]:
        for i in range(repeats):
            name = f"_blocks.{len(found)}"
            found.append((name, expansion, stride if i == 0 else 1, before if i == 0 else after, after))
    return found


def file_shapes(model: str = "efficientnet-lite0") -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published file, EfficientNet-PyTorch's."""
    shapes: dict[str, tuple[int, ...]] = {}

    def convolution(name: str, norm: str, out: int, inp: int, kernel: int) -> None:
        shapes[f"{name}.weight"] = (out, inp, kernel, kernel)
        shapes.update({f"{norm}.{part}": (out,) for part in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{norm}.num_batches_tracked"] = ()

    convolution("_conv_stem", "_bn0", 32, 3, 3)
    stages = MODELS[model][0]
    kernels = [kernel for _, kernel, _, _, _, repeats in stages for _ in range(repeats)]
    for (name, expansion, _, before, after), kernel in zip(blocks(model), kernels):
        if expansion > 1:
            convolution(f"{name}._expand_conv", f"{name}._bn0", before * expansion, before, 1)
        convolution(f"{name}._depthwise_conv", f"{name}._bn1", before * expansion, 1, kernel)
        convolution(f"{name}._project_conv", f"{name}._bn2", after, before * expansion, 1)
    convolution("_conv_head", "_bn1", 1280, stages[-1][4], 1)
    return shapes | {"_fc.weight": (1000, 1280), "_fc.bias": (1000,)}


def reference(state: State, x: torch.Tensor, model: str = "efficientnet-lite0") -> list[torch.Tensor]:
    """The published network in evaluation mode, written out: TensorFlow's padding, ReLU6, no squeeze and excitation."""

    def convolve(y: torch.Tensor, name: str, norm: str, stride: int = 1, groups: int = 1) -> torch.Tensor:
        weight = state[f"{name}.weight"]
        kernel = weight.shape[-1]
        pads = []
        for size in (y.shape[-1], y.shape[-2]):
            needed = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [needed // 2, needed - needed // 2]
        y = F.conv2d(F.pad(y, pads), weight, stride=stride, groups=groups)
        scale, bias, mean, variance = (
            state[f"{norm}.{part}"].reshape(-1, 1, 1) for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (y - mean) / torch.sqrt(variance + 1e-3) * scale + bias

    x = convolve(x, "_conv_stem", "_bn0", stride=2).clamp(0, 6)
    maps = []
    for name, expansion, stride, before, after in blocks(model):
        y = x
        if expansion > 1:
            y = convolve(y, f"{name}._expand_conv", f"{name}._bn0").clamp(0, 6)
        wide = before * expansion
        y = convolve(y, f"{name}._depthwise_conv", f"{name}._bn1", stride, groups=wide).clamp(0, 6)
        y = convolve(y, f"{name}._project_conv", f"{name}._bn2")
        x = x + y if stride == 1 and before == after else y
        maps.append(x)
    return [maps[i] for i in MODELS[model][1]]


@pytest.fixture(scope="module")
def state() -> State:
    return random_state(file_shapes(), gain=1.5)


@pytest.fixture
def file(state: State, tmp_path: Path) -> Path:
    torch.save(state, tmp_path / "lite0.pth")
    return tmp_path / "lite0.pth"


@pytest.mark.parametrize("model", MODELS)
def test_the_tables_are_those_of_the_published_files(model: str) -> None:
    assert sum(math.prod(shape) for shape in file_shapes(model).values()) == MODELS[model][2]


@pytest.mark.parametrize("model", MODELS)
def test_maps_equal_the_reference(model: str, tmp_path: Path) -> None:
    state, file = random_state(file_shapes(model), gain=1.5), tmp_path / "lite.pth"
    torch.save(state, file)
    encoder = EfficientNetLiteEncoder(model, in_channels=3).eval()
    report = load_efficientnet_weights(encoder, file)
    assert report.layout == "EfficientNet-PyTorch" and report.share == report.tensor_share == 1.0
    assert not (report.missing or report.kept or report.adapted)
    assert {name.split(".")[0] for name in report.unexpected} == {"_conv_head", "_bn1", "_fc"}
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        maps = encoder(x)
    for found, expected in zip(maps, reference(state, x, model), strict=True):
        assert expected.std() > 1e-3
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))


def test_a_grey_image_is_seen_as_its_copies_in_three_channels(state: State, file: Path) -> None:
    network = EfficientNetLiteUNet(weights=str(file)).eval()
    grey = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        found = network.encoder(grey)[-1]
    expected = reference(state, grey.expand(-1, 3, -1, -1))[-1]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))


def test_a_file_with_monais_names_is_read_too(file: Path, tmp_path: Path) -> None:
    first, second = EfficientNetLiteUNet(weights=str(file)), EfficientNetLiteUNet()
    torch.save(first.encoder.state_dict(), tmp_path / "monai.pt")
    assert load_efficientnet_weights(second.encoder, tmp_path / "monai.pt").layout == "MONAI"
    for name, value in second.encoder.state_dict().items():
        assert torch.equal(value, first.encoder.state_dict()[name])


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save(UNet(features=(2, 4)).state_dict(), tmp_path / "unet.pt")
    with pytest.raises(ValueError, match=r"unet\.pt: not an EfficientNet checkpoint"):
        EfficientNetLiteUNet(weights=str(tmp_path / "unet.pt"))


@pytest.mark.parametrize("layout", ["MONAI", "EfficientNet-PyTorch", "timm"])
def test_a_file_of_b0_is_refused_although_its_convolutions_fit(layout: str, tmp_path: Path) -> None:
    state = EfficientNetB0(padding="same").state_dict()
    if layout == "EfficientNet-PyTorch":
        state = {re.sub(r"^_blocks\.\d+\.", "_blocks.", name): value for name, value in state.items()}
    if layout == "timm":
        state = {
            "conv_stem.weight": torch.zeros(32, 3, 3, 3),
            "blocks.0.0.se.conv_reduce.weight": torch.zeros(8, 32, 1, 1),
        }
    torch.save(state, tmp_path / "b0.pth")
    with pytest.raises(ValueError, match=r"b0\.pth: holds squeeze-and-excitation layers.*needs its own file"):
        EfficientNetLiteUNet(weights=str(tmp_path / "b0.pth"))


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (30, 33)])
def test_logits_have_the_images_size_and_every_weight_learns(size: tuple[int, int]) -> None:
    network = EfficientNetLiteUNet(in_channels=2, out_channels=3, decoder_channels=(16, 8, 8, 4, 4)).train()
    for module in network.modules():
        if isinstance(module, MBConvBlock):
            # a block whose residual is dropped for both images gets no gradient, and should not
            module.drop_connect_rate = 0.0
    logits = network(torch.randn(2, 2, *size))
    assert logits.shape == (2, 3, *size) and torch.isfinite(logits).all()
    logits.square().mean().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without, without


def test_no_activation_is_in_place() -> None:
    assert not [m for m in EfficientNetLiteUNet().modules() if getattr(m, "inplace", False)]


@pytest.mark.parametrize("model", MODELS)
def test_the_state_dict_fills_monais_flexible_unet_over_the_registered_encoder(model: str) -> None:
    ours = segmentation_student("efficientnet_lite", backbone=model).eval()
    plain = FlexibleUNet(1, 1, model, decoder_channels=(128, 64, 32, 16, 8)).eval()
    plain.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(1, 1, 64, 96)
    with torch.no_grad():
        assert torch.equal(plain(x), ours(x))


def test_bfloat16_keeps_the_depthwise_convolutions_in_float32() -> None:
    torch.manual_seed(0)
    module, *_ = [m for m in EfficientNetLiteEncoder().modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    x = torch.randn(1, module.in_channels, 16, 16, dtype=torch.bfloat16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found, stock = module(x), nn.Conv2d.forward(module, x)
    # it comes in and goes out as its neighbours' maps do; the weights between are not rounded
    assert found.dtype == stock.dtype == torch.bfloat16
    assert torch.equal(found, F.conv2d(x.float(), module.weight, groups=module.groups).to(torch.bfloat16))
    assert not torch.equal(found, stock)


@pytest.mark.slow
def test_scripts() -> None:
    network = EfficientNetLiteUNet(decoder_channels=(16, 8, 8, 4, 4)).eval()
    x = torch.rand(1, 1, 50, 64)
    torch.testing.assert_close(torch.jit.script(network)(x), network(x))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spatial_dims": 3}, "spatial_dims must be 2, got 3"),
        ({"pretrained": True}, "downloads nothing"),
        ({"model_name": "efficientnet-b0"}, "must be one of .*lite0, .*lite1, .*lite2, got 'efficientnet-b0'"),
    ],
)
def test_refusals(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EfficientNetLiteEncoder(**settings)


def test_a_file_of_another_of_the_three_is_refused(file: Path) -> None:
    with pytest.raises(ValueError, match=r"lite0\.pth"):
        EfficientNetLiteUNet(backbone="efficientnet-lite2", weights=str(file))
    with pytest.raises(ValueError, match="backbone must be one of .*, got 'resnet10'"):
        EfficientNetLiteUNet(backbone="resnet10")


def test_students_of_unknown_kinds_and_weights_without_a_place_are_refused() -> None:
    for call in (segmentation_student, segmentation_student_taps):
        with pytest.raises(ValueError, match="must be one of unet, .*, got 'resnet'"):
            call("resnet")
    with pytest.raises(ValueError, match=r"lite0\.pth: a student of kind 'unet' has no encoder"):
        segmentation_student("unet", weights="lite0.pth")
