from __future__ import annotations

import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ckdmed.networks import UNet


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def image(spatial_dims: int, channels: int = 1, size: tuple[int, int, int] = (8, 12, 4)) -> torch.Tensor:
    return torch.rand(2, channels, *size[:spatial_dims])


def map_shapes(network: nn.Module, paths: list[str], x: torch.Tensor) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    handles = [
        network.get_submodule(path).register_forward_hook(
            lambda _module, _inputs, output, path=path: shapes.__setitem__(path, tuple(output.shape[1:]))
        )
        for path in paths
    ]
    network(x)
    for handle in handles:
        handle.remove()
    return shapes


@pytest.mark.parametrize("upsample", ["deconv", "bilinear"])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_logits_have_the_grid_of_the_input(spatial_dims: int, upsample: str) -> None:
    network = UNet(spatial_dims, in_channels=4, out_channels=3, features=(4, 6, 8), upsample=upsample)
    x = image(spatial_dims, channels=4)
    assert network(x).shape == (2, 3, *x.shape[2:])


@settings(deadline=None, max_examples=15)
@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_every_multiple_of_the_divisor_passes_and_nothing_else(height: int, width: int) -> None:
    network = UNet(features=(2, 3, 4)).eval()
    x = torch.rand(1, 1, height, width)
    if height % 4 == 0 and width % 4 == 0:
        assert network(x).shape == x.shape
    else:
        with pytest.raises(ValueError, match=rf"\[{height}, {width}\].*multiple of 4.*DivisiblePad\(k=4\)"):
            network(x)


def test_default_depth_needs_multiples_of_16() -> None:
    with torch.device("meta"):
        network = UNet()
        assert network(torch.rand(1, 1, 48, 80)).shape == (1, 1, 48, 80)
        with pytest.raises(ValueError, match="multiple of 16"):
            network(torch.rand(1, 1, 48, 72))


def test_taps_have_the_declared_channels_and_grids() -> None:
    with torch.device("meta"):
        network = UNet()
        paths = [f"encoder.e{i}" for i in range(1, 5)] + ["bridge"] + [f"decoder.d{i}" for i in range(4, 0, -1)]
        shapes = map_shapes(network, paths, torch.rand(1, 1, 64, 32))
    assert shapes == {
        "encoder.e1": (32, 64, 32),
        "encoder.e2": (64, 32, 16),
        "encoder.e3": (128, 16, 8),
        "encoder.e4": (256, 8, 4),
        "bridge": (512, 4, 2),
        "decoder.d4": (256, 8, 4),
        "decoder.d3": (128, 16, 8),
        "decoder.d2": (64, 32, 16),
        "decoder.d1": (32, 64, 32),
    }


@pytest.mark.parametrize("norm", ["batch", "instance", ("group", {"num_groups": 2}), None])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_parameter_gets_a_gradient(spatial_dims: int, norm: str | tuple | None) -> None:
    torch.manual_seed(0)
    network = UNet(spatial_dims, features=(4, 6, 8), norm=norm)
    network(torch.rand(2, 1, *(16, 16, 16)[:spatial_dims])).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("norm", ["batch", ("batch", {"eps": 1e-4}), "INSTANCE"])
def test_no_bias_in_front_of_a_norm_that_subtracts_it(norm: str | tuple) -> None:
    names = [name for name, _ in UNet(features=(2, 4), norm=norm).named_parameters() if name.endswith(".conv.bias")]
    assert names == ["head.conv.bias"]


@pytest.mark.parametrize("upsample", ["deconv", "bilinear"])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_script_equals_eager_also_after_saving(spatial_dims: int, upsample: str) -> None:
    network = UNet(spatial_dims, features=(2, 4, 6), upsample=upsample, dropout=0.2).eval()
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(network), file)
    file.seek(0)
    scripted = torch.jit.load(file)
    for size in ((8, 12, 4), (16, 4, 8)):
        x = image(spatial_dims, size=size)
        assert torch.equal(scripted(x), network(x))
    with pytest.raises(torch.jit.Error, match="multiple of 4"):
        scripted(image(spatial_dims, size=(9, 8, 8)))


def test_trace_equals_eager_at_another_size() -> None:
    network = UNet(features=(2, 4, 6)).eval()
    traced = torch.jit.trace(network, torch.rand(1, 1, 16, 16))
    x = torch.rand(1, 1, 8, 24)
    assert torch.equal(traced(x), network(x))


def test_strict_reload_gives_equal_output() -> None:
    first, second = UNet(features=(2, 4, 6)), UNet(features=(2, 4, 6))
    x = image(2)
    first(x)  # moves the running statistics, which must be reloaded too
    assert not torch.equal(first.eval()(x), second.eval()(x))
    second.load_state_dict(first.state_dict(), strict=True)
    assert torch.equal(first(x), second(x))


def test_a_volume_of_one_repeated_slice_gives_the_slice_away_from_the_faces() -> None:
    """With kernels that act on the middle plane only, the 3D network is the 2D network on every slice."""
    torch.manual_seed(1)
    flat, deep = (
        UNet(2, features=(2, 4), upsample="bilinear").eval(),
        UNet(3, features=(2, 4), upsample="bilinear").eval(),
    )
    state = {}
    for name, value in flat.state_dict().items():
        target = deep.state_dict()[name]
        state[name] = value
        if target.dim() == 5:
            state[name] = torch.zeros_like(target)
            state[name][:, :, target.shape[2] // 2] = value
    deep.load_state_dict(state)
    x = torch.rand(1, 1, 8, 8)
    volume = deep(x[:, :, None].expand(-1, -1, 4, -1, -1))
    torch.testing.assert_close(volume, flat(x)[:, :, None].expand_as(volume))


def test_bridge_can_be_changed_between_encode_and_decode() -> None:
    network = UNet(features=(2, 4, 6)).eval()
    x = image(2)
    bridge, skips = network.encode(x)
    assert bridge.shape[1] == 6 and [skip.shape[1] for skip in skips] == [2, 4]
    assert torch.equal(network.decode(bridge, skips), network(x))
    assert not torch.equal(network.decode(bridge + 1, skips), network(x))


def test_parameter_counts() -> None:
    with torch.device("meta"):
        student, teacher = count(UNet()), count(UNet(features=(64, 128, 256, 512, 1024)))
    assert (student, teacher) == (7_762_465, 31_036_481)
    assert student / teacher == pytest.approx(0.25, abs=0.001)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spatial_dims": 1}, "spatial_dims must be 2 or 3, got 1"),
        ({"features": (8,)}, "at least two positive widths"),
        ({"features": (8, 0)}, "at least two positive widths"),
        ({"upsample": "nearest"}, "deconv, bilinear, got 'nearest'"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
    ],
)
def test_bad_settings(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNet(**arguments)


def test_volume_into_a_flat_network() -> None:
    with pytest.raises(ValueError, match=r"2 spatial axes.*\[1, 1, 8, 8, 8\]"):
        UNet(features=(2, 4))(torch.rand(1, 1, 8, 8, 8))
