from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.networks.nets import ViT
from torch.nn import functional as F

from ckdmed.networks import ViTClassifier, build_vit, load_vit_weights, set_layer_norm_eps
from ckdmed.networks.vit_weights import vit_names

State = dict[str, torch.Tensor]


def torchvision_shapes(
    size: int = 32, patch: int = 8, hidden: int = 12, mlp: int = 20, depth: int = 2, classes: int = 5, channels: int = 3
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of torchvision's VisionTransformer."""
    shapes: dict[str, tuple[int, ...]] = {
        "class_token": (1, 1, hidden),
        "conv_proj.weight": (hidden, channels, patch, patch),
        "conv_proj.bias": (hidden,),
        "encoder.pos_embedding": (1, (size // patch) ** 2 + 1, hidden),
    }
    for i in range(depth):
        layer = f"encoder.layers.encoder_layer_{i}."
        shapes |= {
            layer + "ln_1.weight": (hidden,),
            layer + "ln_1.bias": (hidden,),
            layer + "self_attention.in_proj_weight": (3 * hidden, hidden),
            layer + "self_attention.in_proj_bias": (3 * hidden,),
            layer + "self_attention.out_proj.weight": (hidden, hidden),
            layer + "self_attention.out_proj.bias": (hidden,),
            layer + "ln_2.weight": (hidden,),
            layer + "ln_2.bias": (hidden,),
            layer + "mlp.linear_1.weight": (mlp, hidden),
            layer + "mlp.linear_1.bias": (mlp,),
            layer + "mlp.linear_2.weight": (hidden, mlp),
            layer + "mlp.linear_2.bias": (hidden,),
        }
    return shapes | {
        "encoder.ln.weight": (hidden,),
        "encoder.ln.bias": (hidden,),
        "heads.head.weight": (classes, hidden),
        "heads.head.bias": (classes,),
    }


def random_state(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> State:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}


def as_timm(state: State) -> State:
    """The same weights under timm's names."""
    renamed = {}
    for name, value in state.items():
        for old, new in (
            ("encoder.layers.encoder_layer_", "blocks."),
            ("self_attention.in_proj_", "attn.qkv."),
            ("self_attention.out_proj", "attn.proj"),
            ("mlp.linear_", "mlp.fc"),
            ("ln_", "norm"),
            ("encoder.ln", "norm"),
            ("encoder.pos_embedding", "pos_embed"),
            ("class_token", "cls_token"),
            ("conv_proj", "patch_embed.proj"),
            ("heads.head", "head"),
        ):
            name = name.replace(old, new)
        renamed[name] = value
    return renamed


def reference(state: State, x: torch.Tensor, heads: int = 3, eps: float = 1e-6) -> torch.Tensor:
    """torchvision's forward pass, written out."""

    def norm(y: torch.Tensor, name: str) -> torch.Tensor:
        mean, variance = y.mean(-1, keepdim=True), y.var(-1, keepdim=True, unbiased=False)
        return (y - mean) / torch.sqrt(variance + eps) * state[name + ".weight"] + state[name + ".bias"]

    patch = state["conv_proj.weight"].shape[-1]
    patches = F.conv2d(x, state["conv_proj.weight"], state["conv_proj.bias"], stride=patch).flatten(2).transpose(1, 2)
    tokens = torch.cat([state["class_token"].expand(len(x), -1, -1), patches], dim=1) + state["encoder.pos_embedding"]
    batch, count, hidden = tokens.shape
    depth = sum(name.endswith("ln_1.weight") for name in state)
    for i in range(depth):
        layer = f"encoder.layers.encoder_layer_{i}."
        y = norm(tokens, layer + "ln_1")
        y = y @ state[layer + "self_attention.in_proj_weight"].T + state[layer + "self_attention.in_proj_bias"]
        q, k, v = (part.reshape(batch, count, heads, -1).transpose(1, 2) for part in y.split(hidden, dim=-1))
        weights = torch.softmax(q @ k.transpose(-1, -2) / (hidden // heads) ** 0.5, dim=-1)
        y = (weights @ v).transpose(1, 2).reshape(batch, count, hidden)
        out = layer + "self_attention.out_proj."
        tokens = tokens + y @ state[out + "weight"].T + state[out + "bias"]
        y = norm(tokens, layer + "ln_2") @ state[layer + "mlp.linear_1.weight"].T + state[layer + "mlp.linear_1.bias"]
        y = 0.5 * y * (1 + torch.erf(y / 2**0.5))
        tokens = tokens + y @ state[layer + "mlp.linear_2.weight"].T + state[layer + "mlp.linear_2.bias"]
    return norm(tokens, "encoder.ln")[:, 0] @ state["heads.head.weight"].T + state["heads.head.bias"]


def small(**changes: object) -> ViT:
    arguments = {"in_channels": 3, "img_size": 32, "patch_size": 8, "hidden_size": 12, "mlp_dim": 20, "num_layers": 2}
    return build_vit(**{**arguments, "num_heads": 3, "num_classes": 5, **changes}).eval()  # type: ignore[arg-type]


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, State]:
    state = random_state(torchvision_shapes())
    torch.save(state, tmp_path / "vit.pth")
    return tmp_path / "vit.pth", state


@pytest.mark.parametrize("layout", ["torchvision", "torchvision, later names", "timm"])
def test_outputs_equal_the_reference(tmp_path: Path, layout: str) -> None:
    state = random_state(torchvision_shapes())
    stored = state
    if layout == "timm":
        stored = as_timm(state)
    elif layout != "torchvision":
        stored = {n.replace("mlp.linear_1", "mlp.0").replace("mlp.linear_2", "mlp.3"): v for n, v in state.items()}
    torch.save(stored, tmp_path / "vit.pth")
    network, x = small(), torch.randn(2, 3, 32, 32)
    assert not torch.allclose(network(x)[0], reference(state, x), atol=0.1)
    report = load_vit_weights(network, tmp_path / "vit.pth")
    torch.testing.assert_close(network(x)[0], reference(state, x), rtol=1e-5, atol=1e-5)
    assert report.layout == layout.partition(",")[0]
    assert report.share == 1.0 and not (report.missing or report.unexpected or report.kept or report.notes)
    assert set(report.adapted) == {"cls_token"}


def test_classifier_wrapper_equals_the_reference(saved: tuple[Path, State]) -> None:
    file, state = saved
    x = torch.randn(2, 3, 32, 32)
    network = ViTClassifier(3, 5, 32, 8, 12, 20, 2, 3, weights=str(file)).eval()
    torch.testing.assert_close(network(x), reference(state, x), rtol=1e-5, atol=1e-5)


def test_plain_monai_network_gets_a_note_about_epsilon_that_holds(saved: tuple[Path, State]) -> None:
    file, state = saved
    plain = ViT(3, 32, 8, 12, 20, 2, 3, classification=True, num_classes=5, spatial_dims=2, qkv_bias=True).eval()
    report = load_vit_weights(plain, file)  # its head sits in front of a Tanh
    assert "set_layer_norm_eps(network, 1e-06)" in report.notes[0] and report.notes[0] in str(report)
    assert all(".norm_cross_attn." in name for name in report.missing)
    x = 1e-3 * torch.randn(2, 3, 32, 32)
    near = (plain(x)[0] - torch.tanh(reference(state, x))).abs().max()
    set_layer_norm_eps(plain, 1e-6)
    exact = (plain(x)[0] - torch.tanh(reference(state, x))).abs().max()
    assert exact < 1e-5 and exact < near


def test_perceptron_patch_embedding_equals_the_reference(saved: tuple[Path, State]) -> None:
    file, state = saved
    plain = ViT(
        3, 32, 8, 12, 20, 2, 3, proj_type="perceptron", classification=True, num_classes=5, spatial_dims=2,
        post_activation=None, qkv_bias=True,
    ).eval()  # fmt: skip
    set_layer_norm_eps(plain, 1e-6)
    report = load_vit_weights(plain, file)
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(plain(x)[0], reference(state, x), rtol=1e-5, atol=1e-5)
    assert "perceptron layout" in report.adapted["patch_embedding.patch_embeddings.1.weight"]
    torch.save(plain.state_dict(), file)
    back = small()
    assert load_vit_weights(back, file).layout == "MONAI"
    torch.testing.assert_close(back(x)[0], plain(x)[0])


@pytest.mark.parametrize("channels", [1, 4])
def test_other_input_channels_answer_to_grey_as_before(saved: tuple[Path, State], channels: int) -> None:
    file, state = saved
    network = small(in_channels=channels)
    report = load_vit_weights(network, file)
    grey = torch.randn(2, 1, 32, 32)
    expected = reference(state, grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(network(grey.expand(-1, channels, -1, -1))[0], expected, rtol=1e-4, atol=1e-5)
    assert f"3 input channels to {channels}" in report.adapted["patch_embedding.patch_embeddings.weight"]


def test_other_number_of_classes_keeps_the_new_head(saved: tuple[Path, State]) -> None:
    file, state = saved
    network = small(num_classes=3)
    head = network.classification_head.weight.clone()
    report = load_vit_weights(network, file)
    assert report.share == 1.0 and set(report.kept) == {"classification_head.weight", "classification_head.bias"}
    assert torch.equal(network.classification_head.weight, head)
    assert torch.equal(network.norm.weight, state["encoder.ln.weight"])


def test_network_without_head_leaves_the_files(saved: tuple[Path, State]) -> None:
    network = small(num_classes=None)
    report = load_vit_weights(network, saved[0])
    assert report.unexpected == ("classification_head.weight", "classification_head.bias") and report.share == 1.0
    assert network(torch.rand(1, 3, 32, 32))[0].shape == (1, 17, 12)


def test_position_embeddings_follow_the_grid(tmp_path: Path) -> None:
    """A table that is linear in the row stays so, away from the border, and a constant stays constant."""
    state = random_state(torchvision_shapes(size=64))
    rows = torch.arange(8.0).repeat_interleave(8)
    table = torch.cat([torch.zeros(1), rows])[None, :, None].repeat(1, 1, 12)
    table[..., 1] = 4.0
    state["encoder.pos_embedding"] = table
    torch.save(state, tmp_path / "vit.pth")
    network = small(img_size=128)
    report = load_vit_weights(network, tmp_path / "vit.pth")
    assert "from 64 to 256 patches" in report.adapted["patch_embedding.position_embeddings"]
    new = network.patch_embedding.position_embeddings[0].reshape(16, 16, 12)
    torch.testing.assert_close(new[..., 1], torch.full((16, 16), 4.0))
    expected = (torch.arange(16.0) + 0.5) / 2 - 0.5
    torch.testing.assert_close(new[5:11, 3, 0], expected[5:11], rtol=0, atol=0.02)
    torch.testing.assert_close(new[:, 0, 0], new[:, 15, 0])
    assert network(torch.rand(1, 3, 128, 128))[0].shape == (1, 5)


def test_oblong_grid_is_taken_from_the_caller(saved: tuple[Path, State]) -> None:
    network = small(img_size=(16, 64))  # 2 x 8 patches, as many as the file's 4 x 4
    report = load_vit_weights(network, saved[0], grid=(2, 8))
    assert "patch_embedding.position_embeddings" in report.adapted
    wrapped = ViTClassifier(3, 5, (16, 64), 8, 12, 20, 2, 3, weights=str(saved[0]))
    assert torch.equal(wrapped.vit.patch_embedding.position_embeddings, network.patch_embedding.position_embeddings)


def test_an_oblong_grid_that_is_a_square_with_the_class_token(tmp_path: Path) -> None:
    state = random_state({**torchvision_shapes(), "encoder.pos_embedding": (1, 6 * 8 + 1, 12)})
    torch.save(state, tmp_path / "vit.pth")
    vit = small(img_size=(48, 64))
    load_vit_weights(vit, tmp_path / "vit.pth", grid=(6, 8))
    table = state["encoder.pos_embedding"]
    assert torch.equal(vit.patch_embedding.position_embeddings, table[:, 1:])
    assert torch.equal(vit.cls_token, state["class_token"] + table[:, :1])


def test_volume_takes_the_blocks_of_a_flat_file(saved: tuple[Path, State]) -> None:
    file, state = saved
    network = small(spatial_dims=3, img_size=8, patch_size=4, in_channels=1)
    with pytest.raises(ValueError, match=r"at least 99% of either is needed.*patch_embeddings.weight"):
        load_vit_weights(network, file, min_share=0.99)
    report = load_vit_weights(network, file, min_share=0.5)
    assert set(report.kept) == {"patch_embedding.patch_embeddings.weight", "patch_embedding.position_embeddings"}
    assert torch.equal(
        network.blocks[1].attn.qkv.weight, state["encoder.layers.encoder_layer_1.self_attention.in_proj_weight"]
    )
    assert network(torch.rand(1, 1, 8, 8, 8))[0].shape == (1, 5)


def test_own_files_come_back_bit_for_bit(tmp_path: Path) -> None:
    first, second = ViTClassifier(3, 5, 32, 8, 12, 20, 2, 3).eval(), small()
    torch.save({"state_dict": first.state_dict()}, tmp_path / "own.pt")
    report = load_vit_weights(second, tmp_path / "own.pt")
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(first(x), second(x)[0])
    assert report.layout == "MONAI" and report.share == 1.0 and not report.adapted


def test_full_size_torchvision_file_matches_by_name_and_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors of one repeated number: the names and shapes of vit_b_16 without its 330 MB."""
    shapes = torchvision_shapes(size=224, patch=16, hidden=768, mlp=3072, depth=12, classes=1000)
    state = {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}
    assert len(state) == 152 and sum(value.numel() for value in state.values()) == 86_567_656
    torch.save(state, tmp_path / "vit_b_16.pth")
    # so small a file of so many numbers is refused otherwise
    monkeypatch.setenv("CKDMED_MAX_BYTES", str(2**30))
    with torch.device("meta"):
        network = ViTClassifier()
    report = load_vit_weights(network.vit, tmp_path / "vit_b_16.pth")
    assert report.share == 1.0 and not (report.missing or report.unexpected or report.kept)
    # torchvision's class token has a position embedding of its own
    assert report.total_elements == 86_567_656 - 768


def test_other_networks_are_refused(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match=r"vgg.pth: not a ViT.*conv_proj.weight \(torchvision\).*features.0.weight"):
        load_vit_weights(small(), tmp_path / "vgg.pth")
    torch.save(random_state(torchvision_shapes(hidden=24)), tmp_path / "wide.pth")
    with pytest.raises(ValueError, match=r"wide.pth: fills 0.9%.*cls_token \(the file has \[1, 1, 24\]"):
        load_vit_weights(small(), tmp_path / "wide.pth")


def test_names_of_a_larger_network_are_found_under_vit() -> None:
    names = ["unet.bridge.weight", "vit.patch_embedding.position_embeddings", "vit.cls_token"]
    layout, renamed = vit_names(names)
    assert layout == "MONAI" and renamed == {name: name.removeprefix("vit.") for name in names[1:]}
