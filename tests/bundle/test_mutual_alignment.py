"""Mutual distillation with image alignment in its bundle: trained, resumed, and the mean of both networks scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Events

from ckdmed.bundle.errors import root_cause
from ckdmed.data.phantoms import write_brats_phantoms
from ckdmed.engines import AlignedTrainer, weights_hash
from ckdmed.networks import segmentation_teacher
from ckdmed.networks.mean_of_networks import MeanOfNetworks
from tests.bundle.broken_off import break_off
from tests.bundle.bundle_runs import completed, history, opened
from tests.bundle.test_brats_unimodal import TINY, workflow

pytestmark = [pytest.mark.bundle, pytest.mark.slow, pytest.mark.usefixtures("process_as_it_was")]
MUTUAL: dict[str, Any] = {"method": "mutual", "align": "cyclegan", "align_base": 2, "teachers": [["t2f"]], "epochs": 2}
# patches that are no cubes: the judges fit the short axes
VOLUMES: dict[str, Any] = {"spatial_dims": 3, "roi_size": [32, 16, 16], "batch_size": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("brats")
    write_brats_phantoms(folder, 6, (24, 24, 16), time_points=(1, 1), progress=False)
    return folder


@pytest.mark.parametrize("sizes", [{}, VOLUMES], ids=["slices", "volumes"])
def test_trained_resumed_and_averaged(sizes: dict[str, Any], tmp_path: Path, data: Path) -> None:
    mutual = {**MUTUAL, **sizes}
    unbroken = completed(workflow(tmp_path / "unbroken", data, **mutual))
    assert isinstance(unbroken.trainer, AlignedTrainer)
    first, second = history(tmp_path / "unbroken")
    named = {"supervised", "response", "teacher_t2f", "mutual_t2f"}
    named |= {"translation_adversarial", "translation_cycle", "discriminators"}
    assert set(first["terms"]) == named
    assert all(first["terms"][name] != second["terms"][name] for name in named)

    broken = workflow(tmp_path / "broken", data, **mutual)
    break_off(broken, Events.EPOCH_STARTED(once=2))
    resumed = completed(workflow(tmp_path / "broken", data, **mutual, resume=True))
    for name in ("network_def", "teacher_ensemble", "alignment"):
        ends = [made.parser.get_parsed_content(name) for made in (unbroken, resumed)]
        if name == "alignment":
            ends = [made.to_target for made in ends]
        assert weights_hash(ends[0]) == weights_hash(ends[1]), name

    peer = tmp_path / "unbroken" / "models" / "teachers" / "t2f.pt"
    # the peer sees what the student sees, one channel
    network = segmentation_teacher("segresnet", in_channels=1, base=2, spatial_dims=3 if sizes else 2)
    network.load_state_dict(torch.load(peer, weights_only=True), strict=True)
    scores = {}
    for name, given in (("alone", {}), ("both", {"peer_checkpoint": str(peer)})):
        settings = {**TINY, **mutual, "teachers": None, "dataset_dir": str(data)}
        for trained in ("teachers", "epochs"):
            settings.pop(trained)
        made = opened(
            "brats_unimodal_kd",
            "train.json",
            "evaluate.json",
            **{**settings, "output_dir": str(tmp_path / "unbroken"), "evaluation_dir": str(tmp_path / name), **given},
        )
        evaluator = made.parser.get_parsed_content("validate#evaluator")
        assert isinstance(evaluator.network, MeanOfNetworks) == (name == "both")
        completed(made)
        scores[name] = json.loads((tmp_path / name / "summary.json").read_text(encoding="utf-8"))
    assert scores["alone"] != scores["both"]

    for name, given in (("inferred", {}), ("inferred_both", {"peer_checkpoint": str(peer)})):
        checkpoint = str(tmp_path / "unbroken" / "models" / "model.pt")
        settings = {"dataset_dir": str(data), "checkpoint": checkpoint, "device": "cpu", "probabilities": True}
        made = opened("brats_unimodal_kd", "inference.json", output_dir=str(tmp_path / name), **settings, **given)
        made.run()
    found = {path.relative_to(tmp_path / "inferred"): path for path in (tmp_path / "inferred").rglob("*prob*.nii.gz")}
    assert found
    for name, path in found.items():
        alone, both = (np.asarray(nib.load(file).dataobj) for file in (path, tmp_path / "inferred_both" / name))
        assert alone.shape == both.shape and np.abs(alone - both).max() > 0.01


def test_a_peer_of_other_sequences_is_refused(tmp_path: Path, data: Path) -> None:
    plain = {**MUTUAL, "align": None, "epochs": 1}
    completed(workflow(tmp_path / "plain", data, **plain))
    peer = tmp_path / "plain" / "models" / "teachers" / "t2f.pt"
    settings = {"dataset_dir": str(data), "device": "cpu", "peer_checkpoint": str(peer)}
    checkpoint = str(tmp_path / "plain" / "models" / "model.pt")
    made = opened(
        "brats_unimodal_kd", "inference.json", output_dir=str(tmp_path / "x"), checkpoint=checkpoint, **settings
    )
    with pytest.raises(Exception) as raised:
        made.run()
    assert "is of a peer that sees t2f, but the student sees t1c" in str(root_cause(raised.value))


def test_another_method_has_no_use_for_alignment(tmp_path: Path, data: Path) -> None:
    with pytest.raises(Exception) as raised:
        workflow(tmp_path, data, align="cyclegan", teachers=[["t2f"]])
    assert "the method 'ckd' has no use for align='cyclegan'" in str(root_cause(raised.value))
