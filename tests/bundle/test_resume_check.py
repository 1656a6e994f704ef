from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigWorkflow

from ckdmed.bundle.component_overrides import component_overrides
from ckdmed.bundle.errors import RefusedStart, root_cause
from ckdmed.bundle.resume_check import MAY_CHANGE, check_resumed
from ckdmed.bundle.settings_table import SETTINGS
from ckdmed.bundle.typed_settings import taken_from
from ckdmed.bundle.workflow import bundle_workflow
from tests.bundle.bundle_runs import BUNDLES

pytestmark = pytest.mark.usefixtures("process_as_it_was")

START = {
    "initialize": [
        "$ckdmed.bundle.check_settings()",
        "$ckdmed.bundle.claim_run(@output_dir, resume=@resume)",
        "$ckdmed.bundle.start_run(@output_dir, resume=@resume)",
    ],
    "finalize": [],
}


INFERENCE = {"initialize": ["$ckdmed.bundle.start_run(@output_dir, resume=True)"], "finalize": []}


def start(out: Path, bundle: str = "seg_kd", **settings: Any) -> ConfigWorkflow:
    """The bundle's start, and nothing of its training."""
    made = bundle_workflow(BUNDLES / bundle, {"output_dir": str(out), "device": "cpu", **settings, **START})
    made.initialize()
    return made


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A run that has begun."""
    start(tmp_path / "out", seed=1)
    (tmp_path / "out" / "metrics.jsonl").write_text("{}\n")
    return tmp_path / "out"


def refused(out: Path, **settings: Any) -> str:
    before = (out / "settings.json").read_bytes()
    with pytest.raises(Exception) as raised:
        start(out, resume=True, **settings)
    cause = root_cause(raised.value)
    assert isinstance(cause, RefusedStart)
    assert (out / "settings.json").read_bytes() == before
    return str(cause)


@pytest.mark.parametrize(
    ("name", "now", "then"),
    [
        ("split_seed", 3, 0),
        ("seed", 0, 1),
        ("learning_rate", 0.5, 0.004),
        ("epochs", 7, 20),
        ("method", "supervised", "ckd"),
    ],
)
def test_other_settings_are_refused_with_both_values(begun: Path, name: str, now: Any, then: Any):
    message = refused(begun, **{"seed": 1, name: now})
    assert f"--{name} was {then!r} and is {now!r}" in message and str(begun) in message


def test_a_long_value_leaves_the_others_to_be_seen(tmp_path: Path):
    """Such as the channels of a pruned network's layers."""
    start(tmp_path, student_options={"name": ["x" * 100] * 50}, teacher_options={"short": 1})
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    message = refused(tmp_path, seed=1)
    assert "--seed was 0 and is 1" in message and "--teacher_options was {'short': 1} and is None" in message
    assert "--student_options was {'name': ['xxx" in message and "... (5210 characters) and is None" in message
    assert len(message) < 1500


def test_every_other_setting_is_named(begun: Path):
    message = refused(begun, split_seed=3, image_size=64)
    assert "--split_seed was 0 and is 3" in message and "--image_size was 96 and is 64" in message
    assert "--seed was 1 and is 0" in message


def test_an_inference_leaves_a_trainings_record_alone(begun: Path):
    before = (begun / "settings.json").read_bytes()
    made = bundle_workflow(
        BUNDLES / "seg_kd", {"output_dir": str(begun), "device": "cpu", **INFERENCE}, ["inference.json"]
    )
    with pytest.raises(Exception) as raised:
        made.initialize()
    assert "holds a training, whose record this run would replace" in str(root_cause(raised.value))
    assert (begun / "settings.json").read_bytes() == before


def test_regions_in_another_order_are_others(tmp_path: Path):
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    record = {"settings": {"epochs": 3, "regions": {"core": [3], "whole": [1, 2, 3]}}}
    (tmp_path / "settings.json").write_text(json.dumps(record))
    check_resumed(tmp_path, {"epochs": 3, "regions": {"core": [3], "whole": [1, 2, 3]}})
    with pytest.raises(RefusedStart, match="--regions was"):
        check_resumed(tmp_path, {"epochs": 3, "regions": {"whole": [1, 2, 3], "core": [3]}})


def test_regions_of_a_run_from_before_they_could_be_chosen(tmp_path: Path):
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    old = {"epochs": 3, "image_size": 16, "spatial_dims": 2}
    (tmp_path / "settings.json").write_text(json.dumps({"settings": old}))
    check_resumed(tmp_path, {**old, "regions": ["TC", "WT", "ET"]})
    with pytest.raises(RefusedStart, match=r"--regions was \['TC', 'WT', 'ET'\] and is \['WT', 'TC', 'ET'\]"):
        check_resumed(tmp_path, {**old, "regions": ["WT", "TC", "ET"]})


def test_an_option_of_a_method_that_is_given_once_is_another_setting(tmp_path: Path):
    start(tmp_path / "out", seed=1, w_feat=0.2)
    (tmp_path / "out/metrics.jsonl").write_text("{}\n")
    message = refused(tmp_path / "out", seed=1)
    assert "--w_feat was 0.2 and is 0.1" in message
    assert "--temperature was 2.0 and is 8" in refused(tmp_path / "out", seed=1, w_feat=0.2, temperature=8)
    start(tmp_path / "out", seed=1, w_feat=0.2, resume=True)


def test_a_run_goes_on_where_its_checkpoints_are(tmp_path: Path):
    elsewhere = tmp_path / "weights"
    start(tmp_path / "out", seed=1, ckpt_dir=str(elsewhere))
    (tmp_path / "out/metrics.jsonl").write_text("{}\n")
    # before its first one nothing is lost
    start(tmp_path / "out", seed=1, resume=True)
    elsewhere.mkdir(exist_ok=True)
    (elsewhere / "resume_epoch=0001.pt").write_bytes(b"")
    assert f"--ckpt_dir was '{elsewhere}' and is" in refused(tmp_path / "out", seed=1)
    moved = tmp_path / "moved"
    elsewhere.rename(moved)
    start(tmp_path / "out", seed=1, resume=True, ckpt_dir=str(moved))


def test_a_run_does_not_go_on_from_the_weights_of_another(tmp_path: Path):
    for seed in (1, 2):
        out = tmp_path / str(seed)
        start(out, seed=seed)
        (out / "models").mkdir()
        (out / "models/model.json").write_bytes((out / "settings.json").read_bytes())
        (out / "models/resume_epoch=0001.pt").write_bytes(b"")
    others = str(tmp_path / "2/models")
    assert f"and is '{others}', where another run has its weights" in refused(tmp_path / "1", seed=1, ckpt_dir=others)
    # nor does one that has no checkpoint yet write over them
    (tmp_path / "1/models/resume_epoch=0001.pt").rename(tmp_path / "1/models/teacher.pt")
    assert "where another run has its weights" in refused(tmp_path / "1", seed=1, ckpt_dir=others)
    (tmp_path / "else").mkdir()
    (tmp_path / "else/model.pt").write_bytes(b"")
    assert "where another run" in refused(tmp_path / "1", seed=1, ckpt_dir=str(tmp_path / "else"))
    moved = tmp_path / "moved"
    (tmp_path / "1/models").rename(moved)
    start(tmp_path / "1", seed=1, resume=True, ckpt_dir=str(moved))


def test_a_run_goes_on_with_the_teachers_that_it_has_trained(tmp_path: Path):
    run, copied = tmp_path / "run", tmp_path / "copied"
    run.mkdir()
    (run / "metrics.jsonl").write_text("{}\n")
    teacher = tmp_path / "teachers/t1c/teacher.pt"
    settings = {"epochs": 3, "teachers_dir": str(tmp_path / "teachers")}
    (run / "settings.json").write_text(json.dumps({"settings": settings}))
    elsewhere = {"epochs": 3, "teachers_dir": str(tmp_path / "others")}
    check_resumed(run, elsewhere)
    teacher.parent.mkdir(parents=True)
    teacher.write_bytes(b"")
    with pytest.raises(RefusedStart, match="--teachers_dir was '.*teachers' and is '.*others'"):
        check_resumed(run, elsewhere)
    shutil.copytree(run, copied)
    check_resumed(copied, {"epochs": 3, "teachers_dir": str(copied / "teachers")})
    (tmp_path / "teachers").rename(tmp_path / "others")
    check_resumed(run, elsewhere)


@pytest.mark.parametrize("name", ["teacher_checkpoint", "teacher_checkpoints"])
def test_a_run_goes_on_with_the_teacher_that_it_was_given(tmp_path: Path, name: str):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/metrics.jsonl").write_text("{}\n")
    then = {"epochs": 3, name: str(tmp_path / "teacher.pt")}
    (tmp_path / "out/settings.json").write_text(json.dumps({"settings": then}))
    with pytest.raises(RefusedStart, match=f"--{name} was '.*teacher.pt' and is None"):
        check_resumed(tmp_path / "out", {"epochs": 3, name: None})
    moved = {"epochs": 3, name: str(tmp_path / "moved.pt")}
    check_resumed(tmp_path / "out", moved)
    for file, weights in (("teacher.pt", b"1"), ("moved.pt", b"2")):
        (tmp_path / file).write_bytes(weights)
    with pytest.raises(RefusedStart, match=f"--{name} was '.*teacher.pt' and is '.*moved.pt'"):
        check_resumed(tmp_path / "out", moved)
    (tmp_path / "moved.pt").write_bytes(b"1")
    check_resumed(tmp_path / "out", moved)


@pytest.mark.parametrize("name", ["teacher_checkpoint", "teacher_checkpoints"])
def test_a_run_that_trains_its_teacher_goes_on_to(tmp_path: Path, name: str):
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    (tmp_path / "settings.json").write_text(json.dumps({"settings": {"epochs": 3, name: None}}))
    with pytest.raises(RefusedStart, match=f"--{name} was None and is") as refused:
        check_resumed(tmp_path, {"epochs": 3, name: {"t1c": "teacher.pt"}})
    # not among what may change, as it does elsewhere
    allowed = str(refused.value).partition("Settings that may change: ")[2].rstrip(".").split(", ")
    assert name not in allowed and "teachers_dir" in allowed


def test_each_of_several_teachers_is_the_same(tmp_path: Path):
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    then, now = ({view: str(tmp_path / f"{kind}-{view}.pt") for view in ("t1c", "t2f")} for kind in ("then", "now"))
    for file in (*then.values(), *now.values()):
        Path(file).write_bytes(Path(file).name[-6:].encode())
    name = "teacher_checkpoints"
    (tmp_path / "settings.json").write_text(json.dumps({"settings": {"epochs": 3, name: then}}))
    check_resumed(tmp_path, {"epochs": 3, name: now})
    Path(now["t2f"]).write_bytes(b"")
    for other in (now, {"t1c": now["t1c"]}):
        with pytest.raises(RefusedStart, match=f"--{name} was "):
            check_resumed(tmp_path, {"epochs": 3, name: other})


def test_a_dataset_dir_that_decides_defaults_is_named_before_them(begun: Path, tmp_path: Path):
    message = refused(begun, seed=1, dataset_dir=str(tmp_path))
    assert f"began with other settings: --dataset_dir was None and is '{tmp_path}'; --" in message
    message = refused(begun, seed=1, dataset_dir="/mistyped")
    assert "other settings: --dataset_dir was None and is '/mistyped', which does not exist; --" in message


def test_data_that_moved_are_not_blamed(tmp_path: Path):
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
    record = {"settings": {"epochs": 3, "dataset_dir": str(tmp_path / "before")}}
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    (tmp_path / "settings.json").write_text(json.dumps(record))
    with pytest.raises(RefusedStart, match="other settings: --epochs was 3 and is 4"):
        check_resumed(tmp_path, {"epochs": 4, "dataset_dir": str(tmp_path / "after")})
    check_resumed(tmp_path, {"epochs": 3, "dataset_dir": str(tmp_path / "after")})


def test_what_takes_effect_may_change_and_the_first_settings_stay(begun: Path):
    first = json.loads((begun / "settings.json").read_text(encoding="utf-8"))
    start(begun, seed=1, resume=True, cache="disk", val_interval=2)
    start(begun, seed=1, resume=True)
    record = json.loads((begun / "settings.json").read_text(encoding="utf-8"))
    resumed = record.pop("resumed")
    assert record == first
    assert [entry["settings"] for entry in resumed] == [
        {"cache": "disk", "val_interval": 2, "resume": True},
        {"resume": True},
    ]


def test_nothing_is_compared_where_nothing_began(tmp_path: Path):
    start(tmp_path, seed=1)
    start(tmp_path, seed=2, resume=True)
    record = json.loads((tmp_path / "settings.json").read_text(encoding="utf-8"))
    assert record["settings"]["seed"] == 2 and "resumed" not in record


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"settings": 3}'])
def test_a_damaged_record_is_named(begun: Path, content: str):
    (begun / "settings.json").write_text(content)
    with pytest.raises(RefusedStart, match=r"settings\.json' is damaged"):
        check_resumed(begun, {"epochs": 3})


def test_what_may_change_is_a_setting():
    assert MAY_CHANGE <= set(SETTINGS)


def test_an_entry_inside_a_component_is_recorded_and_compared(tmp_path: Path):
    out = tmp_path / "out"
    start(out, **{"optimizer#weight_decay": 0.5, "train#dataloader#num_workers": 1})
    (out / "metrics.jsonl").write_text("{}\n")
    given = {"optimizer#weight_decay": 0.5, "train#dataloader#num_workers": 1}
    assert json.loads((out / "settings.json").read_text())["components"] == given
    assert "--optimizer#weight_decay was 0.5 and is '@weight_decay'" in refused(out)
    assert "--optimizer#weight_decay was 0.5 and is 0.4" in refused(out, **{"optimizer#weight_decay": 0.4})
    added = {"optimizer#weight_decay": 0.5, "train#trainer#max_epochs": 3}
    assert "--train#trainer#max_epochs was not given and is 3" in refused(out, **added)
    # how many processes read changes no result
    start(out, resume=True, **{"optimizer#weight_decay": 0.5})
    # MONAI's own class does not say what it was given, but holds it
    entries = {"output_dir": str(out), "device": "cpu", "optimizer#weight_decay": 0.5, "resume": True, **START}
    ConfigWorkflow(str(BUNDLES / "seg_kd/train.json"), meta_file=None, logging_file=False, **entries).initialize()


def test_a_whole_component_is_recorded_and_compared(tmp_path: Path):
    out = tmp_path / "out"
    inferer = {"_target_": "SimpleInferer"}
    start(out, inferer=inferer)
    (out / "metrics.jsonl").write_text("{}\n")
    assert json.loads((out / "settings.json").read_text())["components"] == {"inferer": inferer}
    assert "--inferer was {'_target_': 'SimpleInferer'} and is {'_target_': 'ckdmed.inferers" in refused(out)
    start(out, resume=True, inferer=inferer)


def test_what_a_file_over_the_bundles_own_replaces_is_recorded_and_compared(tmp_path: Path):
    out, own = tmp_path / "out", tmp_path / "own.json"
    schedule = {"_target_": "torch.optim.lr_scheduler.StepLR", "optimizer": "@optimizer", "step_size": 5}
    noise = {"_target_": "RandGaussianNoised", "keys": "image"}
    chain = "$monai.transforms.Compose([@preprocessing, @train#augmentation, @noise]).flatten()"
    content = {"lr_scheduler": schedule, "noise": noise, "train#preprocessing": chain, "epochs": 3}
    own.write_text(json.dumps(content), encoding="utf-8")
    bundle = BUNDLES / "seg_kd"
    names = ("train.json", "multi_gpu_train.json", str(own))

    def go_on(*files: str, **settings: Any) -> None:
        with taken_from(["--config_file", repr([str(bundle / name) for name in files])]):
            made = bundle_workflow(bundle, {"output_dir": str(out), "device": "cpu", **settings, **START}, files)
            made.initialize()

    go_on("train.json", str(own))
    (out / "metrics.jsonl").write_text("{}\n")
    record = json.loads((out / "settings.json").read_text())
    assert set(record["components"]) == {"lr_scheduler", "noise", "train#preprocessing"}
    assert record["components"]["noise"] == noise and record["settings"]["epochs"] == 3
    go_on("train.json", str(own), resume=True)
    # the bundle's own further files are none of a user's
    assert component_overrides_of(*names[:2]) == {}
    with pytest.raises(Exception) as raised:
        go_on("train.json", resume=True, epochs=3)
    assert "--lr_scheduler was {'_target_': 'torch.optim.lr_scheduler.StepLR'" in str(root_cause(raised.value))


def component_overrides_of(*files: str) -> dict[str, Any]:
    bundle = BUNDLES / "seg_kd"
    with taken_from(["--config_file", repr([str(bundle / name) for name in files])]):
        return component_overrides(bundle_workflow(bundle, {}, files), ())


def test_a_run_from_before_components_were_recorded_goes_on(tmp_path: Path):
    out = tmp_path / "out"
    start(out, **{"optimizer#weight_decay": 0.5})
    (out / "metrics.jsonl").write_text("{}\n")
    record = json.loads((out / "settings.json").read_text())
    del record["components"]
    (out / "settings.json").write_text(json.dumps(record))
    start(out, resume=True, **{"optimizer#weight_decay": 0.5})


@pytest.mark.parametrize("part", ["components", "method_options"])
def test_a_part_that_is_no_object_is_a_damaged_record(begun: Path, part: str):
    record = json.loads((begun / "settings.json").read_text(encoding="utf-8"))
    (begun / "settings.json").write_text(json.dumps({**record, part: 3}), encoding="utf-8")
    assert f"is damaged ({part} are not an object)" in refused(begun, seed=1)


def test_the_options_of_the_method_in_effect_are_recorded_and_compared(tmp_path: Path):
    out = tmp_path / "out"
    start(out, method="kd", temperature=3.0)
    (out / "metrics.jsonl").write_text("{}\n")
    path = out / "settings.json"
    record = json.loads(path.read_text())
    options = record["method_options"]
    assert options["temperature"] == 3.0 and {"w_sup", "w_logit", "w_dice"} <= {*options}
    # a usual value is the same whether it is given or not
    start(out, resume=True, method="kd", temperature=3.0, w_dice=options["w_dice"])
    assert "--w_dice was 0.5 and is 0.25" in refused(out, method="kd", temperature=3.0, w_dice=0.25)
    assert "--temperature was 3.0 and is 2.0" in refused(out, method="kd")
    # as an earlier version's, which had another default and had one option less, left it
    record["method_options"] = {**options, "w_logit": 7.0}
    del record["method_options"]["w_dice"]
    path.write_text(json.dumps(record))
    message = refused(out, method="kd", temperature=3.0)
    assert "--w_logit was 7.0 and is 0.5" in message and "--w_dice was not given and is 0.5" in message
    # another method has other options
    assert "w_dice" not in refused(out, method="at", temperature=3.0)
    # as a version left it that did not record them
    del record["method_options"]
    path.write_text(json.dumps(record))
    start(out, resume=True, method="kd", temperature=3.0)


def test_a_bundle_without_distillation_has_no_recorded_options(tmp_path: Path):
    start(tmp_path, bundle="seg_teacher")
    assert "method_options" not in json.loads((tmp_path / "settings.json").read_text())
