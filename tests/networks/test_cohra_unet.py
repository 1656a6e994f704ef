from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import DeepSupervisionLoss, DiceLoss
from torch import nn

from ckdmed.inferers import AutocastInferer
from ckdmed.networks import ChannelGate, CohraUNet, GridTransformer, SpatialGate
from ckdmed.networks.cohra_unet import GATE_PLACES, SELF_ATTENTION_PLACES, UPSAMPLINGS
from ckdmed.networks.taps import tap_shapes

SMALL: dict[str, Any] = {"features": (6, 8, 12), "heads": 2, "position_grid": 2}
NO_ATTENTION: dict[str, Any] = {"channel_attention": (), "spatial_attention": (), "self_attention": ()}


def image(spatial_dims: int, size: tuple[int, int, int] = (13, 10, 9), channels: int = 4) -> torch.Tensor:
    return torch.rand(2, channels, *size[:spatial_dims])


def paths(network: nn.Module, kind: type[nn.Module]) -> set[str]:
    return {name for name, module in network.named_modules() if isinstance(module, kind)}


@pytest.mark.parametrize("upsample", UPSAMPLINGS)
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_logits_have_the_grid_of_the_input(spatial_dims: int, upsample: str) -> None:
    network = CohraUNet(spatial_dims, upsample=upsample, **SMALL)
    x = image(spatial_dims)
    assert network(x).shape == (2, 3, *x.shape[2:])


@settings(deadline=None, max_examples=20)
@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_every_size_passes(height: int, width: int) -> None:
    network = CohraUNet(norm="instance", **SMALL)
    assert network(torch.rand(1, 4, height, width)).shape == (1, 3, height, width)


def test_odd_sizes_are_the_padded_image_cut() -> None:
    network, x = CohraUNet(**SMALL).eval(), image(2, (13, 10, 1))
    by_hand = torch.cat([x] + [x[:, :, -1:]] * 3, dim=2)
    by_hand = torch.cat([by_hand] + [by_hand[..., -1:]] * 2, dim=3)
    assert torch.equal(network.pad(x), by_hand) and by_hand.shape[2:] == (16, 12)
    assert torch.equal(network(x), network(by_hand)[:, :, :13, :10])
    whole = torch.rand(1, 4, 8, 12)
    assert network.pad(whole) is whole
    # two positions per axis at the bottleneck, for an instance normalisation of one has no variance
    assert network.pad(torch.rand(1, 4, 1, 4)).shape[2:] == (8, 8)


CONFIGURATIONS: list[dict[str, Any]] = [
    {},
    NO_ATTENTION,
    *({"upsample": name} for name in UPSAMPLINGS if name != "transposed"),
    *({"norm": norm} for norm in ("batch", "instance", ("group", {"num_groups": 3}), None)),
    *({"act": act} for act in ("relu", "prelu", "mish", ("elu", {"alpha": 0.5}))),
    *({**NO_ATTENTION, "channel_attention": [place]} for place in GATE_PLACES),
    *({**NO_ATTENTION, "spatial_attention": [place]} for place in GATE_PLACES),
    *({**NO_ATTENTION, "self_attention": [place]} for place in SELF_ATTENTION_PLACES),
    {"deep_supervision": 1, "transformer_layers": 2, "dropout": 0.2, "attention_dropout": 0.1},
]


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_parameter_gets_a_gradient(spatial_dims: int, configuration: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = CohraUNet(spatial_dims, **{**SMALL, **configuration})
    outputs = network(image(spatial_dims))
    outputs = outputs if isinstance(outputs, list) else [outputs]
    sum(output.square().mean() for output in outputs).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 1e-9, name


def test_where_the_attention_stands() -> None:
    default = CohraUNet(**SMALL)
    assert paths(default, ChannelGate) == {"decoder.d2.concat_gates.0", "decoder.d1.concat_gates.0"}
    assert paths(default, SpatialGate) == {"decoder.d2.skip_gates.0", "decoder.d1.skip_gates.0"}
    assert paths(default, GridTransformer) == {"bridge.1.0"}
    everywhere = CohraUNet(
        channel_attention=GATE_PLACES, spatial_attention=GATE_PLACES, self_attention=SELF_ATTENTION_PLACES, **SMALL
    )
    expected = {f"encoder.e{k}.1" for k in (1, 2)} | {"bridge.1"}
    expected |= {f"decoder.d{k}.{gates}" for k in (1, 2) for gates in ("skip_gates", "concat_gates", "gates")}
    # channel gates before spatial ones, self-attention last
    assert paths(everywhere, ChannelGate) == {f"{path}.0" for path in expected}
    assert paths(everywhere, SpatialGate) == {f"{path}.1" for path in expected}
    assert paths(everywhere, GridTransformer) == {"bridge.1.2", "decoder.d2.skip_gates.2"}
    none = CohraUNet(**SMALL, **NO_ATTENTION)
    assert not any(paths(none, kind) for kind in (ChannelGate, SpatialGate, GridTransformer))
    assert paths(CohraUNet(**SMALL, **{**NO_ATTENTION, "channel_attention": "bottleneck"}), ChannelGate) == {
        "bridge.1.0"
    }


def opened(network: CohraUNet) -> CohraUNet:
    """Every gate at 1, every transformer passing its map."""
    for module in network.modules():
        if isinstance(module, (ChannelGate, SpatialGate)):
            for parameter in module.parameters():
                parameter.data.zero_()
            last = module.mlp[2] if isinstance(module, ChannelGate) else module.conv.conv
            last.bias.data.fill_(30.0)
        if isinstance(module, GridTransformer):
            module.positions.data.zero_()
            for block in module.blocks:
                for layer in (block.attn.out_proj, block.mlp.linear2):
                    layer.weight.data.zero_()
                    layer.bias.data.zero_()
    return network


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_with_open_gates_it_is_the_plain_network(spatial_dims: int) -> None:
    torch.manual_seed(0)
    plain = CohraUNet(spatial_dims, **SMALL, **NO_ATTENTION).eval()
    attentive = CohraUNet(
        spatial_dims,
        channel_attention=GATE_PLACES,
        spatial_attention=GATE_PLACES,
        self_attention=SELF_ATTENTION_PLACES,
        **SMALL,
    ).eval()
    missing = attentive.load_state_dict(plain.state_dict(), strict=False)
    assert not missing.unexpected_keys
    x = image(spatial_dims)
    assert not torch.allclose(attentive(x), plain(x), atol=1e-3)
    torch.testing.assert_close(opened(attentive)(x), plain(x))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_self_attention_carries_across_the_image(spatial_dims: int) -> None:
    """A far corner reaches the opposite one through the transformer, and not without it."""
    torch.manual_seed(0)
    size = (64,) * spatial_dims if spatial_dims == 2 else (48,) * 3
    x = torch.rand(1, 1, *size)
    moved = x.clone()
    moved[(..., *(slice(0, 4),) * spatial_dims)] += 1.0
    for places, reaches in (((), False), (("bottleneck",), True)):
        # without a norm, which is a way across the image of its own
        network = CohraUNet(
            spatial_dims,
            in_channels=1,
            norm=None,
            channel_attention=(),
            spatial_attention=(),
            self_attention=places,
            **{**SMALL, "features": (2, 4, 8)},
        ).eval()
        difference = (network(x) - network(moved))[(..., *(-1,) * spatial_dims)]
        assert bool(difference.abs().max() > 0) == reaches


def test_taps_have_the_declared_channels_and_grids() -> None:
    network = CohraUNet()
    names = [f"encoder.e{k}" for k in (1, 2, 3)] + ["bridge"] + [f"decoder.d{k}" for k in (3, 2, 1)]
    logits, shapes = tap_shapes(network, {name: name for name in names}, (1, 4, 64, 32))
    assert logits == (1, 3, 64, 32)
    assert {name: shape[1:] for name, shape in shapes.items()} == {
        "encoder.e1": (32, 64, 32),
        "encoder.e2": (64, 32, 16),
        "encoder.e3": (128, 16, 8),
        "bridge": (256, 8, 4),
        "decoder.d3": (128, 16, 8),
        "decoder.d2": (64, 32, 16),
        "decoder.d1": (32, 64, 32),
    }


def test_number_of_parameters_by_hand() -> None:
    def count(**settings: Any) -> int:
        network = CohraUNet(2, 1, 1, (2, 4), norm=None, heads=2, position_grid=2, **settings)
        return sum(parameter.numel() for parameter in network.parameters())

    stem, e1, head = 2 * 9 + 2, 2 * (2 * 2 * 9 + 2), 2 + 1
    bridge = (2 * 4 * 9 + 4) + (4 * 4 * 9 + 4) + (2 * 4 + 4)
    d1 = (4 * 2 * 4 + 2) + (4 * 2 * 9 + 2) + (2 * 2 * 9 + 2) + (4 * 2 + 2)
    assert count(**NO_ATTENTION) == stem + e1 + bridge + d1 + head
    channel_gate, spatial_gate = 2 * (4 * 4 + 4), 2 * 7 * 7 + 1
    transformer = 4 * 2 * 2 + 2 * (4 + 4) + 4 * 12 + (4 * 4 + 4) + (4 * 16 + 16) + (16 * 4 + 4)
    assert count() == count(**NO_ATTENTION) + channel_gate + spatial_gate + transformer


def test_further_heads_in_training_only() -> None:
    network, x = CohraUNet(2, deep_supervision=2, **{**SMALL, "features": (4, 6, 8, 8)}), image(2, (13, 17, 1))
    outputs = network(x)
    assert [tuple(output.shape[2:]) for output in outputs] == [(13, 17), (7, 9), (4, 5)]
    target = (torch.rand(2, 3, 13, 17) > 0.5).float()
    assert DeepSupervisionLoss(DiceLoss(sigmoid=True))(outputs, target) > 0
    low = AutocastInferer()(x, network)
    assert [output.dtype for output in low] == [torch.float32] * 3
    evaluated = network.eval()(x)
    assert isinstance(evaluated, torch.Tensor) and evaluated.shape[2:] == (13, 17)


def test_further_heads_lie_on_the_image() -> None:
    """The k-th grid's position i covers the image's positions from i 2^k: padding moves nothing."""
    network = CohraUNet(2, deep_supervision=1, norm=None, **SMALL, **NO_ATTENTION)
    x = image(2, (16, 16, 1))
    full, half = network(x)
    part, cut = network(x[..., :13])
    assert cut.shape[3] == 7
    # the edge's repetition is felt near the edge alone
    assert torch.allclose(half[..., 0], cut[..., 0], atol=1e-3)
    assert torch.allclose(full[..., 0], part[..., 0], atol=1e-3)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_script_equals_eager_also_after_saving(spatial_dims: int) -> None:
    network = CohraUNet(spatial_dims, upsample="interpolate", deep_supervision=1, dropout=0.1, **SMALL).eval()
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(network), file)
    file.seek(0)
    scripted = torch.jit.load(file)
    for size in ((8, 12, 4), (13, 6, 9)):
        x = image(spatial_dims, size)
        torch.testing.assert_close(scripted(x), network(x))
    assert len(scripted.train()(x)) == 2


def test_strict_reload_gives_equal_output() -> None:
    first, second = CohraUNet(norm="batch", **SMALL), CohraUNet(norm="batch", **SMALL)
    x = image(2)
    first(x)  # moves the running statistics, which must be reloaded too
    assert not torch.equal(first.eval()(x), second.eval()(x))
    second.load_state_dict(first.state_dict(), strict=True)
    assert torch.equal(first(x), second(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spatial_dims": 1}, "spatial_dims must be 2 or 3, got 1"),
        ({"features": (8,)}, "at least two positive widths"),
        ({"upsample": "deconv"}, "transposed, interpolate, nearest, pixelshuffle, got 'deconv'"),
        ({"dropout": -0.1}, r"dropout must lie in \[0, 1\), got -0.1"),
        ({"attention_dropout": 1.0}, r"dropout of self-attention must lie in \[0, 1\), got 1.0"),
        ({"channel_attention": ["skip"]}, r"channel_attention must name .*encoder, skips.*got \['skip'\]"),
        ({"spatial_attention": ["skips", "skips"]}, "spatial_attention must name different places"),
        ({"self_attention": "skips"}, r"self_attention must name .*bottleneck, deepest_skip, got \['skips'\]"),
        ({"heads": 5}, "256 channels cannot have 5 heads"),
        ({"deep_supervision": 3}, r"deep_supervision must lie in 0..2 for 3 levels, got 3"),
    ],
)
def test_bad_settings(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CohraUNet(**arguments)


def test_volume_into_a_flat_network() -> None:
    with pytest.raises(ValueError, match=r"2 spatial axes.*\[1, 4, 8, 8, 8\]"):
        CohraUNet(**SMALL)(torch.rand(1, 4, 8, 8, 8))
