"""Every exported bundle in the hands of the Model Zoo's unit tests."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigWorkflow

from tests.export.commands import small_settings, user_files
from tests.export.tiny import BUNDLES

pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]


def check_workflow(folder: Path, files: list[str], workflow_type: str, **settings: Any) -> None:
    """As the zoo does: started from its files with ``bundle_root`` overridden, properties checked, run, ended."""
    workflow = ConfigWorkflow(
        config_file=[str(folder / "configs" / name) for name in files],
        meta_file=str(folder / "configs" / "metadata.json"),
        logging_file=str(folder / "configs" / "logging.conf"),
        workflow_type=workflow_type,
        bundle_root=str(folder),
        **settings,
    )
    for name, value in small_settings(workflow.parser.get()).items():
        workflow.parser[name] = value
    workflow.initialize()
    assert workflow.check_properties() == [], files
    workflow.run()
    workflow.finalize()


# an export and three runs of a bundle
@pytest.mark.slow
@pytest.mark.parametrize("bundle", BUNDLES)
def test_workflows_run_and_have_their_properties(bundle, exports, tmp_path):
    shipped = exports(bundle).folder
    folder = Path(shutil.copytree(shipped, tmp_path / shipped.name))
    files = user_files(bundle, tmp_path / "user")
    data = files["path/to/brats" if bundle.startswith("brats_") else "path/to/figshare"]
    check_workflow(folder, ["train.json"], "train", dataset_dir=data)
    check_workflow(folder, ["train.json", "evaluate.json"], "train", dataset_dir=data)
    check_workflow(folder, ["inference.json"], "infer", dataset_dir=files["path/to/scans"])
    for name in ("models/model.pt", "inference/report.json"):
        assert (folder / "output" / name).is_file(), name
    # of the checkpoint that ships, which no run in there made
    assert (folder / "evaluation-model" / "summary.json").is_file()
