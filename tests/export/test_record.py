"""An exported bundle with other weights than it ships: their record counts, as in the source tree."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser, ConfigWorkflow

from ckdmed.bundle.errors import RefusedStart, root_cause
from ckdmed.bundle.scans import made_like_brats
from ckdmed.bundle.trained import portable_settings, recorded_settings
from ckdmed.export import export_bundle
from ckdmed.export.exporter import _write_files
from ckdmed.sections.record import find_own_or_shipped, find_record
from ckdmed.sections.training_record import record_sections
from tests.bundle.bundle_runs import record
from tests.export.tiny import ROOT, SIZES, sizes_of, write_checkpoint

pytestmark = pytest.mark.usefixtures("process_as_it_was")

# of the weights that no bundle here ships
OTHER = {"seg_kd": {"image_size": 48, "scaling": "zscore"}, "cls_kd": {"image_size": 48, "class_names": ["a", "b"]}}


@pytest.fixture
def unscripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """TorchScript of a network takes seconds, and these tests read what else is written."""
    monkeypatch.setattr("ckdmed.export.exporter.scripting_problem", lambda network: "left out")


def started(folder: Path, *files: str, **settings: Any) -> ConfigWorkflow:
    workflow = ConfigWorkflow(
        [str(folder / "configs" / name) for name in files],
        meta_file=None,
        logging_file=False,
        workflow_type="inference" if files == ("inference.json",) else "train",
        device="$torch.device('cpu')",
        **settings,
    )
    workflow.initialize()
    return workflow


def refused(folder: Path, **settings: Any) -> str:
    with pytest.raises(Exception) as raised:
        started(folder, "inference.json", **settings)
    return str(root_cause(raised.value))


def other_weights(path: Path, bundle: str) -> dict[str, Any]:
    """Weights with the record of another training beside them, and what differs in it."""
    write_checkpoint(path, bundle)
    record(path, bundle, **{**sizes_of(bundle), **OTHER[bundle]})
    return OTHER[bundle]


@pytest.mark.parametrize("bundle", ["seg_kd", pytest.param("cls_kd", marks=pytest.mark.slow)])
def test_the_record_of_the_checkpoint_in_use_counts(bundle, exports, tmp_path):
    folder = exports(bundle).folder
    checkpoint = tmp_path / "other" / "model.pt"
    differing = other_weights(checkpoint, bundle)
    made = started(folder, "inference.json", checkpoint=str(checkpoint), output_dir=str(tmp_path / "out"))
    assert {name: made.parser.get_parsed_content(name) for name in differing} == differing
    own = started(folder, "inference.json", output_dir=str(tmp_path / "out"))
    assert own.parser.get_parsed_content("image_size") == SIZES["image_size"]
    for weights, size in ((checkpoint, 48), (folder / "models" / "model.pt", SIZES["image_size"])):
        message = refused(folder, checkpoint=str(weights), image_size=64, output_dir=str(tmp_path / "out"))
        assert f"--image_size is 64, but '{weights}' was trained with {size}." in message
    checkpoint.with_suffix(".json").unlink()
    message = refused(folder, checkpoint=str(checkpoint), output_dir=str(tmp_path / "out"))
    assert "has no record of what it was trained with: give --" in message and "--image_size" in message


@pytest.mark.slow
@pytest.mark.bundle
def test_an_evaluation_follows_it_too(exports, tmp_path):
    folder = exports("seg_kd").folder
    checkpoint = tmp_path / "other" / "model.pt"
    other_weights(checkpoint, "seg_kd")
    made = started(
        folder,
        *("train.json", "evaluate.json"),
        checkpoint=str(checkpoint),
        output_dir=str(tmp_path / "out"),
        phantom_patients=6,
    )
    assert made.parser.get_parsed_content("image_size") == 48
    assert made.parser.get_parsed_content("scaling") == "zscore"


def test_what_lies_in_the_working_directory_says_nothing_of_a_bundle_that_is_only_parsed(
    exported, tmp_path, monkeypatch
):
    other_weights(tmp_path / "models" / "model.pt", "seg_kd")
    monkeypatch.chdir(tmp_path)
    for name in ("inference.json", "train.json"):
        parser = ConfigParser()
        parser.read_config(str(exported / "configs" / name))
        assert parser.get_parsed_content("image_size") == SIZES["image_size"], name
        assert parser.get_parsed_content("scaling") == "percentiles"
    # whoever names the bundle or the weights means those
    parser = ConfigParser()
    parser.read_config(str(exported / "configs" / "inference.json"))
    parser["checkpoint"] = str(tmp_path / "models" / "model.pt")
    assert parser.get_parsed_content("image_size") == 48


def test_weights_in_the_place_of_those_that_are_shipped_need_their_own_record(exported, tmp_path):
    folder = Path(shutil.copytree(exported, tmp_path / exported.name))
    weights = folder / "models" / "model.pt"
    assert recorded_settings(weights)["student_base"] == SIZES["student_base"]
    shutil.copyfile(ROOT / "bundles/seg_kd/models/model.pt", weights)
    # a user's doing, which ends a run in one line
    with pytest.raises(RefusedStart, match="model.json' is not the record of .*model.pt'.* SHA-256"):
        recorded_settings(weights)


def test_what_is_exported_has_a_record_or_all_that_it_would_tell(tmp_path):
    checkpoint = write_checkpoint(tmp_path / "model.pt", "seg_kd")
    (tmp_path / "model.json").unlink()
    with pytest.raises(RefusedStart, match="no record .*give --override image_size, --override student_kind"):
        export_bundle(ROOT / "bundles" / "seg_kd", checkpoint, tmp_path / "brain_seg", overrides={"student_base": 4})


@pytest.mark.usefixtures("unscripted")
def test_the_weights_that_ship_keep_their_threshold(tmp_path):
    bundle = ROOT / "bundles" / "seg_kd"
    weights = bundle / "models" / "model.pt"
    own = json.loads((bundle / "models" / "model.json").read_text(encoding="utf-8"))["evaluation"]["threshold"]
    assert own not in (0.5, 0.35)
    scored = {"settings": {"checkpoint": "", "section": "test", "settings": {"threshold": 0.5, "tta": True}}}
    scored |= {"overall": {"dice": {"patient_mean": 0.8, "patient_interval": [0.7, 0.9]}}}
    for name, overrides, threshold in (("a", {}, own), ("b", {"threshold": 0.35}, 0.35)):
        folder = tmp_path / name
        _write_files(folder, bundle, weights, None, overrides, {**scored, "n_slices": 4, "n_patients": 2})
        parser = ConfigParser()
        parser.read_config(str(folder / "configs" / "inference.json"))
        assert (parser.get_parsed_content("threshold"), parser.get_parsed_content("tta")) == (threshold, True)
        # and an evaluation scores such masks
        parser = ConfigParser()
        parser.read_config([str(folder / "configs" / file) for file in ("train.json", "evaluate.json")])
        assert (parser.get_parsed_content("threshold"), parser.get_parsed_content("tta")) == (threshold, True)
        text = (folder / "docs" / "README.md").read_text(encoding="utf-8")
        assert f"inference differs from what was scored; it has `threshold` {threshold}, not 0.5." in text


@pytest.mark.usefixtures("unscripted")
def test_the_weights_that_ship_still_know_their_patients(tmp_path):
    bundle = ROOT / "bundles" / "seg_kd"
    _write_files(tmp_path / "a", bundle, bundle / "models" / "model.pt", None, {}, None)
    exported, own = (find_own_or_shipped(folder / "models" / "model.pt") for folder in (tmp_path / "a", bundle))
    assert exported is not None and exported.shipped and exported.content() == own.content()
    assert find_record(tmp_path / "a/models/model.pt") is None


@pytest.mark.usefixtures("unscripted")
def test_whom_weights_of_a_users_own_know_is_not_exported(tmp_path):
    checkpoint = write_checkpoint(tmp_path / "model.pt", "seg_kd")
    record_sections({name: [] for name in ("train", "validation", "test")}, str(tmp_path), str(tmp_path))
    assert find_record(checkpoint) is not None
    _write_files(tmp_path / "out", ROOT / "bundles" / "seg_kd", checkpoint, None, {}, None)
    assert find_own_or_shipped(tmp_path / "out/models/model.pt") is None


@pytest.mark.usefixtures("unscripted")
@pytest.mark.parametrize(
    ("case", "shown"), [("TCGA_DU_6399", ("nonzero", None, None)), ("BraTS-GLI-00001-000", ("auto", 240.0, None))]
)
def test_scans_are_shown_to_exported_weights_as_in_their_training(tmp_path, case, shown):
    """The names of its cases, by which the inference in the source tree knows, are not exported."""
    checkpoint = write_checkpoint(tmp_path / "model.pt", "brats_seg_kd")
    item = {"id": case, "case": case, "patient": case, "patient_group": case, "labelled": True}
    record_sections({"train": [item], "validation": [], "test": []}, str(tmp_path), str(tmp_path))
    _write_files(tmp_path / "out", ROOT / "bundles" / "brats_seg_kd", checkpoint, None, {}, None)
    parser = ConfigParser(json.loads((tmp_path / "out/configs/inference.json").read_text(encoding="utf-8")))
    parser["bundle_root"] = str(tmp_path / "out")
    assert tuple(parser.get_parsed_content(name) for name in ("brain", "field_of_view", "spacing")) == shown
    # also where the weights are taken out of the exported bundle
    assert made_like_brats(str(tmp_path / "out/models/model.pt")) is (shown[0] == "auto")
    own = tmp_path / "own"
    _write_files(own, ROOT / "bundles" / "brats_seg_kd", checkpoint, None, {"field_of_view": 200.0}, None)
    assert json.loads((own / "configs/inference.json").read_text(encoding="utf-8"))["field_of_view"] == 200.0


@pytest.mark.usefixtures("unscripted")
def test_a_users_own_weights_take_what_an_evaluation_takes(tmp_path):
    checkpoint = write_checkpoint(tmp_path / "model.pt", "seg_kd")
    _write_files(tmp_path / "out", ROOT / "bundles" / "seg_kd", checkpoint, None, {}, None)
    noted = json.loads((tmp_path / "out/models/model.json").read_text(encoding="utf-8"))["settings"]
    assert (noted["threshold"], noted["tta"]) == (0.5, False)


def test_a_shipped_record_is_of_no_machine():
    settings = {
        "dataset_dir": "/data/figshare",
        "teacher_bundle": "/home/me/zoo",
        "student_pretrained": None,
        "device": "cpu",
        "of_my_own": "a/b",
        "class_names": ["low/high", "none"],
        "student_options": {"widths": [1, 2]},
        "epochs": 3,
    }
    kept = portable_settings(settings, json.loads((ROOT / "bundles/seg_kd/train.json").read_text()))
    assert sorted(kept) == ["class_names", "epochs", "student_options"]


@pytest.mark.slow
def test_a_student_of_one_sequence_keeps_its_channels(tmp_path):
    """A training's `modalities` are those of the teachers, an inference's those of the student."""
    checkpoint = write_checkpoint(tmp_path / "model.pt", "brats_unimodal_kd")
    noted = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    noted["settings"] |= {"modalities": ["t1n", "t1c", "t2w", "t2f"], "in_channels": 4}
    (tmp_path / "model.json").write_text(json.dumps(noted), encoding="utf-8")
    made = export_bundle(ROOT / "bundles" / "brats_unimodal_kd", checkpoint, tmp_path / "brain_unimodal")
    begun = started(made.folder, "inference.json", output_dir=str(tmp_path / "out"))
    assert begun.parser.get_parsed_content("modalities") == ["t1c"]
    assert begun.parser.get_parsed_content("in_channels") == 1
