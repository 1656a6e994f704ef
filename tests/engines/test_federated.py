from __future__ import annotations

import torch
from monai.fl.utils.constants import WeightType
from monai.fl.utils.exchange_object import ExchangeObject
from monai.networks import copy_model_state

from ckdmed.engines import DistilledStudent
from ckdmed.engines.federated import WeightsOfStudent, WeightsToStudent
from tests.toy import unet


def sent(network: torch.nn.Module) -> ExchangeObject:
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    return ExchangeObject(weights=weights, weight_type=WeightType.WEIGHTS)


def test_weights_of_a_plain_network_reach_both_networks_of_a_client_and_come_back_plain() -> None:
    plain, theirs = unet(seed=1), DistilledStudent(unet(seed=2))
    data = sent(plain)
    given = WeightsToStudent()(data)
    assert given is not data and set(data.weights) == set(plain.state_dict())
    assert given.weight_type == WeightType.WEIGHTS
    for network in (theirs, unet(seed=3)):
        tensors = {name: torch.as_tensor(value) for name, value in given.weights.items()}
        _, updated, _ = copy_model_state(src=tensors, dst=network)
        assert len(updated) == len(network.state_dict())
    back = WeightsOfStudent()(sent(theirs))
    unet(seed=4).load_state_dict({name: torch.as_tensor(value) for name, value in back.weights.items()})
    assert all((back.weights[name] == value).all() for name, value in data.weights.items())


def test_projections_stay_with_the_client_and_a_files_weights_pass() -> None:
    mixed = ExchangeObject(weights={"student.a": 1, "projections.d4": 2}, metrics={"dice": 0.5})
    mixed["round"] = 3
    found = WeightsOfStudent()(mixed)
    assert found.weights == {"a": 1} and found.metrics == {"dice": 0.5} and found["round"] == 3
    plain = ExchangeObject(weights={"a": 1})
    assert WeightsOfStudent()(plain) is plain
    for nothing in (WeightsOfStudent(), WeightsToStudent()):
        assert nothing(ExchangeObject(statistics={"cases": 2})).statistics == {"cases": 2}
