"""An evaluation does not score phantoms in place of the data that its user left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow

from ckdmed.bundle import check_scored_data, record_sections, scored_items
from ckdmed.bundle.errors import RefusedStart, root_cause
from tests.bundle.bundle_runs import BUNDLES

ITEM = {"patient": "A", "patient_group": "A", "labelled": True}


def checkpoint(folder: Path, dataset_dir: str | None, recorded: bool = True) -> str:
    if recorded:
        sections = {name: [{**ITEM, "id": name}] if name == "train" else [] for name in ("train", "validation", "test")}
        record_sections(sections, str(folder), str(folder / "models"))
    else:
        (folder / "models").mkdir(parents=True)
    settings = {"epochs": 1, "dataset_dir": dataset_dir}
    (folder / "models/model.json").write_text(json.dumps({"settings": settings}))
    (folder / "models/model.pt").write_bytes(b"")
    return str(folder / "models/model.pt")


def test_weights_of_a_training_that_had_data_are_scored_on_data(tmp_path: Path) -> None:
    trained = checkpoint(tmp_path / "run", "path/to/brats")
    with pytest.raises(
        RefusedStart, match=r"run/models/model.pt', which was trained with --dataset_dir path/to/brats: give"
    ):
        check_scored_data(None, trained)
    check_scored_data("path/to/others", trained)


def test_phantoms_are_scored_with_weights_of_phantoms_and_with_those_that_ship(tmp_path: Path) -> None:
    check_scored_data(None, checkpoint(tmp_path / "run", None))
    check_scored_data(None, checkpoint(tmp_path / "shipped", "figshare", recorded=False))


def test_weights_that_are_not_there_are_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(RefusedStart, match=r"no checkpoint '.*nowhere.pt'. Give one with --checkpoint, or train one"):
        check_scored_data(None, str(tmp_path / "nowhere.pt"))


@pytest.mark.filterwarnings("ignore:Can't merge entry")
@pytest.mark.parametrize("bundle", sorted(path.parent.name for path in BUNDLES.glob("*/evaluate.json")))
def test_an_evaluation_without_its_training_says_which_files_belong_together(bundle: str) -> None:
    """MONAI raised a KeyError while it read the file, before anything of this package ran."""
    files = [str(BUNDLES / bundle / name) for name in ("train.json", "evaluate.json")]
    made = ConfigWorkflow(files[1], meta_file=None, logging_file=False, workflow_type="train")
    with pytest.raises(Exception) as raised:
        made.initialize()
    cause = root_cause(raised.value)
    assert isinstance(cause, RefusedStart) and f"--config_file \"['{files[0]}','{files[1]}']\"" in str(cause)


def test_an_empty_section_needs_no_traceback() -> None:
    with pytest.raises(RefusedStart, match="the section 'test' has nothing to score"):
        scored_items({"test": []}, "test")


@pytest.mark.parametrize("bundle", sorted(path.parent.name for path in BUNDLES.glob("*/evaluate.json")))
def test_every_evaluation_looks_before_data_are_made(bundle: str) -> None:
    steps = json.loads((BUNDLES / bundle / "evaluate.json").read_text())["initialize"]
    place = steps.index("$ckdmed.bundle.check_scored_data(@dataset_dir, @checkpoint)")
    assert not any("@sections" in step for step in steps[:place])
