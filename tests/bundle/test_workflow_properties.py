from __future__ import annotations

from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow
from monai.utils import BundlePropertyConfig

BUNDLES = sorted(path.parent.name for path in Path(__file__).parents[2].glob("bundles/*/train.json"))


@pytest.mark.parametrize("configs", [["train.json"], ["train.json", "evaluate.json"]], ids=["train", "evaluate"])
@pytest.mark.parametrize("bundle", BUNDLES)
def test_optional_properties_are_where_monai_looks(bundle: str, configs: list[str]):
    """What `check_properties` says of optional ids, without the data and networks that it builds for the others."""
    folder = Path(__file__).parents[2] / "bundles" / bundle
    workflow = ConfigWorkflow(
        config_file=[str(folder / name) for name in configs],
        meta_file=None,
        logging_file=False,
        workflow_type="train",
    )
    workflow.parser.parse()
    assert workflow.properties
    wrong = []
    for name, entry in workflow.properties.items():
        # a section in the place of a reference ends MONAI's own check with an AttributeError
        if not workflow._check_optional_id(name, entry):
            wrong.append(f"{name} is not {entry[BundlePropertyConfig.ID]}")
    assert not wrong
