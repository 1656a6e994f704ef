"""`ckdmed run` over small bundles that only print, and once over a real one beside `monai.bundle run`."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ckdmed import cli

CONFIG = {
    "imports": ["$import ckdmed"],
    "epochs": 3,
    "output_dir": "out",
    "message": "$'%s epochs into %s' % (@epochs, @output_dir)",
    "initialize": ["$ckdmed.bundle.check_settings()"],
    "run": ["$print(@message)"],
}


def write_bundle(folder: Path, inside: str = "", **changed: Any) -> Path:
    (folder / inside).mkdir(parents=True)
    (folder / inside / "train.json").write_text(json.dumps({**CONFIG, **changed}))
    (folder / inside / "evaluate.json").write_text(json.dumps({"message": "scored"}))
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    # a run hooks in how errors are told; what the test process has stays
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    return str(write_bundle(tmp_path / "bundle"))


@pytest.mark.parametrize("inside", ["", "configs"], ids=["bundle", "exported"])
def test_a_workflow_is_run_with_settings(tmp_path, capsys, inside):
    folder = str(write_bundle(tmp_path / "one", inside))
    assert cli.main(["run", folder, "train", "--epochs", "5", "--output_dir=there"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "5 epochs into there"
    assert cli.main(["run", folder, "evaluate"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "scored"


def test_settings_keep_what_was_typed(bundle, capsys):
    """fire alone would make the number 2018 of the folder 2018, and true of a setting without a value."""
    assert cli.main(["run", bundle, "train", "--output_dir", "02018"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 epochs into 02018"
    assert cli.main(["run", bundle, "train", "--output_dir"]) == 2
    assert "--output_dir was given without a value" in capsys.readouterr().err


def test_files_are_laid_over_the_bundles(bundle, tmp_path, capsys):
    (tmp_path / "mine.json").write_text('{"epochs": 7}')
    (Path(bundle) / "theirs.json").write_text('{"output_dir": "laid"}')
    words = ["--config_file", str(tmp_path / "mine.json"), "--config_file=theirs.json"]
    assert cli.main(["run", bundle, "train", *words]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "7 epochs into laid"
    assert cli.main(["run", bundle, "train", "--config_file", "none.json"]) == 2
    assert "there is no file 'none.json'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "--epoch", "5"], "'epoch' is not a setting of this bundle; did you mean 'epochs'?"),
        (["train", "--epochs", "many"], "--epochs must be a whole number"),
        (["train", "epochs", "5"], "'epochs' is neither a setting nor the value of one"),
        (["train", "--epochs", "5", "7"], "'7' is neither a setting nor the value of one"),
        (["infer"], "has no workflow 'infer': there is no "),
    ],
)
def test_what_is_refused_is_one_line_and_status_2(bundle, capsys, words, said):
    assert cli.main(["run", bundle, *words]) == 2
    printed = capsys.readouterr().err.splitlines()[-1]
    assert printed.startswith("ckdmed run: error: ") and said in printed
    assert "Failed to" not in printed


def test_an_unknown_bundle_names_those_that_there_are(capsys):
    assert cli.main(["run", "seg_kdd", "train"]) == 2
    assert "there is no bundle 'seg_kdd'" in (error := capsys.readouterr().err) and "seg_kd," in error


def test_an_error_while_it_runs_keeps_its_traceback_and_ends_with_its_cause(tmp_path, capsys):
    folder = write_bundle(tmp_path / "broken", run=["$int('batch')"])
    assert cli.main(["run", str(folder), "train"]) == 1
    printed = capsys.readouterr().err
    assert "Traceback" in printed
    assert printed.splitlines()[-1] == "error: invalid literal for int() with base 10: 'batch'"
    with pytest.raises(RuntimeError, match="Failed to evaluate"):
        cli.main(["run", str(folder), "train", "--debug"])


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("$ckdmed.bundle.load_weights.LoadWeights(None, 'none.pt')()", "there is no checkpoint 'none.pt'."),
        ("$ckdmed.inference.InferenceJob('nowhere', 'out', None, 'none.pt').found", "nowhere: no such file or folder."),
    ],
)
def test_what_an_inference_refuses_while_it_runs_is_one_line_and_status_2(tmp_path, capsys, step, said):
    imports = ["$import ckdmed", "$import ckdmed.bundle.load_weights", "$import ckdmed.inference"]
    folder = write_bundle(tmp_path / "refusing", imports=imports, run=[step])
    assert cli.main(["run", str(folder), "train"]) == 2
    printed = capsys.readouterr().err
    assert "Failed to" not in printed
    assert printed.splitlines()[-1].startswith(f"ckdmed run: error: {said}")


def test_a_run_that_is_stopped(tmp_path, capsys):
    folder = write_bundle(tmp_path / "stopped", run=["$(_ for _ in ()).throw(KeyboardInterrupt())"])
    assert cli.main(["run", str(folder), "train"]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "ckdmed run: interrupted"


def test_the_status_of_a_run_that_ends_itself_is_passed_on(tmp_path):
    folder = write_bundle(tmp_path / "ending", run=["$(_ for _ in ()).throw(SystemExit(3))"])
    with pytest.raises(SystemExit) as end:
        cli.main(["run", str(folder), "train"])
    assert end.value.code == 3


def test_the_help_of_a_workflow_lists_its_settings(capsys):
    assert cli.main(["run", "seg_kd", "train", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "usage: ckdmed run seg_kd train" in printed and "--epochs  (default: demo 20" in printed


@pytest.mark.slow
def test_it_gives_the_masks_that_monai_bundle_run_gives(tmp_path):
    """With the checkpoint that ships, from another folder; a file that cannot be read makes status 3 of both."""
    phantoms = tmp_path / "phantoms"
    program = [sys.executable, "-m"]
    make = ["ckdmed", "phantoms", "figshare", str(phantoms), "--patients", "2", "--slices", "1", "1", "--quiet"]
    subprocess.run([*program, *make], check=True)
    (phantoms / "broken.mat").write_bytes(b"no slice")
    config = Path(cli.__file__).parents[2] / "bundles/seg_kd/inference.json"
    digests = []
    for name, command in {
        "monai": ["monai.bundle", "run", "--config_file", str(config)],
        "ckdmed": ["ckdmed", "run", "seg_kd", "infer"],
    }.items():
        words = ["--dataset_dir", str(phantoms), "--output_dir", name]
        done = subprocess.run([*program, *command, *words], capture_output=True, text=True)
        assert done.returncode == 3, done.stderr
        files = [path for path in sorted(Path(name).rglob("*")) if path.suffix in (".nii", ".gz", ".png", ".npz")]
        digests.append({path.relative_to(name): hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
    assert digests[0] == digests[1] and len(digests[0]) >= 2
