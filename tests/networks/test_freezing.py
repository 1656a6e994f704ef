from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from ckdmed.networks import VGG19_BN_EARLY_LAYERS, VGG19_EARLY_LAYERS, freeze, frozen_paths, vgg19, vgg19_bn, vgg_tiny

EARLY = "features.0-3"  # the first of the tiny network's stages


def step(network: nn.Module) -> None:
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    network.train()
    network(torch.randn(4, 3, 16, 16)).square().sum().backward()
    optimizer.step()


def test_frozen_part_is_bit_identical_after_training_steps() -> None:
    network = vgg_tiny()
    assert freeze(network, EARLY) == [f"features.{i}" for i in range(4)]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for _ in range(3):
        step(network)
    for name, value in network.state_dict().items():
        # a bias in front of a batch norm has no gradient to speak of, but weight decay moves it
        assert torch.equal(value, before[name]) == name.startswith(("features.0.", "features.1.")), name


def test_batch_norm_follows_the_batches_without_freezing() -> None:
    """The control: without gradients alone, the statistics of a layer still move."""
    network = vgg_tiny()
    network.features[:4].requires_grad_(False)
    before = network.features[1].running_mean.clone()
    step(network)
    assert not torch.equal(network.features[1].running_mean, before)


def test_frozen_through_train_of_the_network_and_of_its_holder() -> None:
    network = vgg_tiny()
    freeze(network, EARLY)
    holder = nn.Sequential(network)
    for module in (network.train(), holder.train(), holder.eval(), holder.train(True)):
        assert not network.features[1].training
        assert network.features[5].training == module.training
    assert not network.eval().features[5].training


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_stay_frozen_by_themselves(duplicate) -> None:  # type: ignore[no-untyped-def]
    network = vgg_tiny()
    freeze(network, EARLY)
    other = duplicate(network)
    network.eval()
    other.train()
    assert not other.features[1].training and other.features[5].training and not network.features[5].training
    assert frozen_paths(other) == frozen_paths(network)


def test_conversion_to_sync_batch_norm_keeps_it_frozen() -> None:
    network = vgg_tiny()
    freeze(network, EARLY)
    network = nn.SyncBatchNorm.convert_sync_batchnorm(network).train()
    assert isinstance(network.features[1], nn.SyncBatchNorm)
    assert not network.features[1].training and network.features[5].training


def test_state_dict_and_script_are_those_of_the_plain_network() -> None:
    network, plain = vgg_tiny().eval(), vgg_tiny().eval()
    freeze(network, EARLY)
    plain.load_state_dict(network.state_dict(), strict=True)
    x = torch.rand(1, 3, 16, 16)
    assert torch.equal(torch.jit.script(network)(x), plain(x))


def test_freezing_keeps_the_mode_and_adds_up() -> None:
    network = vgg_tiny().eval()
    freeze(network, ["features.0", "features.1"])
    assert not network.training
    assert freeze(network, ["features.1", "classifier"]) == ["features.0", "features.1", "classifier"]
    network.train()
    assert network.training and not network.classifier[2].training and not network.features[1].training
    assert frozen_paths(vgg_tiny()) == []


@pytest.mark.parametrize(
    ("build", "path", "last"), [(vgg19_bn, VGG19_BN_EARLY_LAYERS, 26), (vgg19, VGG19_EARLY_LAYERS, 18)]
)
def test_early_layers_are_three_stages(build, path: str, last: int) -> None:  # type: ignore[no-untyped-def]
    with torch.device("meta"):
        network = build()
    names = freeze(network, path)
    assert names[-1] == f"features.{last}"
    poolings = [name for name in names if isinstance(network.get_submodule(name), nn.MaxPool2d)]
    assert len(poolings) == 3 and poolings[-1] == names[-1]
    assert all(p.requires_grad for p in network.features[last + 1 :].parameters())


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("feature.0", r"VGG has no module 'feature.0'. Near it: features.0"),
        ("features.9-99", "no module 'features.12'"),
        ("features.5-2", "the range runs backwards"),
    ],
)
def test_bad_paths(path: str, message: str) -> None:
    network = vgg_tiny()
    with pytest.raises(ValueError, match=message):
        freeze(network, ["features.0", path])
    assert all(parameter.requires_grad for parameter in network.parameters())
