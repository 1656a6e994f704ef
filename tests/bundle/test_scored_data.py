"""An evaluation does not score phantoms in place of the data that its user left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ckdmed.bundle import check_scored_data, record_sections, scored_items
from ckdmed.bundle.errors import RefusedStart
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


def test_an_empty_section_needs_no_traceback() -> None:
    with pytest.raises(RefusedStart, match="the section 'test' has nothing to score"):
        scored_items({"test": []}, "test")


@pytest.mark.parametrize("bundle", sorted(path.parent.name for path in BUNDLES.glob("*/evaluate.json")))
def test_every_evaluation_looks_before_data_are_made(bundle: str) -> None:
    steps = json.loads((BUNDLES / bundle / "evaluate.json").read_text())["initialize"]
    place = steps.index("$ckdmed.bundle.check_scored_data(@dataset_dir, @checkpoint)")
    assert not any("@sections" in step for step in steps[:place])
