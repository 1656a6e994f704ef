from __future__ import annotations

from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow
from monai.utils import BundlePropertyConfig

from tests.export.commands import small_settings
from tests.export.tiny import BUNDLES, ROOT, write_checkpoint

CONFIGS = {"train": ["train.json"], "evaluate": ["train.json", "evaluate.json"], "inference": ["inference.json"]}


@pytest.mark.parametrize("configs", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("bundle", BUNDLES)
def test_optional_properties_are_where_monai_looks(bundle: str, configs: list[str]):
    """What `check_properties` says of optional ids, without the data and networks that it builds for the others."""
    folder = ROOT / "bundles" / bundle
    workflow = ConfigWorkflow(
        config_file=[str(folder / name) for name in configs],
        meta_file=None,
        logging_file=False,
        workflow_type="infer" if configs == ["inference.json"] else "train",
    )
    workflow.parser.parse()
    assert workflow.properties
    wrong = []
    for name, entry in workflow.properties.items():
        # a section in the place of a reference ends MONAI's own check with an AttributeError
        if not workflow._check_optional_id(name, entry):
            wrong.append(f"{name} is not {entry[BundlePropertyConfig.ID]}")
    assert not wrong


# every property is built here, data and networks too: the two ends of what can go wrong always, the rest with the slow
@pytest.mark.bundle
@pytest.mark.parametrize("configs", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize(
    "bundle", [pytest.param(b, marks=[pytest.mark.slow] if b != "seg_kd" else []) for b in BUNDLES]
)
def test_all_properties_are_there(bundle: str, configs: list[str], tmp_path: Path):
    weights = write_checkpoint(tmp_path / "models" / "model.pt", bundle, configs[0])
    infers = configs == ["inference.json"]
    workflow = ConfigWorkflow(
        config_file=[str(ROOT / "bundles" / bundle / name) for name in configs],
        meta_file=str(ROOT / "bundles" / bundle / "metadata.json"),
        logging_file=False,
        workflow_type="infer" if infers else "train",
        # building a trainer claims its folder, which must not hold the run that the weights are of
        output_dir=str(tmp_path / "out"),
        # nothing is run, so nothing is checked
        initialize=[],
    )
    for name, value in small_settings(workflow.parser.get()).items():
        workflow.parser[name] = value
    if "checkpoint" in workflow.parser.get():
        workflow.parser["checkpoint"] = str(weights)
    workflow.initialize()
    assert workflow.check_properties() == []
    # an evaluation has a trainer among its properties too, which must write nothing to the run that it scores
    assert (tmp_path / "out/settings.json").exists() == (configs == ["train.json"])
    assert (tmp_path / "out/tensorboard").exists() == (configs == ["train.json"])
