from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ckdmed.networks import UNet
from ckdmed.networks.taps import Taps, find_module, tap_shapes


class InPlace(nn.Module):
    """A convolution whose output a ReLU overwrites."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.conv(x))


class Wrapped(nn.Module):
    """What DistributedDataParallel is to the names of a network."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x)


class Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        return x, [x + 1, x + 2]


class Odd(nn.Module):
    """One module called twice, one never, one that returns a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Conv2d(1, 1, 1)
        self.never = nn.Conv2d(1, 1, 1)
        self.pair = Pair()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pair(self.twice(self.twice(x)))[0]


def test_keeps_what_the_module_returned_before_an_in_place_operation():
    network, x = InPlace(), torch.randn(2, 1, 4, 4)
    taps = Taps(network, {"conv": "conv", "relu": "relu"})
    with taps:
        network(x)
    held = taps.collect()
    assert held["conv"].min() < 0
    torch.testing.assert_close(held["conv"], network.conv(x))
    torch.testing.assert_close(held["relu"], network.conv(x).relu())


def test_held_tensors_carry_the_graph_unless_detached():
    network, x = InPlace(), torch.randn(2, 1, 4, 4)
    with Taps(network, {"conv": "conv"}) as taps:
        network(x)
    taps.collect()["conv"].square().sum().backward()
    assert network.conv.weight.grad is not None and network.conv.weight.grad.abs().sum() > 0
    with Taps(network, {"conv": "conv"}, detach=True) as detached:
        network(x)
    assert not detached.collect()["conv"].requires_grad


@pytest.mark.parametrize("path", ["conv", "module.conv", "_orig_mod.module.conv"])
def test_prefixes_of_wrappers_do_not_matter(path: str):
    network = InPlace()
    assert find_module(network, path) is network.conv
    assert find_module(Wrapped(network), path) is network.conv
    compiled = torch.compile(Wrapped(network), backend="eager")
    assert find_module(compiled, path) is network.conv


def test_finds_a_shared_module_by_each_of_its_names():
    network = nn.ModuleDict({"one": nn.ReLU()})
    network["other"] = network["one"]
    assert find_module(network, "other") is find_module(network, "one")


def test_missing_path_lists_near_matches():
    with pytest.raises(ValueError, match=r"UNet has no submodule 'decoder\.d5'; near matches: .*decoder\.d4"):
        Taps(UNet(features=(2, 4, 8, 16, 32)), {"d5": "decoder.d5"})


def test_missing_path_without_near_match_lists_what_there_is():
    with pytest.raises(ValueError, match=r"InPlace has no submodule 'zzz'; it has: conv, relu"):
        find_module(InPlace(), "zzz")


def test_never_fired():
    network = Odd()
    with Taps(network, {"silent": "never"}) as taps:
        network(torch.zeros(1, 1, 2, 2))
    with pytest.raises(RuntimeError, match=r"never fired: 'silent' \(never\)"):
        taps.collect()


def test_fired_twice():
    network = Odd()
    with Taps(network, {"shared": "twice"}) as taps:
        network(torch.zeros(1, 1, 2, 2))
    with pytest.raises(RuntimeError, match=r"more than once in one pass: 'shared' \(twice\), 2 times"):
        taps.collect()


def test_collecting_twice_is_an_error_and_not_a_stale_tensor():
    network = InPlace()
    taps = Taps(network, {"conv": "conv"})
    with taps:
        network(torch.zeros(1, 1, 2, 2))
    taps.collect()
    with taps:
        pass
    with pytest.raises(RuntimeError, match="never fired"):
        taps.collect()


def test_elements_of_tuples_and_lists():
    network, x = nn.Sequential(Pair()), torch.zeros(1, 2)
    taps = Taps(network, {"first": "0[0]"})
    with taps:
        network(x)
    torch.testing.assert_close(taps.collect()["first"], x)
    for path, what in (("0", "gives a tuple, not a tensor"), ("0[1]", "gives a list, not a tensor")):
        network = nn.Sequential(Pair())
        with Taps(network, {"t": path}), pytest.raises(TypeError, match=what):
            network(x)


def test_element_that_is_not_there():
    for module, path, what in (
        (Pair(), "0[5]", "asks for element 5, but its module gives a tuple of 2"),
        (nn.ReLU(), "0[0]", "asks for element 0, but its module gives a Tensor"),
    ):
        network = nn.Sequential(module)
        with Taps(network, {"t": path}), pytest.raises(TypeError, match=what):
            network(torch.zeros(3, 2))


def test_a_pass_between_does_not_record():
    network = InPlace()
    taps = Taps(network, {"conv": "conv"})
    x = torch.randn(1, 1, 2, 2)
    with taps:
        network(x)
    network(x + 100)
    held = taps.collect()
    torch.testing.assert_close(held["conv"], network.conv(x))


def test_an_exception_in_the_pass_stops_the_recording():
    network = InPlace()
    taps = Taps(network, {"conv": "conv"})
    with pytest.raises(RuntimeError, match="channels"):
        with taps:
            network(torch.zeros(1, 2, 2, 2))
    network(torch.zeros(1, 1, 2, 2))
    with pytest.raises(RuntimeError, match="never fired"):
        taps.collect()


def test_removed_taps_leave_a_network_that_copies_and_scripts():
    network = UNet(features=(2, 4, 8, 16, 32)).eval()
    taps = Taps(network, {"d4": "decoder.d4", "bridge": "bridge"})
    taps.remove()
    assert all(not m._forward_hooks for m in network.modules())
    x = torch.rand(1, 1, 16, 16)
    torch.testing.assert_close(copy.deepcopy(network)(x), network(x))
    torch.testing.assert_close(torch.jit.script(network)(x), network(x))


def test_shapes_of_a_dry_run():
    network = UNet(in_channels=2, out_channels=3, features=(2, 4, 8, 16, 32))
    logits, shapes = tap_shapes(network, {"d4": "decoder.d4", "d1": "decoder.d1", "b": "bridge"}, (2, 2, 32, 48))
    assert logits == (2, 3, 32, 48)
    assert shapes == {"d4": (2, 16, 4, 6), "d1": (2, 2, 32, 48), "b": (2, 32, 2, 3)}


def test_dry_run_leaves_no_trace():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.ReLU())
    network[2].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    assert tap_shapes(network, {"a": "1"}, (2, 1, 4, 4))[1] == {"a": (2, 2, 4, 4)}
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [m.training for m in network.modules()] == [True, True, True, False, True]
    assert all(p.grad is None for p in network.parameters())
    assert all(not m._forward_hooks for m in network.modules())


def test_failed_dry_run_leaves_no_trace():
    network = InPlace()
    with pytest.raises(RuntimeError, match="channels"):
        tap_shapes(network, {"conv": "conv"}, (1, 5, 2, 2))
    assert network.training and not network.conv._forward_hooks
