"""`monai.bundle.load` of an exported bundle: it initialises the training, which must neither draw nor write."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.bundle import load

from ckdmed.bundle.effective_settings import reached
from tests.export.tiny import BUNDLES, config

pytestmark = pytest.mark.usefixtures("process_as_it_was")


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_training_takes_data_and_folder_when_it_runs_not_when_it_is_initialised(bundle: str) -> None:
    train = config(bundle, "train.json")
    writing = {"sections", "claimed_dir", "begun_dir", "summary_writer", "train", "validate"}
    assert not writing & {name.split("::")[0] for name in reached(train, ["initialize"])}
    # whatever of a training is built, its folder is claimed and its settings noted first
    assert {"claimed_dir", "begun_dir"} <= reached(train, ["train::trainer"])
    # before the data, which may be drawn in it
    assert list(train["begun_dir"]).index("output_dir") < list(train["begun_dir"]).index("sections")
    assert {"$@claimed_dir", "$@begun_dir"} <= set(map(str, train["run"]))
    # the run that an evaluation scores is not its own
    assert not {"claimed_dir", "begun_dir"} & reached({**train, **config(bundle, "evaluate.json")}, ["train::trainer"])


def test_load_gives_the_shipped_network_and_leaves_nothing(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(exported.rglob("*"))
    weights = torch.load(exported / "models/model.pt", weights_only=True)
    network = load(exported.name, bundle_dir=exported.parent, source="github", device="cpu")
    assert sorted(exported.rglob("*")) == before and not list(tmp_path.iterdir())
    state = network.state_dict()
    assert state.keys() == weights.keys() and all(torch.equal(state[name], weights[name]) for name in weights)
