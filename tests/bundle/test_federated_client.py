"""MONAI's client of federated learning trains a bundle with the filters of docs/use_in_your_trainer.md."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems, WeightType
from monai.fl.utils.exchange_object import ExchangeObject

from ckdmed.files import load_weights
from tests.bundle.bundle_runs import BUNDLES, shared_phantoms
from tests.bundle.seg_kd_runs import TINY

PAGE = BUNDLES.parent / "docs/use_in_your_trainer.md"


@pytest.fixture
def client(tmp_path: Path) -> MonaiAlgo:
    found = re.search(r"`configs/fl_filters.json` of the bundle:\n\n```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    filters = tmp_path / "fl_filters.json"
    filters.write_text(json.dumps(json.loads(found[1])))
    settings: dict[str, Any] = {
        **TINY,
        **{"device": "$torch.device('cpu')", "method": "supervised", "epochs": 2, "output_dir": str(tmp_path / "run")},
        "sections#phantom_dir": shared_phantoms("seg", "6", "48", "None", "None"),
    }
    made = MonaiAlgo(
        bundle_root=str(BUNDLES / "seg_kd"),
        config_train_filename="train.json",
        train_kwargs=dict(settings),
        config_evaluate_filename=None,
        config_filters_filename=str(filters),
        send_weight_diff=False,
    )
    made.initialize({ExtraItems.CLIENT_NAME: "hospital"})
    return made


@pytest.mark.slow
@pytest.mark.bundle
def test_a_client_trains_rounds_from_the_servers_weights(client: MonaiAlgo, tmp_path: Path) -> None:
    network = client.trainer.network.student
    server = {name: value.detach().clone() for name, value in network.state_dict().items()}
    rounds = []
    for _ in range(2):
        # as a server with this one client goes on
        client.train(ExchangeObject(weights={k: v.numpy() for k, v in server.items()}, weight_type=WeightType.WEIGHTS))
        sent = client.get_weights().weights
        assert set(sent) == set(server)
        # what is sent are views of the client's own weights
        server = {name: torch.as_tensor(value).clone() for name, value in sent.items()}
        rounds.append(server)
    assert client.trainer.state.epoch == 2
    first = rounds[0]
    assert any(not torch.equal(first[name], server[name]) for name in server)
    network.load_state_dict(server)
    assert set(load_weights(tmp_path / "run/models/model.pt")) == set(server)
