"""Scans without a name of BraTS are shown to a network as its training showed it such."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from ckdmed.bundle import finish_run, made_like_brats, record_sections, start_training
from ckdmed.bundle.scans import brats_names_of
from ckdmed.deploy.source import find_source
from ckdmed.runtime.description import DESCRIPTION_KEY
from tests.bundle.bundle_runs import BUNDLES, record
from tests.export.tiny import write_checkpoint


def trained(folder: Path, bundle: str, case: str, spatial_dims: int) -> str:
    item = {"id": case, "case": case, "patient": case, "patient_group": case, "labelled": True}
    record_sections({"train": [item], "validation": [], "test": []}, str(folder), str(folder / "models"))
    record(folder / "models/model.pt", bundle, spatial_dims=spatial_dims)
    return str(folder / "models/model.pt")


@pytest.mark.parametrize("bundle", ["brats_seg_teacher", "brats_seg_kd", "brats_unimodal_kd"])
@pytest.mark.parametrize(
    ("case", "spatial_dims", "shown"),
    [
        ("BraTS-GLI-00001-000", 2, ("auto", 240.0, None)),
        ("Brats18_TCIA05_396_1", 3, ("auto", None, [1.0, 1.0, 1.0])),
        # the training showed such cases as they are
        ("TCGA_DU_6399", 2, ("nonzero", None, None)),
        ("TCGA_DU_6399", 3, ("nonzero", None, None)),
    ],
)
def test_a_network_is_shown_scans_as_in_its_training(
    tmp_path: Path, bundle: str, case: str, spatial_dims: int, shown: tuple[object, ...]
) -> None:
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / bundle / "inference.json"))
    parser["checkpoint"] = trained(tmp_path, bundle, case, spatial_dims)
    assert tuple(parser.get_parsed_content(name) for name in ("brain", "field_of_view", "spacing")) == shown


def test_without_a_record_scans_are_made_like_those_of_brats(tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / "brats_unimodal_kd/inference.json"))
    parser["checkpoint"] = str(tmp_path / "model.pt")
    assert (parser.get_parsed_content("brain"), parser.get_parsed_content("field_of_view")) == ("auto", 240.0)


@pytest.mark.parametrize(("case", "like_brats"), [("BraTS-GLI-00001-000", True), ("TCGA_DU_6399", False)])
def test_weights_that_are_moved_without_their_sections_tell(tmp_path: Path, case: str, like_brats: bool) -> None:
    item = {"id": case, "case": case, "patient": case, "patient_group": case, "labelled": True}
    sections = {"train": [item], "validation": [], "test": []}
    start_training(sections, str(tmp_path / "run"), str(tmp_path / "run/models"))
    finish_run(str(tmp_path / "run"))
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(tmp_path / "run/models/model.json", tmp_path / "elsewhere")
    assert made_like_brats(str(tmp_path / "elsewhere/model.pt")) is like_brats


def test_slices_have_no_names_of_brats() -> None:
    assert brats_names_of({"train": [{"id": "1", "patient": "p"}], "validation": [], "test": []}) == {}


@pytest.mark.parametrize(("case", "like_brats"), [("BraTS-GLI-00001-000", True), ("TCGA_DU_6399", False)])
def test_a_deployed_file_tells_wherever_it_lies(tmp_path: Path, case: str, like_brats: bool) -> None:
    checkpoint = write_checkpoint(tmp_path / "run/model.pt", "brats_seg_kd")
    item = {"id": case, "case": case, "patient": case, "patient_group": case, "labelled": True}
    record_sections({"train": [item], "validation": [], "test": []}, str(tmp_path / "run"), str(tmp_path / "run"))
    description = find_source("brats_seg_kd", str(checkpoint)).description
    deployed = tmp_path / "elsewhere/student.ts"
    deployed.parent.mkdir()
    script = torch.jit.script(torch.nn.Identity())
    torch.jit.save(script, str(deployed), _extra_files={f"{DESCRIPTION_KEY}.json": description.to_text()})
    assert made_like_brats(str(deployed)) is like_brats
