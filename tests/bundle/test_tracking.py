"""MONAI's ``--tracking mlflow`` in all bundles: what is logged, where, and under which name."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS

from ckdmed.bundle import tracking
from ckdmed.bundle.command import run_bundle
from ckdmed.bundle.errors import RefusedStart, root_cause
from ckdmed.bundle.setting_check import WrongSettingError
from ckdmed.bundle.tracking import adapt_tracking, tracked_loss, tracked_run_name
from ckdmed.json_files import read_json
from tests.bundle.bundle_runs import BUNDLES, completed, opened
from tests.bundle.cls_runs import STUDENT
from tests.bundle.cls_runs import TINY as CLASSES
from tests.bundle.seg_kd_runs import TINY as SLICES
from tests.bundle.test_divergence import CASES, TEACHER

pytestmark = pytest.mark.usefixtures("process_as_it_was")

CPU = "$torch.device('cpu')"
NAMES = sorted(path.parent.name for path in BUNDLES.glob("*/metadata.json"))
WITHOUT_STUDENT = {name: value for name, value in CASES.items() if name not in ("student_base", "teacher_epochs")}
SETTINGS: dict[str, dict[str, Any]] = {
    "seg_kd": {**SLICES, "device": CPU},
    "seg_teacher": {**TEACHER, "device": CPU},
    "cls_kd": {**CLASSES, **STUDENT},
    "cls_teacher": CLASSES,
    "brats_seg_kd": {**CASES, "epochs": 1},
    "brats_seg_teacher": {**WITHOUT_STUDENT, "epochs": 1},
    "brats_unimodal_kd": {**CASES, "epochs": 1, "teachers": [["t1n", "t1c", "t2w", "t2f"], ["t2f"]]},
}


def patched(bundle: str, *files: str, **settings: Any) -> ConfigParser:
    """A bundle's configuration as MONAI leaves it for ``--tracking mlflow``."""
    parser = ConfigParser()
    parser.read_config([str(BUNDLES / bundle / name) for name in files])
    parser.update(settings)
    ConfigWorkflow.patch_bundle_tracking(parser, DEFAULT_EXP_MGMT_SETTINGS["mlflow"])
    return parser


@pytest.fixture
def with_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow is there, whether or not it is."""
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: object())
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.mark.parametrize("bundle", NAMES)
def test_the_handlers_fit_every_bundle(bundle, tmp_path, with_mlflow):
    parser = patched(bundle, "train.json", output_dir=str(tmp_path / "out"))
    adapt_tracking(parser)
    training, validation = parser.get("train::handlers")[-1], parser.get("validate::handlers")[-1]
    assert training["output_transform"] == "$ckdmed.bundle.tracking.tracked_loss"
    assert training["close_on_complete"] is True and "close_on_complete" not in validation
    assert parser.get_parsed_content("run_name") == tracked_run_name(str(tmp_path / "out"))
    # the configuration is written with the other results, when all is checked
    assert training["artifacts"].endswith("+ [ckdmed.bundle.tracking.tracked_configuration(@output_dir)]")
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_that_is_asked_for_is_the_artefact(tmp_path, with_mlflow):
    parser = patched("seg_kd", "train.json", output_dir=str(tmp_path / "out"), save_execute_config=True)
    adapt_tracking(parser)
    (written,) = (tmp_path / "out").iterdir()
    # MONAI's own expression for it is no path
    assert parser.get_parsed_content("save_execute_config") == str(written)
    assert parser.get("train::handlers")[-1]["artifacts"].endswith("+ [@save_execute_config]")


@pytest.mark.parametrize(
    ("files", "place"), [(["train.json", "evaluate.json"], "validate::handlers"), (["inference.json"], "handlers")]
)
def test_the_last_engine_closes_the_run(files, place, tmp_path, with_mlflow):
    parser = patched("seg_kd", *files, output_dir=str(tmp_path / "out"))
    adapt_tracking(parser)
    assert parser.get(place)[-1]["close_on_complete"] is True


def test_without_tracking_nothing_is_changed():
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / "seg_kd/train.json"))
    before = repr(parser.get())
    adapt_tracking(parser)
    assert repr(parser.get()) == before


def test_a_missing_package_is_named_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RefusedStart, match=r"pip install 'ckdmed\[tracking\]'"):
        adapt_tracking(patched("seg_kd", "train.json", output_dir=str(tmp_path)))


def test_a_folder_is_refused_before_anything_is_trained(tmp_path, monkeypatch, with_mlflow):
    with pytest.raises(RefusedStart, match="a folder, in which MLflow no longer keeps runs"):
        adapt_tracking(patched("seg_kd", "train.json", output_dir=str(tmp_path), tracking_uri=str(tmp_path)))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///mlruns")
    with pytest.raises(RefusedStart, match="file:///mlruns"):
        adapt_tracking(patched("seg_kd", "train.json", output_dir=str(tmp_path)))


@pytest.mark.parametrize(
    "uri, message", [(None, r"ckdmed\[tracking\]"), ("runs", "a folder, in which MLflow no longer")]
)
def test_a_refused_tracking_leaves_nothing_in_the_output_folder(uri, message, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    here = None if uri is None else object()
    monkeypatch.setattr(
        tracking.importlib.util, "find_spec", lambda name, *a: here if name == "mlflow" else found(name, *a)
    )
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    words = ["--tracking", "mlflow", "--output_dir", str(tmp_path / "out")]
    with pytest.raises(RefusedStart, match=message):
        run_bundle([BUNDLES / "seg_kd" / "train.json"], words + ([] if uri is None else ["--tracking_uri", uri]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", ["train.json", "inference.json"])
@pytest.mark.parametrize("bundle", NAMES)
def test_no_refused_run_of_monai_leaves_a_configuration(bundle, file, tmp_path, monkeypatch):
    """As MONAI's command line makes a workflow, which knows nothing of what this package checks."""
    found = importlib.util.find_spec
    monkeypatch.setattr(
        tracking.importlib.util, "find_spec", lambda name, *a: None if name == "mlflow" else found(name, *a)
    )
    with pytest.raises(RuntimeError) as refused:
        opened(bundle, file, tracking="mlflow", output_dir=str(tmp_path / "out"))
    assert isinstance(root_cause(refused.value), RefusedStart)
    assert "pip install" in str(root_cause(refused.value))
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_setting_beside_tracking_leaves_nothing_either(tmp_path, with_mlflow):
    with pytest.raises(RuntimeError) as refused:
        opened("seg_kd", tracking="mlflow", output_dir=str(tmp_path / "out"), epochs="many")
    assert isinstance(root_cause(refused.value), WrongSettingError)
    assert list(tmp_path.iterdir()) == []


def test_the_configuration_is_written_with_its_settings(tmp_path, with_mlflow):
    out = tmp_path / "out"
    workflow = ConfigWorkflow(
        str(BUNDLES / "seg_kd/train.json"), logging_file=False, tracking="mlflow", output_dir=str(out), epochs=7
    )
    adapt_tracking(workflow.parser, workflow.run_id)
    workflow.parser["initialize"] = [workflow.parser.get("train::handlers")[-1]["artifacts"]]
    ((*_, file),) = workflow.initialize()
    written = Path(file)
    assert written.parent == out and list(out.iterdir()) == [written]
    assert read_json(written)["epochs"] == 7


def test_the_loss_of_any_output():
    loss = {"loss": torch.tensor([1.0, 3.0])}
    assert tracked_loss(loss) == tracked_loss([loss, loss]) == 2.0


def test_runs_of_two_folders_have_two_names(tmp_path):
    first, second = tracked_run_name(str(tmp_path / "a/output")), tracked_run_name(str(tmp_path / "b/output"))
    assert first != second and first.startswith("output-")


def logged(database: Path) -> list[Any]:
    """The runs in a database, the latest first, with their artefacts."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{database}")
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    return [(run, {file.path for file in client.list_artifacts(run.info.run_id)}) for run in runs]


@pytest.mark.slow
@pytest.mark.bundle
@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="MLflow is not installed (extra tracking)")
@pytest.mark.parametrize("bundle", NAMES)
def test_a_training_is_logged(bundle, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    out = tmp_path / "out"
    completed(opened(bundle, tracking="mlflow", output_dir=str(out), **SETTINGS[bundle]))
    ((run, artefacts),) = logged(out / "mlruns.db")
    assert run.info.status == "FINISHED" and run.info.run_name == tracked_run_name(str(out))
    assert "train_loss" in run.data.metrics and any(name.startswith("val_") for name in run.data.metrics)
    assert run.data.params["epochs"] == "1" and run.data.params["output_dir"] == str(out)
    options = json.loads((out / "settings.json").read_text()).get("method_options", {})
    assert bool(options) is bundle.endswith("_kd")
    assert all(run.data.params[name] == str(value) for name, value in options.items())
    assert {"settings.json", "metrics.jsonl", "curves.png"} <= artefacts
    # nothing that names or shows a patient
    assert not {"sections.json", "predictions.png"} & artefacts


@pytest.mark.slow
@pytest.mark.bundle
@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="MLflow is not installed (extra tracking)")
def test_an_evaluation_and_an_inference_are_logged(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    out = tmp_path / "out"
    completed(opened("seg_kd", output_dir=str(out), **SETTINGS["seg_kd"]))
    sizes = {name: SLICES[name] for name in ("image_size", "student_base")} | {"device": CPU}
    both = {name: value for name, value in SETTINGS["seg_kd"].items() if name.startswith(("phantom", "sections"))}
    files = ("train.json", "evaluate.json")
    completed(opened("seg_kd", *files, tracking="mlflow", output_dir=str(out), **sizes, **both))
    ((run, _),) = logged(out / "mlruns.db")
    assert run.info.status == "FINISHED" and "val_mean_dice" in run.data.metrics
    found = tmp_path / "found"
    model = str(out / "models/model.pt")
    made = opened("seg_kd", "inference.json", tracking="mlflow", output_dir=str(found), checkpoint=model, device=CPU)
    completed(made)
    ((run, _),) = logged(found / "mlruns.db")
    assert run.info.status == "FINISHED" and run.data.params["checkpoint"] == model
