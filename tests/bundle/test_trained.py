"""A network is used with the settings that it was trained with, as its run recorded them beside the weights."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from ckdmed.bundle.errors import RefusedStart, root_cause
from ckdmed.bundle.peer import with_peer
from ckdmed.bundle.run import settings_of
from ckdmed.bundle.setting_check import WrongSettingError
from ckdmed.bundle.trained import OF_PREDICTIONS, check_trained, reads_record, recorded_settings, trained_with
from ckdmed.bundle_files import bundle_folder
from tests.bundle import seg_kd_runs
from tests.bundle.bundle_runs import BUNDLES, completed, opened

SHIPPED = BUNDLES / "seg_kd/models/model.pt"


def write_record(path: Path, **settings: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"settings": {"epochs": 1, **settings}}), encoding="utf-8")
    return path


def test_where_the_record_lies(tmp_path: Path) -> None:
    weights = tmp_path / "run" / "models" / "model.pt"
    assert recorded_settings(weights) is None
    write_record(tmp_path / "run" / "settings.json", image_size=64)
    # a record from before these settings were there: they were what they are by default
    slices = {"scaling": "percentiles", "clahe": False}
    assert recorded_settings(weights) == {"epochs": 1, "image_size": 64, **slices}
    # beside the weights goes before; names of before are those of today
    write_record(weights.with_suffix(".json"), vit_checkpoint=None, teacher="cohra")
    assert recorded_settings(weights) == {"epochs": 1, "vit_pretrained": None, "teacher_kind": "cohra"}
    # a shipped checkpoint names the runs that made it
    runs = {"runs": [{"settings": {"epochs": 1, "seed": n}} for n in (0, 1)]}
    weights.with_suffix(".json").write_text(json.dumps(runs), encoding="utf-8")
    assert recorded_settings(weights) == {"epochs": 1, "seed": 1}


@pytest.mark.parametrize("bundle", ["brats_seg_kd", "brats_seg_teacher", "brats_unimodal_kd"])
@pytest.mark.parametrize("files", [["inference.json"], ["train.json", "evaluate.json"]])
def test_cases_of_before_were_learned_in_the_usual_regions(bundle: str, files: list[str], tmp_path: Path) -> None:
    write_record(tmp_path / "model.json", image_size=64, spatial_dims=2)
    declared = [json.loads((BUNDLES / bundle / name).read_text(encoding="utf-8")) for name in files]
    parser = ConfigParser()
    parser.read_config([str(BUNDLES / bundle / name) for name in files])
    parser["checkpoint"] = str(tmp_path / "model.pt")
    assert parser.get_parsed_content("regions") == ["TC", "WT", "ET"]
    regions = {"regions": [content["regions"] for content in declared]}
    parser["regions"] = ["TC", "WT", "ET"]
    check_trained(parser, regions)
    parser["regions"] = ["WT", "TC", "ET"]
    with pytest.raises(WrongSettingError, match=r"was trained with \['TC', 'WT', 'ET'\]"):
        check_trained(parser, regions)


@pytest.mark.parametrize("files", [["inference.json"], ["train.json", "evaluate.json"]])
def test_modalities_are_those_of_the_student(files: list[str], tmp_path: Path) -> None:
    bundle = BUNDLES / "brats_unimodal_kd"
    seen = {"modalities": ["t1n", "t1c", "t2f"], "student_modalities": ["t1c"]}
    write_record(tmp_path / "model.json", image_size=64, spatial_dims=2, **seen)
    declared = [json.loads((bundle / name).read_text(encoding="utf-8")) for name in files]
    of_files = {name: [content[name] for content in declared if name in content] for name in seen}
    parser = ConfigParser()
    parser.read_config([str(bundle / name) for name in files])
    parser["checkpoint"] = str(tmp_path / "model.pt")
    check_trained(parser, of_files)
    parser["modalities"] = ["t1c"]
    check_trained(parser, of_files)
    # as the training had them: the network would be fed three channels
    parser["modalities"] = seen["modalities"]
    with pytest.raises(WrongSettingError, match=r"modalities is .* but student_modalities is \['t1c'\]"):
        check_trained(parser, of_files)


def test_the_settings_of_an_inference_are_none_of_a_training(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({"settings": {"image_size": 8}}), encoding="utf-8")
    assert recorded_settings(tmp_path / "model.pt") is None


@pytest.mark.usefixtures("process_as_it_was")
@pytest.mark.parametrize("files", [["inference.json"], ["train.json", "evaluate.json"]])
def test_masks_are_cut_as_was_chosen_for_the_weights_at_hand(tmp_path: Path, files: list[str]) -> None:
    weights = tmp_path / "model.pt"
    torch.save({}, weights)
    write_record(tmp_path / "model.json", image_size=64, student_kind="unet", student_base=8)
    common = {"device": "$torch.device('cpu')", "output_dir": str(tmp_path / "out"), "dataset_dir": str(tmp_path)}
    only: Any = {"initialize": ["$ckdmed.bundle.check_settings()"], "checkpoint": str(SHIPPED)}

    def cut(**given: Any) -> tuple[float, bool]:
        parser = opened("seg_kd", *files, **{**only, **common, **given}).parser
        # the record of an evaluation states them
        recorded = settings_of(parser)
        return recorded["threshold"], recorded["tta"]

    assert cut() == (0.3, True)
    assert cut(checkpoint=str(weights)) == (0.5, False)
    # neither is a property of the weights
    assert cut(threshold=0.4, tta=False) == (0.4, False)
    assert cut(checkpoint=str(weights), threshold=0.4, tta=True) == (0.4, True)
    write_record(tmp_path / "model.json", image_size=64, student_kind="unet", student_base=8, threshold=0.2, tta=True)
    assert cut(checkpoint=str(weights)) == (0.2, True)


def test_what_is_asked_of_a_record(tmp_path: Path) -> None:
    with pytest.raises(RefusedStart, match="there is no checkpoint .*; |there is no checkpoint"):
        trained_with(str(tmp_path / "none.pt"))["image_size"]
    torch.save({}, tmp_path / "model.pt")
    with pytest.raises(RefusedStart, match="no record of what it was trained with: give --image_size, or put"):
        trained_with(str(tmp_path / "model.pt"))["image_size"]
    assert trained_with(None).get("image_size", 3) == 3


def test_a_students_record_says_of_it_as_a_teacher_all_but_its_own_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {"image_size": 64, "scaling": "unit", "clahe": True, "grey_as_rgb": True}
    of_teacher = {"teacher_base": 8, "vit_hidden": 16, "vgg": "vgg16", "fuse": "logits", "resolutions": [32]}
    settings = {"student_kind": "efficientnet_lite", "teacher_kind": "unet_vit", **of_teacher, **images}
    weights = tmp_path / "run" / "models" / "model.pt"
    write_record(weights.with_suffix(".json"), **settings)
    write_record(tmp_path / "run" / "settings.json", **settings)
    kept = {"epochs": 1, "student_kind": "efficientnet_lite", **images}
    # a classifier's, which is a kind of teacher as well, with this backbone
    assert trained_with(str(weights), teacher=True).settings == {**kept, "teacher_kind": "efficientnet_lite"}
    assert trained_with(str(weights)).settings == {"epochs": 1, **settings}
    assert trained_with(str(tmp_path / "run" / "teacher" / "teacher.pt"), teacher=True)["teacher_kind"] == "unet_vit"
    # a path from within the teacher's folder
    (tmp_path / "run" / "teacher").mkdir()
    monkeypatch.chdir(tmp_path / "run" / "teacher")
    assert trained_with("fold1.pt", teacher=True)["teacher_kind"] == "unet_vit"
    larger = {"student_kind": "efficientnet_lite", "student_backbone": "efficientnet-lite1"}
    for other in (larger, {"student_kind": "plain_cnn"}):
        path = write_record(tmp_path / other["student_kind"] / "model.json", **other).with_suffix(".pt")
        assert trained_with(str(path), teacher=True).get("teacher_kind") is None
    # of several teachers what they agree on
    other = write_record(tmp_path / "b" / "model.json", teacher_kind="unet_vit", teacher_base=4).with_suffix(".pt")
    last = write_record(tmp_path / "c" / "model.json", teacher_kind="unet_vit", teacher_base=8).with_suffix(".pt")
    assert trained_with(str(other), str(last), teacher=True).settings == {"epochs": 1, "teacher_kind": "unet_vit"}


@pytest.mark.parametrize(
    "own",
    [
        {"student_kind": "attention_unet", "student_base": 4, "student_options": {"dropout": 0.1}},
        {"student_kind": "flexible_unet", "student_base": 8, "student_backbone": "resnet10", "student_options": None},
        {"student_kind": "unet", "student_base": 4, "student_backbone": "efficientnet-lite0"},
    ],
)
def test_a_student_is_a_teacher_of_its_own_network(own: dict[str, Any], tmp_path: Path) -> None:
    weights = tmp_path / "run" / "models" / "model.pt"
    write_record(weights.with_suffix(".json"), **own, teacher_kind="unet_vit", teacher_base=8)
    weights.write_bytes(b"weights")
    parser = ConfigParser()
    parser.read_config(str(bundle_folder("seg_kd") / "train.json"))
    parser.update({**own, "teacher_checkpoint": str(weights)})
    shapes = [
        {name: value.shape for name, value in parser.get_parsed_content(network).state_dict().items()}
        for network in ("network_def", "teacher_def")
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name, values", [("scaling", ("zscore", "unit")), ("clahe", (False, True))])
def test_teachers_of_different_intensities_are_refused_with_files_and_values(
    tmp_path: Path, name: str, values: tuple[Any, Any]
) -> None:
    files = [
        str(write_record(tmp_path / folder / "model.json", spatial_dims=2, **{name: value}).with_suffix(".pt"))
        for folder, value in zip("ab", values)
    ]
    with pytest.raises(ValueError) as raised:
        trained_with(*files, teacher=True)
    assert all(f"'{file}' with {value!r}" in str(raised.value) for file, value in zip(files, values))
    # without a record nothing is contradicted
    assert trained_with(files[0], str(tmp_path / "none.pt"), teacher=True)[name] == values[0]


@pytest.mark.parametrize(
    ("bundle", "given", "needless"),
    [
        ("seg_kd", {"student_kind": "efficientnet_lite"}, {"student_base"}),
        ("seg_kd", {"student_kind": "flexible_unet"}, {"student_base"}),
        ("seg_kd", {"student_kind": "unet"}, set()),
        # as long as nothing tells the kind it may be any
        ("seg_kd", {}, set()),
        ("seg_teacher", {"teacher_kind": "unet_vit"}, set()),
        ("seg_teacher", {"teacher_kind": "cohra"}, {"vit_img_size", "vit_hidden", "vit_layers", "vit_heads"}),
        ("brats_seg_kd", {"spatial_dims": 2, "student_kind": "unet"}, {"roi_size"}),
        ("brats_unimodal_kd", {"spatial_dims": 3, "student_kind": "unet"}, {"image_size"}),
        ("cls_teacher", {"teacher_kind": "vgg_vgg"}, {"vit_patch", "vit_hidden", "vit_layers", "vit_heads"}),
        ("cls_teacher", {"teacher_kind": "vit_vit"}, {"vgg", "vgg_width"}),
        (
            "cls_teacher",
            {"teacher_kind": "efficientnet_lite"},
            {"vgg", "vgg_width", "vit_patch", "vit_hidden", "vit_layers", "vit_heads", "fuse"},
        ),
        # no teacher lies beside this student, so that there is none to show
        (
            "cls_kd",
            {"student_kind": "plain_cnn"},
            {"teacher_kind", "vgg", "vgg_width", "vit_patch", "vit_hidden", "vit_layers", "vit_heads", "fuse"},
        ),
    ],
)
def test_without_a_record_what_the_chosen_kind_reads_is_asked(
    bundle: str, given: dict[str, Any], needless: set[str], tmp_path: Path
) -> None:
    weights = tmp_path / "model.pt"
    weights.touch()
    parser = ConfigParser()
    parser.read_config([str(BUNDLES / bundle / name) for name in ("train.json", "evaluate.json")])
    evaluation = json.loads((BUNDLES / bundle / "evaluate.json").read_text(encoding="utf-8"))
    declared = {name: [value] for name, value in evaluation.items()}
    told = {name for name in declared if reads_record(evaluation[name]) and ", None)" not in evaluation[name]}
    for name, value in {"checkpoint": str(weights), **given}.items():
        parser[name] = value
    with pytest.raises(RefusedStart, match="has no record of what it was trained with") as raised:
        check_trained(parser, declared)
    assert set(re.findall(r"--(\w+)", str(raised.value))) == told - set(OF_PREDICTIONS) - set(given) - needless


@pytest.mark.bundle
@pytest.mark.usefixtures("process_as_it_was")
def test_the_checkpoint_alone_is_enough(tmp_path: Path) -> None:
    run = tmp_path / "run"
    seg_kd_runs.run(run, **{"sections#phantom_dir": str(run / "phantoms")})
    # without the rest of the run
    for name in ("model.pt", "model.json", "sections.json"):
        (tmp_path / "kept").mkdir(exist_ok=True)
        shutil.copy(run / "models" / name, tmp_path / "kept" / name)
    weights = str(tmp_path / "kept" / "model.pt")
    common = {"device": "$torch.device('cpu')", "checkpoint": weights}
    data = str(next((run / "phantoms").iterdir()))
    out = {"output_dir": str(tmp_path / "inferred"), "dataset_dir": data}
    made = opened("seg_kd", "inference.json", **common, **out)
    parser = made.parser
    assert parser.get_parsed_content("image_size") == 32 and parser.get_parsed_content("student_kind") == "unet"
    completed(made)
    scored = opened("seg_kd", "train.json", "evaluate.json", **common, dataset_dir=data, output_dir=str(tmp_path / "e"))
    assert scored.parser.get_parsed_content("student_base") == 2
    completed(scored)
    # the teacher that was trained along, with its own sizes
    teacher = str(run / "teacher" / "teacher.pt")
    sizes = {"image_size": 32, "student_base": 2, "epochs": 1, "output_dir": str(tmp_path / "second")}
    taught = opened("seg_kd", dataset_dir=data, teacher_checkpoint=teacher, device="$torch.device('cpu')", **sizes)
    assert (
        taught.parser.get_parsed_content("teacher_base") == 4 and taught.parser.get_parsed_content("vit_hidden") == 16
    )
    with pytest.raises(Exception) as raised:
        opened("seg_kd", "inference.json", **common, **out, image_size=64)
    cause = root_cause(raised.value)
    assert isinstance(cause, WrongSettingError)
    assert f"--image_size is 64, but '{weights}' was trained with 32." in str(cause)


@pytest.mark.usefixtures("process_as_it_was")
def test_entries_of_components_that_only_the_training_was_given_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save({}, tmp_path / "model.pt")
    components = {"preprocessing_of#clahe": True, "optimizer#lr": 0.1, "sections#phantom_size": 48}
    settings = {"epochs": 1, "image_size": 64, "student_kind": "unet", "student_base": 8}
    (tmp_path / "model.json").write_text(json.dumps({"settings": settings, "components": components}))

    def told(**given: Any) -> str:
        caplog.clear()
        parser = ConfigParser({"trained": f"$ckdmed.bundle.trained_with({str(tmp_path / 'model.pt')!r})", **given})
        parser["imports"] = ["$import ckdmed"]
        check_trained(parser, {})
        return caplog.text

    assert "--preprocessing_of#clahe true" in told()
    assert "optimizer" not in caplog.text and "sections" not in caplog.text
    assert "--preprocessing_of#clahe true" in told(preprocessing_of={"clahe": False})
    assert not told(preprocessing_of={"clahe": True})


def test_a_peer_of_other_regions_is_refused(tmp_path: Path) -> None:
    peer = tmp_path / "t1c.pt"
    torch.save({}, peer)
    write_record(peer.with_suffix(".json"), regions=["WT", "TC"])
    with pytest.raises(RefusedStart, match="peer that segments WT, TC, but the student segments TC, WT:"):
        with_peer(torch.nn.Identity(), str(peer), ["t1c"], 1, 2, ["TC", "WT"])
