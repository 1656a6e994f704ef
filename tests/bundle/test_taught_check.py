"""A teacher is refused that has learnt from other inputs, or other outputs, than its student's; weights that a student
starts from are refused if they give other outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from ckdmed.bundle.errors import root_cause
from ckdmed.bundle.setting_check import WrongSettingError
from ckdmed.bundle.taught_check import check_started_from, check_taught
from ckdmed.files import write_json
from tests.bundle.bundle_runs import BUNDLES, opened

FOUR = ["t1n", "t1c", "t2w", "t2f"]
THREE = ["meningioma", "glioma", "pituitary tumour"]
REGIONS = {"whole": [1, 2, 4], "core": [1, 4]}


def write_teacher(folder: Path, record: dict[str, Any] | None) -> str:
    if record is not None:
        write_json(folder / "teacher.json", {"settings": {"epochs": 1, **record}})
    return str(folder / "teacher.pt")


@pytest.mark.bundle
@pytest.mark.usefixtures("process_as_it_was")
@pytest.mark.parametrize(
    "bundle, name, taught, own",
    [
        ("brats_seg_kd", "modalities", FOUR[::-1], FOUR),
        ("brats_seg_kd", "regions", ["TC", "WT", "ET"], ["WT"]),
        ("brats_seg_kd", "regions", ["WT", "TC"], ["TC", "WT"]),
        ("cls_kd", "task", "brats_type", "figshare"),
        ("cls_kd", "class_names", THREE[::-1], THREE),
        ("seg_kd", "regions", REGIONS, None),
        ("seg_kd", "regions", dict(reversed(REGIONS.items())), REGIONS),
    ],
)
def test_another_teacher_is_refused(bundle: str, name: str, taught: Any, own: Any, tmp_path: Path) -> None:
    checkpoint = write_teacher(tmp_path, {name: taught})
    with pytest.raises(Exception) as raised:
        opened(bundle, teacher_checkpoint=checkpoint, output_dir=str(tmp_path / "run"), **{name: own})
    cause = root_cause(raised.value)
    assert isinstance(cause, WrongSettingError)
    assert f"--{name} is {own!r}, but '{checkpoint}' was trained with {taught!r}." in str(cause)
    assert not (tmp_path / "run").exists()


OLD_RECORD = {"spatial_dims": 2, "image_size": 16}


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(
    "record, own",
    [
        ({"regions": ["WT", "TC"]}, ["TC", "WT"]),
        # one from before there was a choice
        (OLD_RECORD, ["WT", "TC", "ET"]),
        (OLD_RECORD, ["WT"]),
    ],
)
def test_of_regions_each_teacher_is_asked(
    record: dict[str, Any], own: list[str], several: bool, tmp_path: Path
) -> None:
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / ("brats_unimodal_kd" if several else "brats_seg_kd") / "train.json"))
    checkpoint = write_teacher(tmp_path, record)
    other = write_teacher(tmp_path / "other", {"regions": own})
    given: Any = {"t1c": other, "t2f": checkpoint} if several else checkpoint
    parser.update({"teacher_checkpoints" if several else "teacher_checkpoint": given, "regions": own})
    with pytest.raises(WrongSettingError) as raised:
        check_taught(parser)
    taught = record.get("regions", ["TC", "WT", "ET"])
    assert f"--regions is {own!r}, but '{checkpoint}' was trained with {taught!r}." in str(raised.value)
    assert other not in str(raised.value)
    parser["regions"] = taught
    if not several:
        check_taught(parser)


@pytest.mark.parametrize(
    "bundle, record, given",
    [
        ("brats_seg_kd", None, {"modalities": FOUR[:2]}),
        ("brats_seg_kd", {"vit_heads": 2}, {"modalities": FOUR[:2]}),
        ("brats_seg_kd", {"modalities": FOUR[:2]}, {"modalities": FOUR[:2]}),
        ("cls_kd", {"task": "figshare", "class_names": THREE, "modalities": ["t1c"]}, {}),
        # labels of other data may hold other values for the same region
        ("seg_kd", {"regions": None}, {"regions": {"tumour": [1]}}),
        # of several teachers each may see a sequence of its own
        ("brats_unimodal_kd", {"modalities": ["t1c"]}, {}),
    ],
)
def test_teachers_that_fit_or_without_a_record_are_accepted(
    bundle: str, record: dict[str, Any] | None, given: dict[str, Any], tmp_path: Path
) -> None:
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / bundle / "train.json"))
    checkpoint = write_teacher(tmp_path, record)
    several = bundle == "brats_unimodal_kd"
    parser.update({"teacher_checkpoints": {"t1c": checkpoint}} if several else {"teacher_checkpoint": checkpoint})
    parser.update(given)
    check_taught(parser)


@pytest.mark.bundle
@pytest.mark.usefixtures("process_as_it_was")
@pytest.mark.parametrize(
    "bundle, name, learnt, own",
    [
        ("brats_seg_kd", "regions", ["WT", "TC"], ["TC", "WT"]),
        ("brats_unimodal_kd", "regions", ["ET"], ["WT"]),
        ("seg_kd", "regions", dict(reversed(REGIONS.items())), REGIONS),
        ("cls_kd", "class_names", THREE[::-1], THREE),
    ],
)
def test_weights_of_other_outputs_are_no_start(bundle: str, name: str, learnt: Any, own: Any, tmp_path: Path) -> None:
    start = tmp_path / "model.pt"
    start.write_bytes(b"weights")
    write_json(tmp_path / "model.json", {"settings": {"epochs": 1, name: learnt}})
    with pytest.raises(Exception) as raised:
        opened(bundle, student_pretrained=str(start), output_dir=str(tmp_path / "run"), **{name: own})
    cause = root_cause(raised.value)
    assert isinstance(cause, WrongSettingError)
    assert f"--{name} is {own!r}, but '{start}' was trained with {learnt!r}." in str(cause)
    assert "--student_pretrained" in str(cause) and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "record, given",
    [
        (None, {"regions": ["WT"]}),
        (OLD_RECORD, {}),
        # of other sequences, whose outputs are the same
        ({"regions": ["WT"], "modalities": ["t2f"]}, {"regions": ["WT"], "modalities": ["t1c"]}),
    ],
)
def test_weights_that_a_student_may_start_from(
    record: dict[str, Any] | None, given: dict[str, Any], tmp_path: Path
) -> None:
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / "brats_seg_kd" / "train.json"))
    start = Path(write_teacher(tmp_path, record))
    start.write_bytes(b"weights")
    parser.update({"student_pretrained": str(start), **given})
    check_started_from(parser)


@pytest.mark.parametrize("name, own", [("student_base", 16), ("student_kind", "segresnet")])
def test_a_student_has_the_network_of_its_first_weights(name: str, own: Any, tmp_path: Path) -> None:
    """Those of a pruned network fit whatever base is given, and the record would tell of that one."""
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / "seg_kd" / "train.json"))
    learnt = {"student_kind": "unet", "student_base": 8, "student_options": {"pruned_channels": {}}}
    start = tmp_path / "model.pt"
    start.write_bytes(b"weights")
    write_json(tmp_path / "model.json", {"settings": {"epochs": 1, **learnt}})
    parser.update({"student_pretrained": str(start), "student_options": {"dropout": 0.2}, name: own})
    with pytest.raises(WrongSettingError) as raised:
        check_started_from(parser)
    assert f"--{name} is {own!r}, but '{start}' was trained with {learnt[name]!r}. Leave" in str(raised.value)
    parser.update({name: learnt[name]})
    check_started_from(parser)


def test_a_deployed_file_is_no_start(tmp_path: Path) -> None:
    """It would compute in the student's place, and no weight of it could learn."""
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / "seg_kd" / "train.json"))
    start = tmp_path / "model.onnx"
    start.write_bytes(b"graph")
    parser.update({"student_pretrained": str(start)})
    with pytest.raises(WrongSettingError, match=r"model\.onnx' is a deployed file, which cannot be trained"):
        check_started_from(parser)
