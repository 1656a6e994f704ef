from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from ckdmed.cli import main
from ckdmed.export import check_bundle, export_bundle
from ckdmed.export.file_rules import REQUIRED_FILES
from ckdmed.files import save_weights
from ckdmed.networks import segmentation_student, segmentation_teacher
from tests.bundle.bundle_runs import record
from tests.export.sampled import SAMPLED
from tests.export.tiny import BUNDLES, ROOT, SIZES, environment, sizes_of, write_checkpoint

SEG_KD = ROOT / "bundles" / "seg_kd"

# Runs a bundle in a process in which nothing that only training needs can be imported.
GUARDED = """
import sys

class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("ckdmed.engines", "ckdmed.losses", "ckdmed.export")):
            raise ImportError(f"inference imports {name}")

sys.meta_path.insert(0, Guard())
from monai.bundle import run
run(config_file="configs/inference.json", device="$torch.device('cpu')")
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "model.pt", "seg_kd")


@pytest.fixture
def copy(exported, tmp_path):
    """A copy of the exported student that a test may spoil."""
    return Path(shutil.copytree(exported, tmp_path / exported.name))


@pytest.mark.parametrize("bundle", SAMPLED)
def test_passes_every_check(bundle, exports):
    result = exports(bundle)
    assert [check for check in result.checks if not check.passed] == []
    assert result.passed and len(result.checks) == 12
    for name in REQUIRED_FILES:
        assert (result.folder / name).is_file(), name
    assert not list(result.folder.parent.glob(".*")), "the temporary folder is left"


@pytest.mark.parametrize("bundle", SAMPLED)
def test_defaults_are_those_of_the_checkpoint(bundle, exports):
    folder = exports(bundle).folder
    sizes = sizes_of(bundle)
    assert sizes.items() <= json.loads((folder / "models/model.json").read_text())["settings"].items()
    for name in ("inference.json", "train.json"):
        # as the zoo's checks and MONAI Deploy read it, which say nothing of the bundle's folder
        parser = ConfigParser()
        parser.read_config(str(folder / "configs" / name))
        assert parser["bundle_root"] == "$ckdmed.bundle.own_folder()"
        assert {key: parser.get_parsed_content(key) for key in sizes} == sizes
    assert json.loads((folder / "configs/evaluate.json").read_text())["checkpoint"].endswith("'/models/model.pt'")
    data = json.loads((folder / "configs/metadata.json").read_text())["network_data_format"]
    if "image_size" in sizes:
        assert data["inputs"]["image"]["spatial_shape"] == [32, 32]


@pytest.mark.parametrize("bundle", SAMPLED)
def test_names_nothing_of_the_source_tree(bundle, exports):
    folder = exports(bundle).folder
    for path in [*folder.glob("configs/*"), *folder.glob("docs/*")]:
        assert "bundles/" not in path.read_text(encoding="utf-8"), path.name


@pytest.mark.parametrize("bundle", SAMPLED)
def test_torchscript_computes_the_same_and_holds_no_source_paths(bundle, exports):
    folder = exports(bundle).folder
    scripted = torch.jit.load(str(folder / "models/model.ts"), _extra_files=(extra := {"inference.json": ""}))
    assert json.loads(extra["inference.json"]) == json.loads((folder / "configs/inference.json").read_text())
    parser = ConfigParser()
    parser.read_config(str(folder / "configs/inference.json"))
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(folder / "models/model.pt", weights_only=True))
    channels = json.loads((folder / "configs/metadata.json").read_text())["network_data_format"]["inputs"]["image"]
    image = torch.rand(2, channels["num_channels"], 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(scripted.eval()(image), network(image))
    with zipfile.ZipFile(folder / "models/model.ts") as archive:
        assert not [name for name in archive.namelist() if name.endswith(".debug_pkl")]


@pytest.mark.bundle
@pytest.mark.parametrize("bundle", BUNDLES)
@pytest.mark.slow
def test_inference_needs_no_teacher_and_no_training_code(bundle, exports, tmp_path):
    folder = Path(shutil.copytree(exports(bundle).folder, tmp_path / "zoo"))
    done = subprocess.run(
        [sys.executable, "-c", GUARDED], cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((folder / "output/inference/report.json").read_text())
    assert report["counts"]["done"] > 0 and report["counts"]["skipped"] == 0


def _edit(name, change):
    def spoil(folder):
        path = folder / "configs" / name
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value, indent=4) + "\n")

    return spoil


def _weights(change):
    def spoil(folder):
        weights = torch.load(folder / "models/model.pt", weights_only=True)
        change(weights)
        torch.save(weights, folder / "models/model.pt")

    return spoil


def _append(name, text):
    return lambda folder: (folder / name).write_text((folder / name).read_text() + text)


SPOILED = {
    "no licence": ("files of the zoo's layout", lambda f: (f / "LICENSE").unlink(), "LICENSE is missing"),
    "no task": ("metadata schema", _edit("metadata.json", lambda v: v.pop("task")), "'task' is a required property"),
    "channels as text": (
        "metadata schema",
        _edit("metadata.json", lambda v: v["network_data_format"]["inputs"]["image"].update(num_channels="1")),
        "not of type .integer.|not valid under any",
    ),
    "unknown version": (
        "version in the changelog",
        _edit("metadata.json", lambda v: v.update(version="9")),
        "9 has no",
    ),
    "wrong channels": (
        "verify_net_in_out",
        _edit("metadata.json", lambda v: v["network_data_format"]["outputs"]["pred"].update(num_channels=3)),
        "output channel number `1` doesn't match: `3`",
    ),
    "a weight less": ("model.pt loads strictly", _weights(lambda w: w.popitem()), "Missing key"),
    "another width": (
        "model.pt loads strictly",
        _edit("train.json", lambda v: v.update(student_base=8)),
        "does not fit the network of train.json.*--override",
    ),
    "other weights": (
        "TorchScript (jit.script)",
        _weights(lambda w: w.update({k: v + 1 for k, v in w.items() if k.endswith("bias")})),
        "differs from the network's by",
    ),
    "no trainer": ("properties of train", _edit("train.json", lambda v: v["train"].pop("trainer")), "trainer"),
    "another name": (
        "properties of train",
        _edit("train.json", lambda v: v["validate"]["dataset"].update(transform="@preprocessing")),
        "val_preprocessing",
    ),
    "no output_dir": ("properties of inference", _edit("inference.json", lambda v: v.pop("evaluator")), "evaluator"),
    "a training engine": (
        "inference without a teacher",
        _edit("inference.json", lambda v: v["imports"].append("$import ckdmed.engines")),
        "names ckdmed.engines",
    ),
    "a home": ("no paths of a machine", _append("docs/README.md", "cd /home/someone/bundle\n"), "/home/someone"),
    "two spaces": (
        "formatting",
        lambda f: (f / "configs/train.json").write_text(json.dumps({"a": 1}, indent=2)),
        "train.json is not indented by four",
    ),
    "unformatted Python": (
        "formatting",
        lambda f: (f / "own.py").write_text("import os,sys\nx = { 'a':1 }\n"),
        "finds? fault|not installed",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_checks_notice(case, copy):
    name, spoil, finding = SPOILED[case]
    spoil(copy)
    (check,) = check_bundle(copy, names=[name])
    assert not check.passed
    assert re.search(finding, check.detail), check.detail


def test_nothing_is_written_when_a_check_fails(checkpoint, tmp_path, capsys):
    bundle = Path(shutil.copytree(SEG_KD, tmp_path / "bundles" / "seg_kd", ignore=shutil.ignore_patterns("output")))
    with open(bundle / "docs/data_license.txt", "a") as file:
        file.write("see /home/someone/licence\n")
    output = tmp_path / "out" / "brain_tumour_seg"
    keys = ("student_kind", "student_base", "image_size")
    overrides = [part for key in keys for part in ("--override", f"{key}={SIZES[key]}")]
    arguments = ["--bundle", str(bundle), "--checkpoint", str(checkpoint), "--output", str(output), *overrides]
    assert main(["export", *arguments]) == 1
    printed = capsys.readouterr().out
    assert "no paths of a machine" in printed and "FAILED" in printed and "nothing is written" in printed
    assert list(output.parent.iterdir()) == []


@pytest.mark.slow
def test_sizes_come_from_the_record_of_the_run(tmp_path, capsys):
    run = tmp_path / "run"
    write_checkpoint(run / "models" / "model.pt", "seg_kd")
    recorded = {"student_kind": "unet", "student_base": 4, "image_size": 32, "epochs": 7, "dataset_dir": "/somewhere"}
    (run / "settings.json").write_text(json.dumps({"settings": recorded}))
    output = tmp_path / "brain_tumour_seg"
    checkpoint = run / "models" / "model.pt"
    arguments = ["export", "--bundle", str(SEG_KD), "--checkpoint", str(checkpoint), "--output", str(output)]
    assert main(arguments) == 0
    train = json.loads((output / "configs/train.json").read_text())
    source = json.loads((SEG_KD / "train.json").read_text())
    # given weights may tell another width, so the exported one is what stands where none are given
    assert train["image_size"] == 32 and ConfigParser(train).get_parsed_content("student_base") == 4
    assert (train["epochs"], train["dataset_dir"]) == (source["epochs"], None)
    assert capsys.readouterr().out.count("passed") == 12
    # it is there now: replaced on demand only
    assert main(arguments) == 2
    assert "exists" in capsys.readouterr().err
    (output / "note.txt").write_text("of an earlier export")
    assert main([*arguments, "--force"]) == 0
    assert not (output / "note.txt").exists() and (output / "models/model.ts").is_file()


def test_a_student_of_a_size_that_the_usual_teacher_cannot_take(tmp_path):
    settings = {"student_kind": "residual_unet", "student_base": 4, "image_size": 36}
    network = segmentation_student("residual_unet", base=4)
    checkpoint, output = tmp_path / "run" / "model.pt", tmp_path / "brain_tumour_seg"
    save_weights(checkpoint, network.state_dict())
    record(checkpoint, "seg_kd", **settings)
    refused = export_bundle(SEG_KD, checkpoint, output)
    (failed,) = [check for check in refused.checks if not check.passed]
    assert "the teacher (UNetViT) cannot take images of 36x36" in failed.detail
    assert failed.detail.endswith("such as teacher_kind=dynunet, with --override.")
    assert export_bundle(SEG_KD, checkpoint, output, overrides={"teacher_kind": "dynunet", "teacher_base": 4}).passed


def test_teacher_and_large_files(checkpoint, tmp_path):
    teacher = write_checkpoint(tmp_path / "t" / "teacher.pt", "seg_kd", "train.json", "teacher_def")
    output = tmp_path / "brain_tumour_seg"
    result = export_bundle(
        SEG_KD,
        checkpoint,
        output,
        teacher_checkpoint=teacher,
        overrides=sizes_of("seg_kd", "train.json"),
        large_files_url="https://example.org/files/",
        size_limit=300_000,
    )
    assert result.passed, result.checks
    train = json.loads((output / "configs/train.json").read_text())
    assert train["teacher_checkpoint"] == "$@bundle_root + '/models/teacher.pt'"
    recorded = json.loads((output / "models/teacher.json").read_text())["settings"]
    assert (recorded["teacher_base"], recorded["vit_img_size"]) == (SIZES["teacher_base"], SIZES["vit_img_size"])
    entries = ConfigParser.load_config_file(str(output / "large_files.yml"))["large_files"]
    assert {entry["path"] for entry in entries} == {path.as_posix() for path in result.large_files}
    assert "models/model.pt" in {entry["path"] for entry in entries}
    for entry in entries:
        moved = result.large_folder / entry["path"]
        assert not (output / entry["path"]).exists() and moved.stat().st_size > 300_000
        digest = hashlib.sha256(moved.read_bytes()).hexdigest()
        assert (entry["hash_type"], entry["hash_val"]) == ("sha256", digest)
        assert entry["url"] == f"https://example.org/files/{moved.name}"


def test_nothing_is_claimed_of_weights_that_were_not_scored(exported):
    """The bundle ships weights of its own, whose figures stand in its documents."""
    assert json.loads((SEG_KD / "metadata.json").read_text())["eval_metrics"]
    assert json.loads((exported / "configs/metadata.json").read_text())["eval_metrics"] == {}
    readme = (exported / "docs/README.md").read_text()
    assert "No figures are recorded here yet" in readme
    for other in ("mean over patients", "commands in order", "shipped checkpoint", "shipped weights only"):
        assert other not in readme, other


def test_figures_of_an_evaluation(checkpoint, tmp_path):
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    scores = {"dice": {"patient_mean": 0.81234, "patient_interval": [0.75, 0.86]}}
    summary = {
        "settings": {"checkpoint_sha256": digest, "section": "test"},
        "overall": scores,
        "n_slices": 40,
        "n_patients": 9,
        "level": 0.95,
        "unit": "px",
    }
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(summary))
    sizes = sizes_of("seg_kd")
    result = export_bundle(SEG_KD, checkpoint, tmp_path / "brain_tumour_seg", evaluation=path, overrides=sizes)
    assert result.passed
    readme = (result.folder / "docs/README.md").read_text()
    assert "0.8123" in readme and "40 slices of 9 patients" in readme and "No figures" not in readme
    assert "inference differs from what was scored" not in readme, "the summary does not tell"
    metadata = json.loads((result.folder / "configs/metadata.json").read_text())
    assert metadata["eval_metrics"] == {"test_mean_dice": 0.8123}
    path.write_text(json.dumps({**summary, "settings": {"checkpoint_sha256": "0" * 64}}))
    with pytest.raises(ValueError, match="evaluation of a checkpoint other than"):
        export_bundle(SEG_KD, checkpoint, tmp_path / "brain_tumour_two", evaluation=path, overrides=sizes)
    worse = {**summary["settings"], "settings": {"corruption": "noise-3"}}
    path.write_text(json.dumps({**summary, "settings": worse}))
    with pytest.raises(ValueError, match="corrupted images .corruption noise-3.; give one of unchanged images"):
        export_bundle(SEG_KD, checkpoint, tmp_path / "brain_tumour_two", evaluation=path, overrides=sizes)


def test_refuses(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="not a name for a bundle of the zoo"):
        export_bundle(SEG_KD, checkpoint, tmp_path / "SegKD")
    near = re.escape("has student_bsae (did you mean student_base?) as a setting")
    with pytest.raises(ValueError, match=f"no configuration of .* {near}"):
        export_bundle(SEG_KD, checkpoint, tmp_path / "brain_seg", overrides={"student_bsae": 4})
    message = f"--override student_base is 2, but '{checkpoint}' was trained with 4"
    with pytest.raises(ValueError, match=re.escape(message)):
        export_bundle(SEG_KD, checkpoint, tmp_path / "brain_seg", overrides={"student_base": 2})
    for option in ("evaluation", "schema"):
        with pytest.raises(FileNotFoundError, match=f"^--{option}: there is no file 'none.json'"):
            export_bundle(SEG_KD, checkpoint, tmp_path / "brain_seg", **{option: "none.json"})
    for name in ("checkpoint", "teacher_checkpoint"):
        with pytest.raises(ValueError, match=f"^--override {name}: .* give --{name} instead"):
            export_bundle(SEG_KD, checkpoint, tmp_path / "brain_seg", overrides={name: "mine.pt"})
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        export_bundle(SEG_KD, tmp_path / "none.pt", tmp_path / "brain_seg")
    with pytest.raises(FileNotFoundError, match="lacks inference.json"):
        export_bundle(tmp_path, checkpoint, tmp_path / "brain_seg")
    with pytest.raises(ValueError, match="no setting 'teacher_checkpoint'"):
        export_bundle(
            SEG_KD.with_name("seg_teacher"), checkpoint, tmp_path / "brain_seg", teacher_checkpoint=checkpoint
        )
    for given in ({"checkpoint": "model.onnx"}, {"checkpoint": checkpoint, "teacher_checkpoint": "model.onnx"}):
        with pytest.raises(ValueError, match="'model.onnx' is a deployed file, which cannot be exported as a bundle"):
            export_bundle(SEG_KD, output=tmp_path / "brain_seg", **given)
    own = tmp_path / "my_papers"
    own.mkdir()
    (own / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="not replaced even with --force"):
        export_bundle(SEG_KD, checkpoint, own, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my_papers"]


def test_a_bundle_that_another_process_wrote_meanwhile_stays(checkpoint, tmp_path, monkeypatch):
    output = tmp_path / "brain_seg"

    def check(*_: object, **__: object) -> list[object]:
        (output / "configs").mkdir(parents=True)
        (output / "configs/metadata.json").write_text("of another process")
        return []

    monkeypatch.setattr("ckdmed.export.exporter.check_bundle", check)
    with pytest.raises(FileExistsError, match="brain_seg' exists; name another folder"):
        export_bundle(SEG_KD, checkpoint, output)
    assert [path.read_text() for path in output.rglob("*") if path.is_file()] == ["of another process"]
    assert [path.name for path in tmp_path.iterdir()] == ["brain_seg"]


@pytest.mark.parametrize("kind", ["a run", "the source"])
def test_force_replaces_no_run_and_no_source(checkpoint, tmp_path, kind):
    output = tmp_path / "my_run"
    (output / "models").mkdir(parents=True)
    (output / "models" / "model.pt").write_bytes(Path(checkpoint).read_bytes())
    if kind == "the source":
        (output / "configs").mkdir()
        (output / "configs" / "metadata.json").write_text("{}")
    given = output / "models" / "model.pt" if kind == "the source" else checkpoint
    message = "from which the export is made" if kind == "the source" else "not replaced even with --force"
    before = sorted(str(path) for path in output.rglob("*"))
    with pytest.raises(FileExistsError, match=message):
        export_bundle(SEG_KD, given, output, force=True)
    assert sorted(str(path) for path in output.rglob("*")) == before


def test_force_replaces_no_trainings_of_the_exported_bundle(checkpoint, tmp_path):
    output = tmp_path / "brain_tumour_seg"
    for name in ("configs/metadata.json", "output/models/model.pt"):
        (output / name).parent.mkdir(parents=True)
        (output / name).write_text("{}")
    with pytest.raises(FileExistsError, match="holds output, which no export wrote.*even with --force"):
        export_bundle(SEG_KD, checkpoint, output, force=True)
    assert (output / "output/models/model.pt").read_text() == "{}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "settings", "detail"),
    [
        ("segresnet", {"teacher_base": 8}, "differs from the network by"),
        ("swin_unetr", {"teacher_base": 12, "image_size": 64}, "left out: the network cannot be scripted"),
    ],
)
def test_teachers_of_other_kinds_with_torchscript_or_without(tmp_path, kind, settings, detail):
    sizes = {**sizes_of("brats_seg_teacher"), "teacher_kind": kind, **settings}
    network = segmentation_teacher(kind, 2, base=sizes["teacher_base"])
    torch.save(network.state_dict(), tmp_path / "model.pt")
    record(tmp_path / "model.pt", "brats_seg_teacher", **sizes)
    bundle = ROOT / "bundles" / "brats_seg_teacher"
    result = export_bundle(bundle, tmp_path / "model.pt", tmp_path / "brain_teacher", overrides=sizes)
    assert result.passed, [check for check in result.checks if not check.passed]
    (script,) = (check for check in result.checks if "TorchScript" in check.name)
    assert detail in script.detail
    assert (result.folder / "models/model.ts").is_file() == (kind == "segresnet")
