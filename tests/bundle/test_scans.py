"""Scans without a name of BraTS are shown to a network as its training showed it such."""

from __future__ import annotations

from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from ckdmed.bundle import record_sections
from tests.bundle.bundle_runs import BUNDLES, record


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
