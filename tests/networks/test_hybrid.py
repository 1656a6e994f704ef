from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ckdmed.networks import EfficientNetB0, HybridClassifier, ViTClassifier, vgg19_bn, vgg_tiny
from ckdmed.networks.freezing import frozen_paths


def vit() -> ViTClassifier:
    return ViTClassifier(3, 3, 16, 8, 12, 20, 2, 3)


def hybrid(**changes: object) -> HybridClassifier:
    settings: dict = {"branches": [vgg_tiny(), vit()], "num_classes": 3, "branch_sizes": (24, 16), **changes}
    return HybridClassifier(**settings).eval()


def shrunk(x: torch.Tensor, size: int) -> torch.Tensor:
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False, antialias=True)


x = torch.rand(2, 3, 40, 32)


def test_logits_are_the_hand_composed_concatenation_and_linear_layer() -> None:
    network = hybrid()
    first, second = network.branches
    logits = torch.cat([first(shrunk(x, 24)), second(shrunk(x, 16))], dim=1)
    assert logits.shape == (2, 6)
    expected = logits @ network.classifier.weight.T + network.classifier.bias
    torch.testing.assert_close(network(x), expected)


def test_identity_is_the_sum_of_the_branches_logits() -> None:
    network = hybrid(identity_init=True)
    first, second = network.branch_outputs(x)
    torch.testing.assert_close(network(x), first + second)


def test_features_are_concatenated_before_the_last_layers() -> None:
    network = hybrid(fuse="features")
    first, second = network.branches
    vectors = torch.cat([first.forward_features(shrunk(x, 24)), second.forward_features(shrunk(x, 16))], dim=1)
    assert network.classifier.in_features == 64 + 12
    torch.testing.assert_close(network(x), vectors @ network.classifier.weight.T + network.classifier.bias)
    idle = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    heads = ("branches.0.classifier.6", "branches.1.vit.classification_head")
    assert idle == {f"{head}.{part}" for head in heads for part in ("weight", "bias")}
    # whoever trains a teacher lets everything else learn, and several processes wait for every gradient
    assert frozen_paths(network) == list(heads)


@pytest.mark.parametrize("kind", ["vgg+vit", "vgg+vgg", "vit+vit", "vgg+efficientnet"])
def test_kinds_of_the_reports_and_any_other(kind: str) -> None:
    build = {"vgg": vgg_tiny, "vit": vit, "efficientnet": lambda: EfficientNetB0(3, 3)}
    branches = [build[name]() for name in kind.split("+")]
    network = HybridClassifier(branches, 3, branch_sizes=(16, 16)).eval()
    assert network(x).shape == (2, 3)


@pytest.mark.parametrize("fuse", ["logits", "features"])
def test_gradients_reach_what_is_not_frozen_and_nothing_else(fuse: str) -> None:
    torch.manual_seed(0)
    network = hybrid(fuse=fuse, freeze=["branches.0.features.0-3", "branches.1.vit.patch_embedding"]).train()
    network(torch.rand(4, 3, 40, 32)).square().sum().backward()
    frozen = ("branches.0.features.0.", "branches.0.features.1.", "branches.1.vit.patch_embedding.")
    heads = ("branches.0.classifier.6.", "branches.1.vit.classification_head.") if fuse == "features" else ()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == name.startswith(frozen + heads), name
    assert not network.branches[0].features[1].training and network.branches[0].features[5].training


@pytest.mark.parametrize("fuse", ["logits", "features"])
def test_script_equals_eager_and_reload_gives_equal_output(fuse: str) -> None:
    network, other = hybrid(fuse=fuse), hybrid(fuse=fuse)
    torch.testing.assert_close(torch.jit.script(network)(x), network(x))
    other.load_state_dict(network.state_dict(), strict=True)
    assert torch.equal(other(x), network(x))


def test_size_none_takes_the_image_as_it_is() -> None:
    network = hybrid(branch_sizes=(None, (16, 16)))
    assert torch.equal(network.branch_outputs(x)[0], network.branches[0](x))


def test_volumes_are_resized_too() -> None:
    class Mean(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(factor))

        def forward(self, volume: torch.Tensor) -> torch.Tensor:
            assert volume.shape[2:] == (4, 4, 4)
            return self.factor * volume.flatten(2).mean(2)

    network = HybridClassifier([Mean(1.0), Mean(2.0)], 3, branch_sizes=(4, 4), identity_init=True)
    volume = torch.full((1, 3, 8, 6, 4), 5.0)
    torch.testing.assert_close(network(volume), torch.full((1, 3), 15.0))


def test_equal_branches_are_refused() -> None:
    branch = vgg_tiny()
    for other in (branch, copy.deepcopy(branch)):
        with pytest.raises(ValueError, match="Branches 0 and 1 hold the same weights"):
            hybrid(branches=[branch, other])


class Pair(nn.Module):
    """Returns something else than logits."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.flatten(1)[:, :2] * self.weight


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"branches": [vgg_tiny()]}, "at least two branches, got 1"),
        ({"branch_sizes": (16,)}, "2 branches need as many branch_sizes, got 1"),
        ({"fuse": "sum"}, "logits, features, got 'sum'"),
        ({"fuse": "features", "identity_init": True}, "identity_init sums logits"),
        ({"fuse": "features", "branches": [Pair(), vit()]}, r"branch 0 \(Pair\) lacks forward_features, feature_size"),
        ({"freeze": ["branches.2"]}, "no module 'branches.2'"),
    ],
)
def test_bad_settings(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hybrid(**arguments)


def test_branch_that_returns_something_else_is_named() -> None:
    network = hybrid(branches=[vgg_tiny(), Pair()])
    with pytest.raises(ValueError, match=r"Branch 1 returned shape \[2, 2\], logits of shape \[2, 3\]"):
        network(x)


def test_full_size_hybrid_on_the_meta_device() -> None:
    with torch.device("meta"):
        network = HybridClassifier([vgg19_bn(3, 3), ViTClassifier(3, 3)], 3)
        assert network(torch.rand(1, 3, 512, 512)).shape == (1, 3)
    count = sum(parameter.numel() for parameter in network.parameters())
    vgg, vit_b_16 = 143_678_248 - 997 * 4097, 86_566_888 - 997 * 769
    assert count == vgg + vit_b_16 + 3 * 6 + 3
