from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ckdmed.networks import VGG, load_vgg_weights, vgg19, vgg19_bn, vgg_tiny
from tests.networks.random_states import State, random_state

#: torchvision's configuration "E": widths of the convolutions, "M" for a max pooling.
PLAN: list[int | str] = [
    64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512, 512, 512, 512, "M",
]  # fmt: skip


def torchvision_shapes(
    scale: int = 1, classes: int = 1000, batch_norm: bool = True, channels: int = 3
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of torchvision's vgg19_bn, all widths divided by `scale`."""
    shapes: dict[str, tuple[int, ...]] = {}
    index = 0
    for entry in PLAN:
        if isinstance(entry, str):
            index += 1
            continue
        width = entry // scale
        shapes[f"features.{index}.weight"] = (width, channels, 3, 3)
        shapes[f"features.{index}.bias"] = (width,)
        channels = width
        if batch_norm:
            for part in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"features.{index + 1}.{part}"] = (width,)
            shapes[f"features.{index + 1}.num_batches_tracked"] = ()
        index += 3 if batch_norm else 2
    hidden = 4096 // scale
    for layer, (out, inp) in {0: (hidden, channels * 49), 3: (hidden, hidden), 6: (classes, hidden)}.items():
        shapes[f"classifier.{layer}.weight"], shapes[f"classifier.{layer}.bias"] = (out, inp), (out,)
    return shapes


def reference(state: State, x: torch.Tensor, batch_norm: bool = True) -> torch.Tensor:
    """torchvision's forward pass in evaluation mode, written out."""
    index = 0
    for entry in PLAN:
        if entry == "M":
            x = F.max_pool2d(x, 2)
            index += 1
            continue
        x = F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1)
        if batch_norm:
            weight, bias, mean, variance = (
                state[f"features.{index + 1}.{part}"].reshape(-1, 1, 1)
                for part in ("weight", "bias", "running_mean", "running_var")
            )
            x = (x - mean) / torch.sqrt(variance + 1e-5) * weight + bias
        x = x.clamp_min(0)
        index += 3 if batch_norm else 2
    x = F.adaptive_avg_pool2d(x, 7).flatten(1)
    for layer in (0, 3, 6):
        x = x @ state[f"classifier.{layer}.weight"].T + state[f"classifier.{layer}.bias"]
        x = x if layer == 6 else x.clamp_min(0)
    return x


@pytest.mark.parametrize("batch_norm", [True, False])
def test_outputs_equal_the_reference(tmp_path: Path, batch_norm: bool) -> None:
    state = random_state(torchvision_shapes(scale=32, classes=6, batch_norm=batch_norm))
    torch.save(state, tmp_path / "vgg.pth")
    build = vgg19_bn if batch_norm else vgg19
    network = build(num_classes=6, width=1 / 32, weights=str(tmp_path / "vgg.pth")).eval()
    x = torch.randn(2, 3, 64, 96)
    expected = reference(state, x, batch_norm)
    assert expected.std() > 1e-3
    torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_names_and_shapes_at_full_size_are_torchvisions(batch_norm: bool) -> None:
    with torch.device("meta"):
        network = vgg19_bn() if batch_norm else vgg19()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes == torchvision_shapes(batch_norm=batch_norm)


def test_published_parameter_counts() -> None:
    with torch.device("meta"):
        counts = [sum(p.numel() for p in build().parameters()) for build in (vgg19_bn, vgg19)]
    assert counts == [143_678_248, 143_667_240]


def test_file_without_batch_norm_is_refused(tmp_path: Path) -> None:
    torch.save(random_state(torchvision_shapes(scale=32, batch_norm=False)), tmp_path / "vgg19.pth")
    network = vgg19_bn(width=1 / 32)
    before = network.features[0].weight.clone()
    with pytest.raises(ValueError, match=r"vgg19.pth: fills .*another network.*features.1"):
        load_vgg_weights(network, tmp_path / "vgg19.pth")
    assert torch.equal(network.features[0].weight, before)


def test_named_layers_are_where_the_docstring_says() -> None:
    with torch.device("meta"):
        with_norm, without = vgg19_bn().features, vgg19().features
    assert [i for i, layer in enumerate(with_norm) if isinstance(layer, nn.MaxPool2d)] == [6, 13, 26, 39, 52]
    assert [i for i, layer in enumerate(without) if isinstance(layer, nn.MaxPool2d)] == [4, 9, 18, 27, 36]
    assert isinstance(with_norm[49], nn.Conv2d) and isinstance(with_norm[51], nn.ReLU)
    assert isinstance(without[34], nn.Conv2d)
    with torch.device("meta"):
        assert with_norm[:50](torch.rand(1, 3, 224, 224)).shape == (1, 512, 14, 14)


def test_a_tapped_convolution_is_not_overwritten() -> None:
    network = vgg_tiny().eval()
    kept = []
    network.features[0].register_forward_hook(lambda _m, _i, output: kept.append(output))
    network(torch.randn(1, 3, 16, 16))
    assert kept[0].min() < 0


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_small_network_trains_scripts_and_reloads(spatial_dims: int) -> None:
    torch.manual_seed(0)
    first, second = (
        VGG(1, 3, ((4,), (6, 6)), hidden_size=16, pool_size=2, spatial_dims=spatial_dims) for _ in range(2)
    )
    x = torch.rand(4, 1, *(13, 10, 9)[:spatial_dims])
    first(x).square().mean().backward()
    for name, parameter in first.named_parameters():
        assert parameter.grad is not None, name
        # batch normalisation subtracts a convolution's bias again; torchvision has it nevertheless
        if not (name.startswith("features") and parameter.dim() == 1):
            assert parameter.grad.abs().max() > 0, name
    first.eval(), second.eval()
    second.load_state_dict(first.state_dict(), strict=True)
    assert torch.equal(first(x), second(x)) and first(x).shape == (4, 3)
    assert torch.equal(torch.jit.script(first)(x), first(x))
    assert torch.equal(first.classifier[6](first.forward_features(x)), first(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stages": ()}, "at least one stage"),
        ({"stages": ((8,), ())}, "at least one stage"),
        ({"dropout": -0.1}, r"dropout must lie in \[0, 1\)"),
        ({"spatial_dims": 4}, "spatial_dims must be 2 or 3"),
    ],
)
def test_bad_settings(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VGG(**arguments)


def test_bad_width_and_too_small_an_image() -> None:
    with pytest.raises(ValueError, match="width must be positive, got 0"):
        vgg19_bn(width=0)
    with pytest.raises(ValueError, match=r"\[7, 16\]: its poolings need at least 8"):
        vgg_tiny()(torch.rand(1, 3, 7, 16))
