"""`ckdmed-runtime` and `python -m ckdmed.runtime`, in a process in which PyTorch and MONAI cannot be imported."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ckdmed.data.phantoms import write_figshare_phantoms
from ckdmed.runtime.command import main
from ckdmed.runtime.forms import open_form
from ckdmed.runtime.predict import Predictor
from ckdmed.runtime.run import predict_folder
from tests.runtime.tiny_forms import CLASSES, SEGMENTATION, changed, write_tiny

pytest.importorskip("onnxruntime")

_WITHOUT = """
import sys
for name in ("torch", "monai", "ignite", "skimage", "scipy"):
    sys.modules[name] = None
from ckdmed.runtime.command import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slices")
    write_figshare_phantoms(folder, n_patients=2, size=64, progress=False)
    (folder / "broken.mat").write_bytes(b"no MATLAB")
    return folder


def test_masks_without_pytorch_and_what_is_skipped_is_named(slices, tmp_path):
    form = write_tiny(tmp_path / "model.onnx")
    out = tmp_path / "out"
    command = [sys.executable, "-c", _WITHOUT, str(form), str(slices), "--output_dir", str(out), "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert "broken.mat" in done.stderr
    report = json.loads((out / "report.json").read_text())
    assert [Path(entry["file"]).name for entry in report["skipped"]] == ["broken.mat"]
    names = [entry["name"] for entry in report["results"]]
    assert names and all(entry["outputs"] for entry in report["results"])
    mask, probability = (np.asarray(Image.open(out / f"{names[0]}_{kind}.png")) for kind in ("mask", "probability"))
    assert set(np.unique(mask)) == {0, 255} and mask.shape == (64, 64)
    np.testing.assert_array_equal(mask > 0, probability >= round(0.3 * 65535))


def test_a_mask_that_somebody_corrected_stays(slices, tmp_path, capsys):
    form = write_tiny(tmp_path / "model.onnx")
    out = tmp_path / "out"
    assert main([str(form), str(slices), "--output_dir", str(out)]) == 3
    first, second = json.loads((out / "report.json").read_text())["results"][:2]
    corrected, damaged = (out / entry["outputs"][0] for entry in (first, second))
    Image.fromarray(np.full((64, 64), 255, np.uint8)).save(corrected)
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-20])
    kept = corrected.read_bytes()
    # and it is known in every later run
    for _ in range(2):
        assert main([str(form), str(slices), "--output_dir", str(out)]) == 3
        assert f"{corrected}: was changed after it was written, and is kept" in capsys.readouterr().err
        assert corrected.read_bytes() == kept and damaged.read_bytes() == whole
    corrected.unlink()
    assert main([str(form), str(slices), "--output_dir", str(out)]) == 3
    assert "was changed after" not in capsys.readouterr().err and corrected.is_file()


def test_a_mask_that_it_did_not_write_stays(slices, tmp_path, capsys):
    form = write_tiny(tmp_path / "model.onnx")
    assert main([str(form), str(slices), "--output_dir", str(tmp_path / "first")]) == 3
    name = json.loads((tmp_path / "first/report.json").read_text())["results"][0]["name"]
    # of a person, or of another program of this package
    drawn = tmp_path / "out" / f"{name}_mask.png"
    drawn.parent.mkdir(parents=True)
    Image.fromarray(np.full((64, 64), 255, np.uint8)).save(drawn)
    kept = drawn.read_bytes()
    for _ in range(2):
        assert main([str(form), str(slices), "--output_dir", str(tmp_path / "out")]) == 3
        assert f"{drawn}: was not written by a run of this folder, and is kept" in capsys.readouterr().err
        assert drawn.read_bytes() == kept


def test_masks_of_earlier_regions_do_not_stay_beside_the_new_ones(slices, tmp_path, capsys):
    out = tmp_path / "out"
    for regions in (("WT", "ET"), ("tumour",)):
        form = write_tiny(tmp_path / "model.onnx", replace(SEGMENTATION, outputs=regions))
        assert main([str(form), str(slices), "--output_dir", str(out), "--replace"]) == 3
        results = json.loads((out / "report.json").read_text())["results"]
        listed = {file for result in results for file in result["outputs"]}
        assert {path.relative_to(out).as_posix() for path in out.rglob("*.png")} == listed
    # classes are written beside masks, which are still known as such
    assert main([str(write_tiny(tmp_path / "classes.onnx", CLASSES)), str(slices), "--output_dir", str(out)]) == 3
    corrected = out / results[0]["outputs"][0]
    Image.fromarray(np.full((64, 64), 255, np.uint8)).save(corrected)
    assert main([str(form), str(slices), "--output_dir", str(out)]) == 3
    assert f"{corrected}: was changed after it was written, and is kept" in capsys.readouterr().err


@pytest.mark.parametrize("first", [True, False])
def test_after_a_run_that_was_killed_only_what_was_corrected_stays(slices, tmp_path, first):
    """Its report is missing, or that of a run before it."""
    form, out = write_tiny(tmp_path / "model.onnx"), tmp_path / "out"
    if not first:
        assert main([str(form), str(slices), "--output_dir", str(out), "--threshold", "0.9"]) == 3
    steps = predict_folder(Predictor(open_form(form), threshold=0.1), slices, out, replace=True)
    names = [next(steps), next(steps)]
    steps.close()
    corrected, own = (next(out.glob(f"{name}_mask.png")) for name in names)
    Image.fromarray(np.eye(64, dtype=np.uint8) * 255).save(corrected)
    kept = corrected.read_bytes()
    *_, report = predict_folder(Predictor(open_form(form), threshold=0.2), slices, out, replace=True)
    told = [entry.reason for entry in report.skipped if "was changed after" in entry.reason]
    assert len(told) == 1 and str(corrected) in told[0]
    assert corrected.read_bytes() == kept and own.is_file()


def test_a_mask_that_is_corrected_while_its_input_is_predicted_stays(slices, tmp_path):
    form, out = write_tiny(tmp_path / "model.onnx"), tmp_path / "out"
    assert main([str(form), str(slices), "--output_dir", str(out)]) == 3
    mask = out / json.loads((out / "report.json").read_text())["results"][0]["outputs"][0]

    class Slow(Predictor):
        def __call__(self, files):
            Image.fromarray(np.eye(64, dtype=np.uint8) * 255).save(mask)
            return super().__call__(files)

    *_, report = predict_folder(Slow(open_form(form)), slices, out)
    assert [entry.reason for entry in report.skipped if f"{mask}: was changed after" in entry.reason]
    np.testing.assert_array_equal(np.array(Image.open(mask)), np.eye(64) * 255)


def test_a_table_of_classes(slices, tmp_path, capsys):
    form = write_tiny(tmp_path / "model.onnx", CLASSES)
    image = next(path for path in sorted(slices.glob("*.mat")) if path.name != "broken.mat")
    assert main([str(form), str(image), "--output_dir", str(tmp_path / "out")]) == 0
    with open(tmp_path / "out" / "probabilities.csv", newline="") as stream:
        (line,) = csv.DictReader(stream)
    assert line["predicted"] in CLASSES.outputs
    assert float(line["probability_glioma"]) + float(line["probability_meningioma"]) == pytest.approx(1)


def test_a_table_of_other_inputs_is_not_replaced(slices, tmp_path, capsys):
    form = write_tiny(tmp_path / "model.onnx", CLASSES)
    first, second = sorted(path for path in slices.glob("*.mat") if path.name != "broken.mat")[:2]
    table = tmp_path / "out/probabilities.csv"
    arguments = ["--output_dir", str(table.parent)]
    assert main([str(form), str(first), *arguments]) == 0
    before = table.read_bytes()
    assert main([str(form), str(second), *arguments]) == 2
    assert f"{table}: holds the classes of other inputs ({first.stem})" in capsys.readouterr().err
    assert table.read_bytes() == before
    # more inputs beside those of the table
    assert main([str(form), str(slices), *arguments]) == 3
    table.write_text("patient;class\n1;glioma\n")
    assert main([str(form), str(slices), *arguments]) == 2 and "is no table of inputs" in capsys.readouterr().err


def test_inputs_in_the_output_folder_are_not_left_out_in_silence(slices, tmp_path, capsys):
    form = write_tiny(tmp_path / "model.onnx")
    inputs, out = tmp_path / "in", tmp_path / "in" / "out"
    out.mkdir(parents=True)
    images = [path for path in sorted(slices.glob("*.mat")) if path.name != "broken.mat"]
    shutil.copy(images[0], inputs)
    mine = Path(shutil.copy(images[1], out))
    command = [str(form), str(inputs), "--output_dir", str(out)]
    assert main(command) == 2
    assert f"holds 1 file that no run wrote, such as {mine.name}" in capsys.readouterr().err
    # what an earlier run left there is none
    mine.unlink()
    assert main(command) == 0 and main(command) == 0
    report = json.loads((out / "report.json").read_text())
    assert [Path(entry["input"][0]).name for entry in report["results"]] == [images[0].name]


@pytest.mark.parametrize("change", ["threshold", "form", "input", "earlier version"])
def test_results_of_another_run_are_replaced_only_when_asked_to(slices, tmp_path, capsys, change):
    inputs, out, form = tmp_path / "slices", tmp_path / "out", write_tiny(tmp_path / "model.onnx")
    shutil.copytree(slices, inputs)
    command = [str(form), str(inputs), "--output_dir", str(out)]
    assert main(command) == 3
    if change == "threshold":
        command += ["--threshold", "0.6"]
    elif change == "form":
        write_tiny(form, changed(SEGMENTATION, scaling="unit"))
    elif change == "input":
        first, second = sorted(path for path in inputs.glob("*.mat") if path.name != "broken.mat")[:2]
        shutil.copy(second, first)
    else:
        # which noted the files alone
        lines = [json.loads(line) for line in (out / "written.jsonl").read_text().splitlines()]
        old = [json.dumps({name: record["files"] for name, record in line.items()}) for line in lines]
        (out / "written.jsonl").write_text("\n".join(old))
    before = {path: path.read_bytes() for path in out.iterdir()}
    capsys.readouterr()
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "such as " in said and "--replace" in said and str(out) in said
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    assert main([*command, "--replace"]) == 3 and main(command) == 3
    assert change == "earlier version" or {path: path.read_bytes() for path in before} != before


def test_classes_of_another_run_are_replaced_only_when_asked_to(slices, tmp_path, capsys):
    form, out = write_tiny(tmp_path / "model.onnx", CLASSES), tmp_path / "out"
    command = [str(form), str(slices), "--output_dir", str(out)]
    assert main(command) == 3 and main(command) == 3
    table = out / "probabilities.csv"
    before = table.read_bytes()
    write_tiny(form, changed(CLASSES, scaling="unit"))
    assert main(command) == 2 and "--replace" in capsys.readouterr().err and table.read_bytes() == before
    assert main([*command, "--replace"]) == 3 and table.read_bytes() != before
    # not even then what somebody wrote into it
    table.write_bytes(table.read_bytes().replace(b"\n", b" checked\n"))
    before = table.read_bytes()
    for more in ([], ["--replace"]):
        assert main([*command, *more]) == 2 and "was changed after it was written" in capsys.readouterr().err
    assert table.read_bytes() == before


@pytest.mark.parametrize(
    ("description", "words", "said"),
    [
        (CLASSES, ["--threshold", "0.9"], "gives classes, which have no threshold, got 0.9"),
        (SEGMENTATION, ["--section", "validation"], "only a datalist has sections"),
        (SEGMENTATION, ["--threads", "0"], "--threads must be at least 1, got 0"),
        (SEGMENTATION, ["--slice_axis", "sideways"], "axial, coronal, sagittal, got 'sideways'"),
    ],
)
def test_options_that_would_do_nothing_are_refused(slices, tmp_path, capsys, description, words, said):
    form = write_tiny(tmp_path / "model.onnx", description)
    assert main([str(form), str(slices), "--output_dir", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_refusals_take_one_line(slices, tmp_path, capsys):
    form = write_tiny(tmp_path / "model.onnx")
    assert main([str(form), str(slices), "--output_dir", str(slices)]) == 2
    assert "give another --output_dir" in capsys.readouterr().err
    assert main([str(tmp_path / "none.onnx"), str(slices), "--output_dir", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
