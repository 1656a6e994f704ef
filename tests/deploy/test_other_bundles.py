"""The small networks of all bundles, judged on phantoms."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckdmed.deploy import DeployOptions, deploy
from ckdmed.deployed_network import read_description
from tests.export.tiny import BUNDLES, write_checkpoint

TASKS = {"seg": "segmentation", "cls": "classification", "brats": "cases"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("bundle", sorted(set(BUNDLES) - {"seg_kd"}))
def test_a_small_network_of_every_bundle(bundle: str, tmp_path: Path):
    checkpoint = write_checkpoint(tmp_path / "weights" / "model.pt", bundle)
    options = DeployOptions(("torchscript",), held_out=1, measure=False)
    result = deploy(bundle, tmp_path / "deployed", options, str(checkpoint), lambda _: None)
    (form,) = result.forms
    assert form.written and form.changes is not None and form.changes.changed == 0
    description = read_description(tmp_path / "deployed" / form.file)
    assert description.bundle == bundle and description.task == TASKS[bundle.partition("_")[0]]
