"""What weights that are made of others still know of the training, for deployed files and pruned networks alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from ckdmed.deploy.companions import copy_training_records
from ckdmed.deploy.source import find_source
from ckdmed.pruning.prune import _write
from ckdmed.sections.record import find_own_or_shipped, find_record
from ckdmed.sections.training_record import record_sections
from tests.export.tiny import ROOT, write_checkpoint

SECTIONS = {name: [{"id": name, "patient": name, "patient_group": name}] for name in ("train", "validation", "test")}


@pytest.fixture()
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    record_sections(SECTIONS, str(folder), str(folder))
    (folder / "model.inputs.json").write_text("{}", encoding="utf-8")
    return write_checkpoint(folder / "model.pt", "seg_kd")


def test_a_pruned_network_still_knows_the_patients_of_the_training(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    _write(find_source("seg_kd", weights), {}, "student_options", nn.Conv2d(1, 1, 1), {}, folder, [])
    found = find_record(folder / "model.pt")
    assert found is not None and found.patients["train"] == {"train": ["train"]}
    assert (folder / "model.inputs.json").is_file()


def test_what_is_made_of_the_weights_that_ship_knows_their_patients(tmp_path: Path) -> None:
    shipped = ROOT / "bundles/seg_kd/models/model.pt"
    copy_training_records(shipped, tmp_path, ["model.onnx"])
    copy_training_records(shipped, tmp_path, ["model.ts"])
    own, found = find_own_or_shipped(shipped), find_own_or_shipped(tmp_path / "model.onnx")
    assert own is not None and found is not None and found.content() == own.content()
    # data of others have their own sections, as with the weights themselves
    assert found.shipped and not found.concerns([{"id": "1", "patient": "A", "patient_group": "A"}])


def test_records_of_other_patients_are_not_overwritten(weights: Path, tmp_path: Path) -> None:
    copy_training_records(weights, weights.parent, ["small.pt"])
    assert (weights.parent / "small.inputs.json").is_file()
    other = tmp_path / "other"
    other.mkdir()
    (other / "sections.json").write_text("{}", encoding="utf-8")
    with pytest.raises(FileExistsError, match="sections.json lists other patients than .*: name another folder"):
        copy_training_records(weights, other, ["model.pt"])
    assert (other / "sections.json").read_text(encoding="utf-8") == "{}"
