"""Which network a student has that starts from given weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from ckdmed.bundle import started_from
from ckdmed.bundle_files import bundle_folder
from ckdmed.files import write_json

KIND = {"seg_kd": "unet", "brats_seg_kd": "unet", "brats_unimodal_kd": "unet", "cls_kd": "efficientnet_b0"}


def network_of(bundle: str, **given: Any) -> dict[str, Any]:
    parser = ConfigParser()
    parser.read_config(str(bundle_folder(bundle) / "train.json"))
    parser.update(given)
    names = ["student_kind", "student_backbone", "student_options", *(["student_base"] if bundle != "cls_kd" else [])]
    return {name: parser.get_parsed_content(name) for name in names}


def start(folder: Path, **settings: Any) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "model.json", {"settings": {"epochs": 1, **settings}})
    (folder / "model.pt").write_bytes(b"weights")
    return str(folder / "model.pt")


@pytest.mark.parametrize("bundle", KIND)
def test_the_network_is_that_of_the_weights(bundle: str, tmp_path: Path) -> None:
    plain = network_of(bundle)
    assert plain["student_kind"] == KIND[bundle] and plain["student_options"] is None
    own = {"student_kind": "flexible_unet", "student_backbone": "resnet18", "student_options": {"a": 1}}
    own |= {} if bundle == "cls_kd" else {"student_base": 3}
    weights = start(tmp_path / "run", **own)
    assert network_of(bundle, student_pretrained=weights) == own
    # what is given counts, and what no record tells stays
    assert network_of(bundle, student_pretrained=weights, student_kind="segresnet")["student_kind"] == "segresnet"
    old = start(tmp_path / "old", student_kind="segresnet")
    assert network_of(bundle, student_pretrained=old) == {**plain, "student_kind": "segresnet"}


@pytest.mark.parametrize("folder, settings", [("teacher", {"student_kind": "segresnet"}), ("run", {"vit_heads": 2})])
def test_of_a_teacher_or_without_a_record_nothing_is_told(folder: str, settings: dict, tmp_path: Path) -> None:
    weights = start(tmp_path / folder, **settings)
    assert started_from(weights).settings is None
    assert network_of("seg_kd", student_pretrained=weights) == network_of("seg_kd")
    assert started_from(None).get("student_kind", "unet") == "unet"
    assert started_from(str(tmp_path / "nowhere.pt")).settings is None
