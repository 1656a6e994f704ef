"""Inference with a student of one sequence: what a user sees of settings that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from ckdmed.bundle.errors import root_cause
from ckdmed.data.brats import build_brats_datalist, write_brats_datalist
from ckdmed.data.phantoms import write_brats_phantoms
from ckdmed.inference import InputsSkipped
from ckdmed.networks import UNet
from tests.bundle.bundle_runs import BUNDLES, completed, opened

pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cases of T1 with contrast in ``scans``, the same with all sequences in ``data``, and two checkpoints."""
    folder = tmp_path_factory.mktemp("unimodal")
    write_brats_phantoms(folder / "data", 2, (24, 24, 16), time_points=(1, 1), progress=False)
    for file in (folder / "data").glob("*/*-t1c.nii.gz"):
        copy = folder / "scans" / file.parent.name / file.name
        copy.parent.mkdir(parents=True)
        copy.write_bytes(file.read_bytes())
    for channels in (1, 2):
        network = UNet(in_channels=channels, out_channels=3, features=[2, 4, 8, 16, 32])
        torch.save(network.state_dict(), folder / f"{channels}.pt")
    return folder


def infer(folder: Path, out: Path, **settings: Any) -> dict[str, Any]:
    given = {"dataset_dir": str(folder / "scans"), "checkpoint": str(folder / "1.pt"), "output_dir": str(out)}
    # there is no record of a training, so all that it would tell is given
    given |= {"spatial_dims": 2, "student_modalities": ["t1c"], "neighbours": 0, "roi_size": [16, 16, 16]}
    given |= {"student_kind": "unet", "student_backbone": "efficientnet-lite0", "student_options": None}
    given |= {"student_base": 2, "image_size": 16, "device": "$torch.device('cpu')"}
    completed(opened("brats_unimodal_kd", "inference.json", **{**given, **settings}))
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report


@pytest.mark.parametrize("settings", [{}, {"reference": "t1c"}, {"student_modalities": ["t1c"], "overlay_on": "t1c"}])
def test_the_students_sequence_is_enough(folder: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    assert infer(folder, tmp_path, **settings)["counts"]["done"] == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reference": "t1n"}, "the reference must be one of t1c, got 't1n'."),
        ({"overlay_on": "t2f"}, "overlay_on must be one of t1c, got 't2f'."),
        (
            {"student_modalities": "t1n"},
            "scans: no case has t1n, which the network needs (the first: ",
        ),
        (
            {"student_modalities": ["t1ce"]},
            "must be a list of different sequences, each one of t1n, t1c, t2w, t2f, got ['t1ce'].",
        ),
        ({"modalities": ["t1c", "t1c"]}, "got ['t1c', 't1c']. one appears twice."),
        ({"student_modalities": []}, "each one of t1n, t1c, t2w, t2f, got []."),
        ({"student_modalities": ["t1n"]}, "scans: no case has t1n, which the network needs (the first: "),
        ({"modalities": ["t1c", "t2f"]}, "modalities is ['t1c', 't2f'], but student_modalities is ['t1c']"),
        (
            {"neighbours": 1},
            "1.pt' is a checkpoint of another network: it takes 1 input channel, but this one takes 3.",
        ),
    ],
)
def test_what_does_not_fit_is_one_clear_error(
    folder: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(Exception) as raised:
        infer(folder, tmp_path, **settings)
    cause = root_cause(raised.value)
    assert isinstance(cause, ValueError) and message in str(cause)


def test_a_checkpoint_of_a_student_of_more_sequences(folder: Path, tmp_path: Path) -> None:
    two = str(folder / "2.pt")
    with pytest.raises(Exception) as raised:
        infer(folder, tmp_path / "a", checkpoint=two)
    assert "it takes 2 input channels, but this one takes 1. Give the network the images" in str(
        root_cause(raised.value)
    )
    settings = {"checkpoint": two, "dataset_dir": str(folder / "data"), "student_modalities": ["t1c", "t2f"]}
    assert infer(folder, tmp_path / "b", **settings)["counts"]["done"] == 2


def test_a_datalist_of_other_sequences(folder: Path, tmp_path: Path) -> None:
    datalist, _ = build_brats_datalist(
        folder / "scans", modalities=["t1c"], fractions=(0.0, 0.0, 1.0), require_label=False, progress=False
    )
    path = write_brats_datalist(datalist, folder / "scans" / "datalist.json")
    assert infer(folder, tmp_path / "a", dataset_dir=str(path))["counts"]["done"] == 2
    with pytest.raises(Exception) as raised:
        infer(folder, tmp_path / "b", dataset_dir=str(path), student_modalities=["t1n"])
    assert "no case has t1n" in str(root_cause(raised.value)) and "(found: t1c)" in str(root_cause(raised.value))


def test_a_case_that_lacks_it_among_others_is_skipped(folder: Path, tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    for number, file in enumerate(sorted((folder / "data").glob("*/*-t1c.nii.gz"))):
        name = file.name if number else file.name.replace("t1c", "t2w")
        (scans / file.parent.name).mkdir(parents=True)
        (scans / file.parent.name / name).write_bytes(file.read_bytes())
    with pytest.raises(InputsSkipped) as raised:
        infer(folder, tmp_path / "out", dataset_dir=str(scans))
    (skipped,) = raised.value.skipped
    assert "missing: t1c (found: t2w)" in skipped.reason
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["counts"] == {"done": 1, "kept": 0, "skipped": 1, "ignored": 0}


def test_results_of_another_peer_under_the_same_name_are_not_kept(folder: Path, tmp_path: Path) -> None:
    peer = tmp_path / "t1c.pt"
    config = json.loads((BUNDLES / "brats_unimodal_kd" / "inference.json").read_text())

    def settings() -> dict[str, Any]:
        given = {"peer_checkpoint": str(peer), "checkpoint": str(folder / "1.pt"), "output_dir": str(tmp_path)}
        return dict(ConfigParser({**config, **given}).get_parsed_content("job").settings)

    peer.write_bytes(b"one")
    before = settings()
    peer.write_bytes(b"two")
    # a resumed inference keeps what was made with equal settings
    assert settings() != before
    peer.unlink()
    assert settings()["peer_checkpoint"] is None
