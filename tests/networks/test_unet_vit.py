from __future__ import annotations

import pytest
import torch
from torch import nn

from ckdmed.networks import UNetViT, attention_heads
from ckdmed.networks.bridge_fusion import BRIDGE_FUSIONS

SIZES: dict[str, int] = {"vit_hidden": 12, "vit_mlp": 16, "vit_layers": 2, "vit_heads": 3}


def small(spatial_dims: int = 2, fusion: str = "class_token", **changes: object) -> UNetViT:
    settings = {"features": (4, 6, 8), "vit_img_size": 16, "vit_patch_size": 8, **SIZES, **changes}
    return UNetViT(spatial_dims, fusion=fusion, **settings)  # type: ignore[arg-type]


def image(spatial_dims: int, channels: int = 1) -> torch.Tensor:
    return torch.rand(2, channels, *(12, 20, 8)[:spatial_dims])


both = pytest.mark.parametrize("fusion", BRIDGE_FUSIONS)
dims = pytest.mark.parametrize("spatial_dims", [2, 3])


@both
@dims
def test_zeroed_fusion_is_exactly_the_plain_unet(spatial_dims: int, fusion: str) -> None:
    network = small(spatial_dims, fusion).eval()
    x = image(spatial_dims)
    assert not torch.equal(network(x), network.unet(x))
    for parameter in network.fuse.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(network(x), network.unet(x))


@both
@dims
def test_every_parameter_gets_a_gradient(spatial_dims: int, fusion: str) -> None:
    torch.manual_seed(0)
    network = small(spatial_dims, fusion, out_channels=2)
    # a module that starts as the identity has zeros, behind which nothing learns in the first step
    for parameter in network.fuse.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    if fusion == "stn":
        nn.init.normal_(network.fuse.join.theta.weight, std=0.1)  # type: ignore[union-attr, arg-type]
    logits = network(torch.rand(2, 1, *(16, 16, 16)[:spatial_dims]))
    assert logits.shape[1] == 2
    logits.square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@both
@dims
def test_script_equals_eager(spatial_dims: int, fusion: str) -> None:
    network = small(spatial_dims, fusion).eval()
    x = image(spatial_dims)
    torch.testing.assert_close(torch.jit.script(network)(x), network(x), rtol=0, atol=1e-6)


def test_brightness_passes_through_the_vit_alone_when_the_encoder_is_silent() -> None:
    network = small().eval()
    with torch.no_grad():
        for part in (network.unet.encoder, network.unet.bridge):
            for parameter in part.parameters():
                parameter.zero_()
    x = image(2)
    assert (network(x) - network(x + 1)).abs().max() > 1e-6
    nn.init.zeros_(network.fuse.linear.weight)  # type: ignore[union-attr, arg-type]
    assert torch.equal(network(x), network(x + 1))


def test_class_token_says_what_and_tokens_say_where() -> None:
    """The class token adds one vector everywhere; patch tokens differ from place to place."""
    for fusion, constant in (("class_token", True), ("tokens", False)):
        network = small(fusion=fusion).eval()
        captured = {}
        network.fuse.register_forward_hook(lambda _m, inputs, output: captured.update(added=output - inputs[0]))
        network(image(2))
        spread = captured["added"].flatten(2).std(dim=2).max()
        assert (spread < 1e-6) == constant


def test_added_vector_is_the_linear_image_of_the_normalised_class_token() -> None:
    network = small().eval()
    captured: dict[str, torch.Tensor] = {}
    network.vit.norm.register_forward_hook(lambda _m, _i, output: captured.update(tokens=output))
    network.fuse.register_forward_hook(lambda _m, inputs, output: captured.update(before=inputs[0], after=output))
    network(image(2))
    linear = network.fuse.linear
    assert captured["tokens"].shape == (2, 1 + 4, 12)
    vector = captured["tokens"][:, 0] @ linear.weight.T + linear.bias  # type: ignore[union-attr, operator]
    torch.testing.assert_close(captured["after"], captured["before"] + vector[:, :, None, None])


def test_taps_of_the_unet_fire_inside_it() -> None:
    network = small()
    channels: dict[str, int] = {}
    for path in ("unet.encoder.e1", "unet.bridge", "fuse", "unet.decoder.d2", "unet.decoder.d1"):
        network.get_submodule(path).register_forward_hook(
            lambda _m, _i, output, path=path: channels.__setitem__(path, output.shape[1])
        )
    network(image(2))
    assert channels == {"unet.encoder.e1": 4, "unet.bridge": 8, "fuse": 8, "unet.decoder.d2": 6, "unet.decoder.d1": 4}


def test_strict_reload_gives_equal_output() -> None:
    first, second = small().eval(), small().eval()
    x = image(2)
    second.load_state_dict(first.state_dict(), strict=True)
    assert torch.equal(first(x), second(x))


def test_parameter_counts_of_the_full_size() -> None:
    with torch.device("meta"):
        network = UNetViT()
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    assert counts == {"unet": 31_036_481, "vit": 85_404_672, "fuse": 768 * 1024 + 1024, "over_resolutions": 0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fusion": "sum"}, "class_token, tokens, attention, .*msgff, got 'sum'"),
        ({"vit_img_size": 20}, r"\(20, 20\) must be a positive multiple of its patch size \(8, 8\)"),
        ({"vit_hidden": 13}, "hidden_size 13 must be a multiple of num_heads 3"),
    ],
)
def test_bad_settings(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**arguments)


def test_indivisible_size_is_told_as_in_the_unet() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        small()(torch.rand(1, 1, 13, 16))


def test_the_heads_of_a_network() -> None:
    assert attention_heads(small()) == 3 and attention_heads(small().unet) == 1
