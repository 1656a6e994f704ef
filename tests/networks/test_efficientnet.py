from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.networks.nets import EfficientNetBN
from torch.nn import functional as F

from ckdmed.networks import EfficientNetB0, load_efficientnet_weights
from tests.networks.efficientnet_stages import STAGES
from tests.networks.random_states import State, random_state


def blocks() -> list[tuple[str, str, int, int, int, int, int]]:
    """Name in torchvision, name in timm, expansion, kernel, stride, channels in and out of every block."""
    found = []
    for stage, (expansion, kernel, stride, before, after, repeats) in enumerate(STAGES):
        for i in range(repeats):
            first = i == 0
            names = f"features.{stage + 1}.{i}.block", f"blocks.{stage}.{i}"
            found.append((*names, expansion, kernel, stride if first else 1, before if first else after, after))
    return found


def torchvision_shapes(classes: int = 1000) -> dict[str, tuple[int, ...]]:
    """Names and shapes of torchvision's efficientnet_b0."""
    shapes: dict[str, tuple[int, ...]] = {}

    def convolution(name: str, out: int, inp: int, kernel: int) -> None:
        shapes[f"{name}.0.weight"] = (out, inp, kernel, kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.1.{part}"] = (out,)
        shapes[f"{name}.1.num_batches_tracked"] = ()

    convolution("features.0", 32, 3, 3)
    for name, _, expansion, kernel, _, before, after in blocks():
        wide, squeezed, part = before * expansion, before // 4, 0
        if expansion > 1:
            convolution(f"{name}.0", wide, before, 1)
            part = 1
        convolution(f"{name}.{part}", wide, 1, kernel)
        for layer, out, inp in (("fc1", squeezed, wide), ("fc2", wide, squeezed)):
            shapes[f"{name}.{part + 1}.{layer}.weight"] = (out, inp, 1, 1)
            shapes[f"{name}.{part + 1}.{layer}.bias"] = (out,)
        convolution(f"{name}.{part + 2}", after, wide, 1)
    convolution("features.8", 1280, 320, 1)
    return shapes | {"classifier.1.weight": (classes, 1280), "classifier.1.bias": (classes,)}


def reference(state: State, x: torch.Tensor) -> torch.Tensor:
    """torchvision's forward pass in evaluation mode, written out."""

    def convolve(y: torch.Tensor, name: str, stride: int = 1, groups: int = 1) -> torch.Tensor:
        weight = state[f"{name}.0.weight"]
        y = F.conv2d(y, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
        scale, bias, mean, variance = (
            state[f"{name}.1.{part}"].reshape(-1, 1, 1) for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (y - mean) / torch.sqrt(variance + 1e-5) * scale + bias

    def swish(y: torch.Tensor) -> torch.Tensor:
        return y / (1 + torch.exp(-y))

    x = swish(convolve(x, "features.0", stride=2))
    for name, _, expansion, _, stride, before, after in blocks():
        y, part = x, 0
        if expansion > 1:
            y, part = swish(convolve(y, f"{name}.0")), 1
        y = swish(convolve(y, f"{name}.{part}", stride, groups=before * expansion))
        squeeze = f"{name}.{part + 1}"
        gate = y.mean((2, 3), keepdim=True)
        gate = swish(F.conv2d(gate, state[f"{squeeze}.fc1.weight"], state[f"{squeeze}.fc1.bias"]))
        gate = torch.sigmoid(F.conv2d(gate, state[f"{squeeze}.fc2.weight"], state[f"{squeeze}.fc2.bias"]))
        y = convolve(y * gate, f"{name}.{part + 2}")
        x = x + y if stride == 1 and before == after else y
    x = swish(convolve(x, "features.8")).mean((2, 3))
    return x @ state["classifier.1.weight"].T + state["classifier.1.bias"]


def as_timm(state: State) -> State:
    """The same weights under timm's names."""
    renames = {
        "features.0.0": "conv_stem",
        "features.0.1": "bn1",
        "features.8.0": "conv_head",
        "features.8.1": "bn2",
        "classifier.1": "classifier",
    }
    for torchvision, timm, expansion, *_ in blocks():
        order = ["conv_pw", "bn1", "conv_dw", "bn2", "se", "conv_pwl", "bn3"]
        if expansion == 1:
            order = ["conv_dw", "bn1", "se", "conv_pw", "bn2"]
        part = 0
        while order:
            if order[0] == "se":
                renames[f"{torchvision}.{part}.fc1"] = f"{timm}.se.conv_reduce"
                renames[f"{torchvision}.{part}.fc2"] = f"{timm}.se.conv_expand"
                order = order[1:]
            else:
                renames[f"{torchvision}.{part}.0"], renames[f"{torchvision}.{part}.1"] = (
                    f"{timm}.{order[0]}",
                    f"{timm}.{order[1]}",
                )
                order = order[2:]
            part += 1
    return {f"{renames[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": value for name, value in state.items()}


@pytest.fixture(scope="module")
def state() -> State:
    return random_state(torchvision_shapes(), gain=1.5)


@pytest.mark.parametrize("layout", ["torchvision", "timm"])
def test_outputs_equal_the_reference(tmp_path: Path, state: State, layout: str) -> None:
    torch.save(state if layout == "torchvision" else as_timm(state), tmp_path / "b0.pth")
    network = EfficientNetB0()
    report = load_efficientnet_weights(network, tmp_path / "b0.pth")
    assert report.layout == layout and report.share == 1.0
    assert not (report.missing or report.unexpected or report.kept or report.adapted)
    assert (len(report.notes) == 1) == (layout == "timm")
    x = torch.randn(1, 3, 64, 96)
    expected = reference(state, x)
    assert expected.std() > 1e-3
    torch.testing.assert_close(network.eval()(x), expected, rtol=1e-3, atol=1e-3 * float(expected.std()))


def test_padding_same_is_monais_own_network(tmp_path: Path, state: State) -> None:
    monai_file = tmp_path / "monai.pt"
    source = EfficientNetB0()
    torch.save(state, tmp_path / "b0.pth")
    load_efficientnet_weights(source, tmp_path / "b0.pth")
    torch.save(source.state_dict(), monai_file)
    plain, ours = EfficientNetBN("efficientnet-b0", pretrained=False).eval(), EfficientNetB0(padding="same").eval()
    symmetric = EfficientNetB0().eval()
    for network in (plain, ours, symmetric):
        load_efficientnet_weights(network, monai_file)
    x = torch.randn(1, 3, 64, 64)
    expected = plain(x).detach()
    torch.testing.assert_close(ours(x), expected, rtol=1e-3, atol=1e-4 * float(expected.std()))
    assert (symmetric(x) - expected).abs().max() > 0.1 * expected.std()


def test_weights_of_the_other_padding_are_refused(tmp_path: Path, state: State) -> None:
    torch.save(state, tmp_path / "b0.pth")
    with pytest.raises(ValueError, match=r"padding='same', so its outputs.*EfficientNetB0\(padding='symmetric'\)"):
        load_efficientnet_weights(EfficientNetBN("efficientnet-b0", pretrained=False), tmp_path / "b0.pth")


def test_files_of_monai_and_of_efficientnet_pytorch(tmp_path: Path) -> None:
    first, second = EfficientNetB0(padding="same").eval(), EfficientNetB0(padding="same").eval()
    torch.save(first.state_dict(), tmp_path / "monai.pt")
    flat = {}
    for name, value in first.state_dict().items():
        parts = name.split(".")
        flat[".".join([parts[0], *parts[2:]]) if parts[0] == "_blocks" else name] = value
    torch.save(flat, tmp_path / "flat.pt")
    x = torch.randn(1, 3, 64, 64)
    for file, layout in (("monai.pt", "MONAI"), ("flat.pt", "EfficientNet-PyTorch")):
        report = load_efficientnet_weights(second, tmp_path / file)
        assert report.layout == layout and report.share == 1.0
        assert torch.equal(first(x), second(x))


def test_parameter_count_and_the_tap_of_the_third_stage() -> None:
    with torch.device("meta"):
        network = EfficientNetB0()
        assert sum(p.numel() for p in network.parameters()) == 5_288_548
        shapes = []
        network.get_submodule("_blocks.3").register_forward_hook(lambda _m, _i, output: shapes.append(output.shape))
        network(torch.rand(1, 3, 224, 224))
    assert shapes == [(1, 80, 14, 14)]


@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_scripts_and_trains(padding: str) -> None:
    network = EfficientNetB0(1, 3, padding=padding)
    network(torch.rand(2, 1, 64, 64)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    network.eval()
    x = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(torch.jit.script(network)(x), network(x))


def test_volumes() -> None:
    assert EfficientNetB0(1, 3, spatial_dims=3).eval()(torch.rand(1, 1, 32, 32, 32)).shape == (1, 3)


def test_other_networks_are_refused(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="other.pth: not an EfficientNet.*_blocks.0.0.*Its first names: fc.weight"):
        load_efficientnet_weights(EfficientNetB0(), tmp_path / "other.pth")
    with pytest.raises(ValueError, match="symmetric, same, got 'valid'"):
        EfficientNetB0(padding="valid")
