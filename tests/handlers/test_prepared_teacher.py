from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from ckdmed.engines import load_network
from ckdmed.handlers import PreparedTeacher
from ckdmed.networks.prepared import is_prepared, mark_prepared


def run(network: nn.Module) -> None:
    trainer = Engine(lambda *_: None)
    PreparedTeacher(network).attach(trainer)
    trainer.run([0])


def test_a_teacher_as_it_was_initialised_is_refused(tmp_path):
    network = nn.Conv2d(1, 1, 1)
    with pytest.raises(RuntimeError, match="neither trained nor loaded.*teacher_checkpoint"):
        run(network)
    # no checkpoint, nothing loaded
    load_network(network, None)
    assert not is_prepared(network)
    torch.save(network.state_dict(), tmp_path / "teacher.pt")
    load_network(network, str(tmp_path / "teacher.pt"))
    run(network)
    assert list(network.state_dict()) == ["weight", "bias"]


def test_a_network_that_came_with_its_weights_is_prepared():
    network = nn.Conv2d(1, 1, 1)
    network.trained_elsewhere = "a bundle"
    run(network)


def test_several_are_prepared_when_each_of_them_is():
    several = nn.Module()
    several.networks = nn.ModuleDict({"a": nn.Conv2d(1, 1, 1), "b": nn.Conv2d(1, 1, 1)})
    mark_prepared(several.networks["a"])
    with pytest.raises(RuntimeError, match="neither trained nor loaded"):
        run(several)
    mark_prepared(several.networks["b"])
    run(several)
