"""`ckdmed deploy` from a run to its folder."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ckdmed.bundle.trained import reads_record
from ckdmed.cli import main
from ckdmed.data.phantoms import write_figshare_phantoms
from ckdmed.deploy import DeployOptions, deploy
from ckdmed.deploy.deployment import Costs, Deployment, ModelCost
from ckdmed.deploy.source import find_source
from ckdmed.deploy.table import forms_table, resource_table
from ckdmed.deploy.timing import latencies, training_steps
from ckdmed.deployed_network import read_description
from ckdmed.json_files import read_json
from ckdmed.runtime import Predictor, open_form
from tests.export.tiny import ROOT, write_checkpoint
from tests.runtime.tiny_forms import write_tiny

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "model.pt", "seg_kd")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    write_figshare_phantoms(folder, n_patients=8, size=48, progress=False)
    return folder


def test_a_description_holds_what_an_inference_needs(checkpoint):
    description = find_source("seg_kd", checkpoint).description
    assert description.task == "segmentation" and description.input_shape == (1, 32, 32)
    assert description.preprocessing["image_size"] == 32 and description.outputs == ("tumour",)
    assert description.postprocessing == {"threshold": 0.5, "tta": False}
    assert find_source("seg_kd").description.postprocessing == {"threshold": 0.3, "tta": True}
    assert len(description.source["checkpoint_sha256"]) == 64 and "Apache" in description.licence
    assert not any("checkpoint" in name or name.endswith("_dir") for name in description.settings)
    # all that an inference with the file asks for
    config = read_json(ROOT / "bundles" / "seg_kd" / "inference.json")
    assert {name for name, value in config.items() if reads_record(value)} <= set(description.settings)


def test_weights_without_a_record_are_not_deployed_with_settings_that_nobody_gave(checkpoint, tmp_path):
    shutil.copy(checkpoint, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="model.pt' has no record of what it was trained with.* as model.json"):
        find_source("seg_kd", tmp_path / "model.pt")


def test_torchscript_alone_is_written_and_judged(checkpoint, phantoms, tmp_path, capsys, monkeypatch):
    out = tmp_path / "deployed"
    words = ["--checkpoint", str(checkpoint), "--dataset_dir", str(phantoms), "--out", str(out), "--no_timing"]
    assert main(["deploy", "seg_kd", "--formats", "torchscript", "--held_out", "2", *words]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        *("LICENSE", "data_license.txt", "deploy.json", "deploy.md", "model.ts"),
    ]
    (form,) = json.loads((out / "deploy.json").read_text())["forms"]
    assert form["changes"]["changed"] == 0 and form["changes"]["probability_difference"] < 1e-5
    assert read_description(out / "model.ts").bundle == "seg_kd"
    assert "| torchscript |" in (out / "deploy.md").read_text()
    assert main(["deploy", "seg_kd", "--formats", "torchscript", *words]) == 2
    assert "exists and is not empty" in capsys.readouterr().err
    # as another process would that began at the same time
    with monkeypatch.context() as patched, pytest.raises(FileExistsError, match="exists and is not empty"):
        patched.setattr("ckdmed.deploy.deploying.write_documents", lambda *_: shutil.copytree(out, tmp_path / "both"))
        options = DeployOptions(("torchscript",), str(phantoms), held_out=1, measure=False)
        deploy("seg_kd", tmp_path / "both", options, checkpoint)
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == sorted(path.name for path in out.iterdir())
    again = ["--checkpoint", str(out / "model.ts"), "--out", str(tmp_path / "again")]
    assert main(["deploy", "seg_kd", *again]) == 2
    assert "model.ts' is a deployed file, which cannot be deployed again: give the wei" in capsys.readouterr().err


def test_a_form_that_fails_is_written_by_force_alone(checkpoint, phantoms, tmp_path, monkeypatch):
    # a form that gives something else than the network
    monkeypatch.setattr("ckdmed.deploy.deploying.write_onnx", lambda network, text, path: write_tiny(path, text))
    options = DeployOptions(("onnx", "torchscript"), str(phantoms), held_out=2, measure=False)
    said: list[str] = []
    result = deploy("seg_kd", tmp_path / "a", options, str(checkpoint), said.append)
    assert not result.complete and [form.written for form in result.forms] == [False, True]
    assert not (tmp_path / "a" / "model.onnx").exists() and (tmp_path / "a" / "model.ts").is_file()
    assert any(line.startswith("onnx is not written: ") for line in said)
    assert "not written: " in (tmp_path / "a" / "deploy.md").read_text()
    forced = deploy("seg_kd", tmp_path / "b", replace(options, force=True), str(checkpoint), said.append)
    assert forced.complete and (tmp_path / "b" / "model.onnx").is_file()
    assert "fails, written by --force" in (tmp_path / "b" / "deploy.md").read_text()


@pytest.mark.parametrize(
    ("formats", "finetune", "package"),
    [(("onnx",), 0, "onnxruntime"), (("openvino",), 0, "openvino"), (("openvino-int8",), 0, "nncf")]
    + [(("onnx-int8",), 1, "torchao")],
)
def test_a_missing_package_is_named_before_anything_is_made(formats, finetune, package, tmp_path, monkeypatch, capsys):
    found = importlib.util.find_spec
    there = {"onnxruntime", "openvino", "nncf", "torchao"} - {package}
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == package else object() if name in there else found(name, *more),
    )
    words = ["--dataset_dir", str(tmp_path), "--finetune", str(finetune), "--output_dir", str(tmp_path / "out")]
    assert main(["deploy", "seg_kd", "--formats", *formats, *words]) == 2
    assert f"package {package} is not installed" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="formats must be one or more of onnx, .*, got tflite"):
        DeployOptions(("tflite",))
    with pytest.raises(ValueError, match="int8 is calibrated on real slices.*--dataset_dir"):
        DeployOptions(("onnx", "onnx-int8"))
    with pytest.raises(ValueError, match="calibration must be at least 1, got 0"):
        DeployOptions(calibration=0)
    # that would be all but the last two
    with pytest.raises(ValueError, match="held_out must be at least 1, got -2"):
        DeployOptions(held_out=-2)
    with pytest.raises(ValueError, match="finetune trains int8 .*the formats contain none"):
        DeployOptions(("onnx", "torchscript"), finetune=3)
    with pytest.raises(ValueError, match="there are no weights .*--checkpoint"):
        find_source("brats_seg_kd")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--calibration", "20"], "--calibration is for int8, but --formats names none"),
        (["--finetune", "3"], "finetune trains int8 through quantisers, but the formats contain none"),
        (["--no_timing", "--rounds", "3"], "--rounds is for the timing, which --no_timing leaves out"),
    ],
)
def test_options_that_would_do_nothing_are_refused(tmp_path, capsys, words, said):
    assert main(["deploy", "seg_kd", "--formats", "torchscript", "--output_dir", str(tmp_path / "out"), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_latencies_of_files_and_networks_and_a_step_of_training(checkpoint, tmp_path):
    network = find_source("seg_kd", checkpoint).network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = np.random.default_rng(0).random((2, 1, 48, 48), dtype=np.float32)
    taken = latencies({"onnx": write_tiny(tmp_path / "model.onnx")}, {"PyTorch": network}, images, 1, 2)
    assert set(taken) == {"onnx", "PyTorch"} and min(times.wall for times in taken.values()) > 0
    assert training_steps({"PyTorch": network}, images)["PyTorch"] > 0
    assert not network.training
    assert all((value == before[name]).all() for name, value in network.state_dict().items())


def test_tables_say_what_was_not_measured(checkpoint):
    description = find_source("seg_kd", checkpoint).description
    costs = Costs(
        {"PyTorch": ModelCost(4.0, {1: 40.0, 2: 20.0}), "teacher, full size": ModelCost(400.0, {1: 4000.0, 2: 2000.0})},
        {"processor": "p", "cores": 2, "load": 1.0, "versions": {}},
    )
    text = forms_table(Deployment("seg_kd", DeployOptions(), description, [], costs))
    assert "not measured" in text and "100.0" in text
    assert "not measured" in resource_table(costs)


def deployed(checkpoint: Path, phantoms: Path, out: Path, *words: str) -> dict:
    """What the command leaves, in a process of its own: quantisers keep the streams that they began with."""
    command = [sys.executable, "-m", "ckdmed", "deploy", "seg_kd", "--checkpoint", str(checkpoint), "--out", str(out)]
    command += ["--dataset_dir", str(phantoms), "--held_out", "2", "--force", *words]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((out / "deploy.json").read_text())


@pytest.mark.slow
def test_every_format_of_a_small_student(checkpoint, phantoms, tmp_path):
    pytest.importorskip("nncf")
    out = tmp_path / "deployed"
    formats = ("onnx", "onnx-int8", "openvino", "openvino-int8", "torchscript")
    record = deployed(checkpoint, phantoms, out, "--calibration", "6", "--rounds", "2", "--formats", *formats)
    forms = {form["name"]: form for form in record["forms"]}
    assert all(forms[name]["changes"]["probability_difference"] < 1e-4 for name in ("onnx", "openvino", "torchscript"))
    assert all(read_description(out / form["file"]).task == "segmentation" for form in forms.values())
    costs = record["costs"]["of"]
    assert all(costs[name]["cold_start"] > 0 and costs[name]["peak_megabytes"] > 10 for name in ("onnx", "openvino"))
    # a process of PyTorch takes more than one without it
    assert costs["PyTorch"]["peak_megabytes"] > 1.5 * costs["onnx"]["peak_megabytes"]
    assert costs["PyTorch"]["parameters"] and costs["teacher, full size"]["training_step"]
    assert (out / "deploy.png").is_file()
    image = sorted(phantoms.glob("*.mat"))[0]
    first, second = (Predictor(open_form(out / name))(image).masks for name in ("model.onnx", "model.xml"))
    np.testing.assert_array_equal(first, second)
