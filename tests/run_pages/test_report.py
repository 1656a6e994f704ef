"""Reports of runs, inferences and comparisons: the numbers are the records', the folder is the report's own."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from dataclasses import fields, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from ckdmed import cli
from ckdmed.data.brats.cached_slices import CaseSlicesd
from ckdmed.experiments.records import read_experiment
from ckdmed.files import save_weights
from ckdmed.handlers.probability_writer import ProbabilityWriter
from ckdmed.reports import mean_sd
from ckdmed.run_pages.case_images import read_case_images
from ckdmed.run_pages.case_pictures import slice_viewer
from ckdmed.run_pages.inference_run import read_inference_run
from tests.run_pages.runs import MARKUP, write_inference, write_training
from tests.runtime.tiny_forms import SEGMENTATION

ROOT = Path(__file__).resolve().parents[2]
RAS = np.diag([1.0, 1.0, 4.0, 1.0])
#: the same voxels turned and mirrored; of the last the slices' rows run left to right
AFFINES = {
    "RAS": RAS,
    "LPS": np.diag([-1.0, -1.0, 4.0, 1.0]),
    "ARS": np.array([[0.0, 1.0, 0, 0], [1, 0, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1]]),
    "PLS": np.array([[0.0, -1.0, 0, 0], [-1, 0, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1]]),
}


def written(out: Path) -> tuple[str, str]:
    return (out / "index.html").read_text(encoding="utf-8"), (out / "report.md").read_text(encoding="utf-8")


def slices_of(page: str) -> str:
    found = re.search(r'<script type="application/json" id="slices-data">(.*?)</script>', page, flags=re.DOTALL)
    assert found is not None
    return found[1]


def test_a_training_with_its_evaluation_and_teacher(tmp_path, capsys):
    run = write_training(tmp_path / "run", note=MARKUP)
    assert cli.main(["report", str(run)]) == 0
    assert str(run / "report/index.html") in capsys.readouterr().out
    html, markdown = written(run / "report")
    summary = json.loads((run / "evaluation/summary.json").read_text())
    dice = f"{summary['overall']['dice']['patient_mean']:.4f}"
    for text in (html, markdown):
        assert "0.8000" in text and dice in text and "Results on the test set" in text
        assert "0.4711" in text
        # the teacher's own best and the numbers that both checkpoints hold
        assert "0.9000" in text and "5000" in text and "34" in text
        assert "<script>window" not in text
    assert "p3" in html and "supervised" in html


def test_an_evaluation_tells_what_cross_fitted_teachers_scored(tmp_path):
    run = write_training(tmp_path / "run")
    place = run / "evaluation/summary.json"
    summary = json.loads(place.read_text())
    scores = {"metric": "val_mean_dice", "in_fold": 0.91234, "out_of_fold": 0.65432}
    place.write_text(json.dumps({**summary, "settings": {**summary["settings"], "teacher_scores": scores}}))
    assert cli.main(["report", str(run)]) == 0
    for text in written(run / "report"):
        assert "val_mean_dice 0.9123 on the training patients" in text.replace("\\_", "_") and "0.6543 on those" in text


def deployment(folder: Path) -> Path:
    """What ckdmed deploy leaves, by its own classes."""
    from ckdmed.deploy import DeployOptions
    from ckdmed.deploy.deployment import Costs, Deployment, FormResult, ModelCost
    from ckdmed.deploy.table import write_documents
    from ckdmed.deploy.verdict import Changes

    folder.mkdir()
    names = [each.name for each in fields(Changes)]
    values = {"metric": "Dice", "worst_slice": MARKUP, "slices": 9}
    changes = Changes(**{name: values.get(name, 0.125) for name in names})
    student = ModelCost(2.5, {1: 12.25, 2: 7.5}, 11.0, None, 0.26, 99.0, 486_000, 2_500_000_000, 0.05)
    costs = Costs(
        {"onnx": ModelCost(2.0, {1: 6.0, 2: 3.0}), "student": student},
        {"processor": "a processor", "cores": 2, "load": 0.5, "versions": {"torch": "2"}},
    )
    forms = [
        FormResult("onnx", "a.onnx", True, [], replace(changes, worst_drop=0.0, worst_slice="slice 7")),
        FormResult("openvino-int8", "c.xml", True, [], changes, ["conv1", "conv2"]),
        FormResult("onnx-int8", "b.onnx", False, ["too much"]),
    ]
    write_documents(folder, Deployment("seg_kd", DeployOptions(), SEGMENTATION, forms, costs))
    return folder


def test_an_evaluation_of_volumes_counts_the_cases_of_a_patient(tmp_path):
    summary = write_training(tmp_path / "run") / "evaluation/summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "counted": "cases"}))
    assert cli.main(["report", str(tmp_path / "run")]) == 0
    text = (tmp_path / "run/report/report.md").read_text()
    assert "Per patient, worst first" in text and "slices |" not in text


def test_the_resource_figure_stands_with_the_run_and_by_itself(tmp_path):
    run = write_training(tmp_path / "run", evaluated=False)
    deployment(run / "deployed")
    # those of the training lie with it
    for name in ("sections.json", "model.inputs.json"):
        (run / "deployed" / name).write_text("{}")
    assert cli.main(["report", str(run)]) == 0
    assert cli.main(["report", str(run / "deployed"), "--out", str(tmp_path / "alone")]) == 0
    for text in (*written(run / "report"), *written(tmp_path / "alone")):
        assert "486 thousand" in text and "2.50" in text and "12.2" in text and "not measured" in text
        assert "passes" in text and "not written: too much" in text and "a processor, 2 cores" in text
        # as the command's own table has it; a slice that loses nothing is not the worst one
        assert "openvino-int8, 2 layers in float32" in text and "slice 7" not in text
        assert "<script>window" not in text
    (run / "deployed/deploy.json").write_text('{"costs": null, "forms": [{}]}')
    assert cli.main(["report", str(run), "--force"]) == 2


def test_several_trainings_show_their_spread_over_seeds(tmp_path):
    runs = [write_training(tmp_path / f"s{seed}", seed, best, evaluated=False) for seed, best in enumerate((0.7, 0.8))]
    other = write_training(tmp_path / "kd", 0, 0.6, evaluated=False, method="kd")
    assert cli.main(["report", *map(str, [*runs, other]), "--out", str(tmp_path / "all")]) == 0
    _, markdown = written(tmp_path / "all")
    spread = re.search(r"^\| method ckd +\| +2 \| +([^|]+?) \|$", markdown, flags=re.MULTILINE)
    assert spread is not None and spread[1] == mean_sd([0.7, 0.8])
    assert re.search(r"^\| method kd +\| +1 \| +0.6000 \|$", markdown, flags=re.MULTILINE)


def columns_of_the_compared(markdown: str) -> list[dict[str, str]]:
    """The rows of the table of several runs, by the names of its columns."""
    part = markdown[markdown.index("## The runs compared") :]
    head, _, *lines = [line for line in part.splitlines() if line.startswith("|")]
    names = [cell.strip() for cell in head.split("|")[1:-1]]
    rows = lines[: next(i for i, line in enumerate([*lines, "|     |"]) if line.startswith("|     |"))]
    return [dict(zip(names, (cell.strip() for cell in row.split("|")[1:-1]), strict=True)) for row in rows]


def evaluate_again(run: Path, name: str, dice: float, weights: str | None = None, **settings: object) -> None:
    """One more evaluation in a run's folder, whose name is before that of the first."""
    summary = json.loads((run / "evaluation/summary.json").read_text())
    summary["settings"] |= {"settings": settings, "checkpoint": "other/model.pt", "checkpoint_sha256": weights}
    summary["overall"]["dice"]["patient_mean"] = dice
    (run / name).mkdir()
    (run / name / "summary.json").write_text(json.dumps(summary))


def test_evaluations_of_other_conditions_or_weights_stand_apart(tmp_path):
    # of the teachers' sequences a student has some, and is evaluated on these
    given = {"dataset_dir": "data", "modalities": ["t1c", "t2f"]}
    runs = [write_training(tmp_path / f"s{seed}", seed, **given) for seed in range(2)]
    clean = []
    for run in runs:
        clean.append(json.loads((run / "evaluation/summary.json").read_text())["overall"]["dice"]["patient_mean"])
        evaluate_again(
            run,
            "a-noise",
            0.1,
            corruption="noise-5",
            tta=False,
            threshold=0.5,
            dataset_dir="/else/data",
            modalities=["t1c"],
        )
        evaluate_again(run, "a-other-data", 0.2, dataset_dir="/else/others", tta=True)
        evaluate_again(run, "a-other-weights", 0.3, weights="0" * 64)
    assert cli.main(["report", *map(str, runs), "--out", str(tmp_path / "all")]) == 0
    _, markdown = written(tmp_path / "all")
    (row,) = columns_of_the_compared(markdown)
    assert row["test: Dice"] == mean_sd(clean)
    assert row["test, corruption noise-5: Dice"] == mean_sd([0.1, 0.1])
    assert row["test, tta yes, data others: Dice"] == mean_sd([0.2, 0.2])
    assert not [name for name, cell in row.items() if cell.startswith("0.3000")]
    titles = [line for line in markdown.splitlines() if line.startswith("## s0: Results")]
    other = "other weights than the run's own (other/model.pt)"
    assert {title.partition("on the test set")[2] for title in titles} == {
        "",
        ", corruption noise-5",
        ", tta yes, data others",
        f", {other}",
    }


@pytest.mark.parametrize("recorded", [True, False])
def test_runs_on_other_data_have_no_common_mean(tmp_path, recorded):
    runs = []
    for seed, place in enumerate(("/a/data", "/b/data", "/b/data" if recorded else "/b/others")):
        runs.append(write_training(tmp_path / f"s{seed}", seed, evaluated=False, dataset_dir=place))
        patients = {"p1": {}, "p2" if seed < 2 else "p3": {}}
        if recorded:
            # which section a patient is in depends on the seed
            sections = {"train": {"patients": {name: own}} for name, own in patients.items()}
            (runs[-1] / "sections.json").write_text(
                json.dumps({"sections": {**sections, "test": {"patients": patients}}})
            )
    assert cli.main(["report", *map(str, runs), "--out", str(tmp_path / "all")]) == 0
    assert [row["runs"] for row in columns_of_the_compared(written(tmp_path / "all")[1])] == ["2", "1"]


def test_the_weights_of_a_run_are_those_of_its_own_folder_of_weights(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    run = write_training(tmp_path / "run", evaluated=False, ckpt_dir=str(elsewhere), output_dir=str(tmp_path / "run"))
    save_weights(elsewhere / "model.pt", {"a": torch.zeros(777)})
    # such as those of a training before
    assert (run / "models/model.pt").is_file()
    assert cli.main(["report", str(run)]) == 0
    assert re.search(r"^\| student +\| +777 \|", written(run / "report")[1], flags=re.MULTILINE)


def test_a_run_that_keeps_its_last_weights_is_not_given_the_score_of_its_best_epoch(tmp_path):
    # of the two epochs the first one scores 0.5
    run = write_training(tmp_path / "run", best=0.4, evaluated=False, train_on_validation=True)
    assert cli.main(["report", str(run)]) == 0
    _, markdown = written(run / "report")
    kept = "last validation: mean Dice, on patients that it learned from"
    assert re.search(rf"^\| {kept} +\| +0.4000 \(epoch 2 of 2\) \|$", markdown, flags=re.MULTILINE)
    assert "best" not in markdown.lower() and "0.5000" not in markdown


def test_a_comparison_shows_the_numbers_of_its_records(tmp_path):
    records = ROOT / "docs/records/unimodal"
    assert cli.main(["report", str(records), "--out", str(tmp_path / "out")]) == 0
    html, markdown = written(tmp_path / "out")
    arm = [r for r in read_experiment(records) if r.arm == "t1c-alone" and r.split["section"] == "test"]
    assert len(arm) == 3
    for text in (html, markdown):
        assert mean_sd([record.metrics["Dice"] for record in arm]) in text


def test_corruptions_scored_into_a_folder_with_the_name_of_an_experiment(tmp_path):
    lines = (ROOT / "docs/records/robustness-seg_kd.jsonl").read_text(encoding="utf-8").splitlines()
    command = ["ckdmed", "robustness", "seg_kd", "--output_dir", "compare"]
    records = [{**json.loads(line), "command": command, "data_sha256": ""} for line in lines]
    path = tmp_path / "records.jsonl"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    assert cli.main(["report", str(path), "--out", str(tmp_path / "out")]) == 0
    html, markdown = written(tmp_path / "out")
    assert "student, noise 3" in html
    # a folder of cases has no datalist either
    assert "SHA-256 of the datalist): no datalist." in markdown and "phantoms" not in markdown


@pytest.mark.parametrize("orientation", AFFINES)
def test_the_patients_right_is_on_the_left_where_R_stands(tmp_path, orientation):
    """A quarter turn without the affine mirrored a mask once: each orientation must give the same picture."""
    folder = write_inference(tmp_path / "run", AFFINES[orientation], (24, 20, 6))
    run = read_inference_run(folder)
    images = read_case_images(run.results[0], run.settings)
    assert images.edges == ("R", "L")
    viewer = slice_viewer(images)
    assert viewer.first in (3, 4) and viewer.size[0] in (20, 24)
    frame = np.array(Image.open(io.BytesIO(viewer.frames[viewer.first])))
    mask = np.array(Image.open(io.BytesIO(viewer.masks[viewer.first])).convert("RGBA"))[..., 3] > 0
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    # 3 mm towards the patient's right and front: left of the middle and above it
    assert columns.mean() < width / 2 - 2 and rows.mean() < height / 2 - 2
    assert frame[mask].mean() > frame[~mask].mean() + 100


def test_no_side_is_told_of_a_file_that_tells_none(tmp_path):
    folder = write_inference(tmp_path / "run", AFFINES["RAS"], (24, 20, 6))
    image = nib.load(read_inference_run(folder).results[0].inputs[0])
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), image.get_filename())
    run = read_inference_run(folder)
    assert read_case_images(run.results[0], run.settings).edges is None
    assert cli.main(["report", str(folder), "--out", str(tmp_path / "out")]) == 0
    (page,) = (tmp_path / "out/cases").glob("*.html")
    html = page.read_text(encoding="utf-8")
    assert "The file does not state which side of the patient is which, or which way is up. A pixel is" in html
    assert 'class="edge' not in html


def test_a_case_of_one_file_shows_the_modality_that_its_overlay_has(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    images = np.random.default_rng(0).integers(1, 9, (9, 8, 7, 4)).astype(np.int16)
    mask = np.zeros((9, 8, 7), np.uint8)
    mask[2:5, 3:6, 4] = 3
    nib.save(nib.Nifti1Image(images, np.eye(4)), tmp_path / "one.nii.gz")
    nib.save(nib.Nifti1Image(mask, np.eye(4)), folder / "one_seg.nii.gz")
    result = {"name": "one", "input": [str(tmp_path / "one.nii.gz")], "outputs": ["one_seg.nii.gz"]}
    # the network's order, and the file's
    settings = {"modalities": ["t1n", "t1c", "t2w", "t2f"]}
    report = {"settings": settings, "results": [{**result, "modalities": ["t2f", "t1n", "t1c", "t2w"]}, result]}
    (folder / "report.json").write_text(json.dumps(report))
    run = read_inference_run(folder)
    found, unknown = (read_case_images(one, run.settings) for one in run.results)
    assert found.modality == "t2f" and np.array_equal(found.geometry.to_array(found.slices), images[..., 0])
    # an earlier version did not note the file's
    assert unknown.modality == ""
    of_t1c = read_case_images(run.results[0], {"modalities": ["t1c"]})
    assert of_t1c.modality == "t1c" and np.array_equal(of_t1c.geometry.to_array(of_t1c.slices), images[..., 2])
    assert np.array_equal(found.geometry.to_array(found.regions["ET"]), mask == 3)


@pytest.mark.parametrize("modalities", [["t1c"], ["t1c", "t2f"]])
def test_a_class_stands_below_the_slice_that_it_was_predicted_of(tmp_path, modalities):
    """Slices of a case are axial, whichever way the file was taken; these are thick sagittal ones."""
    affine = np.array([[0.0, 0, 4, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    volume = np.zeros((20, 12, 6), np.int16)
    volume[:, 7, :] = np.random.default_rng(0).integers(50, 200, (20, 6))
    files = []
    for name in modalities:
        files.append(str(tmp_path / f"one_{name}.nii.gz"))
        nib.save(nib.Nifti1Image(volume, affine), files[-1])
    folder = tmp_path / "run"
    folder.mkdir()
    # only slices with brain have a class
    slices = CaseSlicesd("image")({"image": MetaTensor(torch.from_numpy(volume)[None].float(), affine=affine)})[
        "slices"
    ]
    ProbabilityWriter(str(folder), ["low", "high"]).write("one", torch.tensor([[0.9, 0.1]]), torch.as_tensor(slices))
    report = {
        "settings": {"task": "tumour_type", "modalities": modalities, "slice_axis": -1},
        "results": [{"name": "one", "input": files, "outputs": ["one_probabilities.csv"]}],
    }
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "results.jsonl").write_text("")
    assert cli.main(["report", str(folder)]) == 0
    shown = json.loads(slices_of((folder / "report/cases/one.html").read_text(encoding="utf-8")))
    bright = [np.array(Image.open(io.BytesIO(base64.b64decode(frame)))).max() > 100 for frame in shown["frames"]]
    assert bright == ["predicted low" in caption for caption in shown["captions"]] == [n == 7 for n in range(12)]


def test_an_inference_has_a_page_for_each_case(tmp_path):
    folder = write_inference(tmp_path / "run", RAS)
    assert cli.main(["report", str(folder)]) == 0
    html, markdown = written(folder / "report")
    case = (folder / "report/cases/one.html").read_text(encoding="utf-8")
    # 2 x 2 x 2 voxels of 4 mm3
    for text in (html, markdown, case):
        assert "0.03 ml" in text
    assert 'href="cases/one.html"' in html and 'href="../index.html"' in case
    assert "the network was trained or chosen on this patient" in html and "was trained or chosen on this" in case
    assert MARKUP not in html and "&lt;script&gt;window.hacked" in html
    assert case.count('src="data:image/jpeg') == 1 and len(json.loads(slices_of(case))["frames"]) == 6


def test_a_case_of_the_test_set_is_no_case_that_the_network_learnt_from(tmp_path):
    folder = write_inference(tmp_path / "run", RAS)
    report = json.loads((folder / "report.json").read_text())
    report["results"][0]["known_from"] = ["test"]
    (folder / "report.json").write_text(json.dumps(report))
    assert cli.main(["report", str(folder)]) == 0
    html, _ = written(folder / "report")
    case = (folder / "report/cases/one.html").read_text(encoding="utf-8")
    assert "of the training&#39;s test set" in html
    for text in (html, case):
        assert "trained or chosen on" not in text


@pytest.mark.parametrize("name", ["P1.2", "1.2.840/P1", "P1/P1.v2_mask.3"])
@pytest.mark.parametrize("region", ["", "core"])
def test_a_mask_is_found_whatever_dots_and_folders_the_name_of_its_input_has(tmp_path, name, region):
    folder = write_inference(tmp_path / "run", RAS)
    report = json.loads((folder / "report.json").read_text())
    mask = folder / f"{name}{f'_{region}' if region else ''}_mask.nii.gz"
    mask.parent.mkdir(parents=True, exist_ok=True)
    (folder / "one_mask.nii.gz").rename(mask)
    report["results"][0] |= {"name": name, "outputs": [mask.relative_to(folder).as_posix()]}
    (folder / "report.json").write_text(json.dumps(report))
    run = read_inference_run(folder)
    found = read_case_images(run.results[0], run.settings)
    assert {name: int(mask.sum()) for name, mask in found.regions.items()} == {region or "tumour": 8}


def test_a_case_whose_input_is_gone_still_has_its_page(tmp_path):
    folder = write_inference(tmp_path / "run", RAS)
    (tmp_path / "inputs/one.nii.gz").unlink()
    assert cli.main(["report", str(folder)]) == 0
    case = (folder / "report/cases/one.html").read_text(encoding="utf-8")
    assert "The slices cannot be shown" in case and "no longer there" in case


@pytest.mark.parametrize("gone", ["input", "mask"])
def test_what_cannot_be_shown_is_not_called_nothing_found(tmp_path, gone):
    folder = write_inference(tmp_path / "run", RAS)
    report = json.loads((folder / "report.json").read_text())
    del report["results"][0]["known_from"]
    (folder / "report.json").write_text(json.dumps(report))
    ((folder / "one_mask.nii.gz") if gone == "mask" else (tmp_path / "inputs/one.nii.gz")).unlink()
    assert cli.main(["report", str(folder)]) == 0
    said = {"input": "its slices cannot be shown", "mask": "1 of its files are no longer there"}[gone]
    for text in written(folder / "report"):
        assert said in text and "nothing found" not in text


def test_a_mask_of_another_size_is_not_drawn_over_the_image(tmp_path):
    folder = write_inference(tmp_path / "run", RAS)
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.uint8), RAS), folder / "one_mask.nii.gz")
    assert cli.main(["report", str(folder)]) == 0
    assert "has shape (3, 3, 3), its image (20, 24, 6)" in (folder / "report/cases/one.html").read_text(
        encoding="utf-8"
    )


def test_a_report_json_cannot_name_files_outside_of_its_folder(tmp_path, capsys):
    folder = write_inference(tmp_path / "run", RAS)
    report = json.loads((folder / "report.json").read_text())
    report["results"][0]["outputs"] = ["../inputs/one.nii.gz"]
    (folder / "report.json").write_text(json.dumps(report))
    assert cli.main(["report", str(folder)]) == 2
    assert "is not inside the output folder" in capsys.readouterr().err
    assert not (folder / "report").exists()


def test_an_inference_that_was_broken_off_is_no_training(tmp_path, capsys):
    folder = write_inference(tmp_path / "run", AFFINES["RAS"], (24, 20, 6))
    (folder / "results.jsonl").touch()
    (folder / "report.json").unlink()
    (folder / "settings.json").write_text(json.dumps({"command": ["ckdmed"], "settings": {}, "versions": {}}))
    assert cli.main(["report", str(folder)]) == 2
    assert "run: an unfinished inference" in capsys.readouterr().err and not (folder / "report").exists()


def test_counts_that_are_none_are_named_with_their_file(tmp_path, capsys):
    folder = write_inference(tmp_path / "run", AFFINES["RAS"], (24, 20, 6))
    report = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps({**report, "counts": "many"}))
    assert cli.main(["report", str(folder)]) == 2
    assert "report.json: its counts are not an object, got 'many'" in capsys.readouterr().err


def test_what_is_no_run_is_refused_with_what_was_looked_for(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert cli.main(["report", str(tmp_path / "empty")]) == 2
    assert "holds no run" in capsys.readouterr().err
    assert cli.main(["report", str(tmp_path / "absent")]) == 2
    assert "there is no such run" in capsys.readouterr().err
    # of a dataset, or a run's models
    (tmp_path / "data").mkdir()
    (tmp_path / "data/datalist.json").write_text('{"training": []}')
    assert cli.main(["report", str(tmp_path / "data")]) == 2
    assert f"{tmp_path / 'data'} is not an output folder of a training, an evaluation, " in capsys.readouterr().err


def test_of_weights_alone_it_is_told_how_to_get_a_report(tmp_path, capsys):
    """Of a pruned network the message was that its record is not one of an experiment."""
    models = tmp_path / "run" / "models"
    models.mkdir(parents=True)
    (models / "model.json").write_text('{"command": [], "settings": {}, "pruned": {}}')
    assert cli.main(["report", str(models)]) == 2
    assert (
        f"Evaluate it first (ckdmed run BUNDLE evaluate --checkpoint {models / 'model.pt'}" in capsys.readouterr().err
    )
    (tmp_path / "run" / "settings.json").write_text("{}")
    assert cli.main(["report", str(models)]) == 2
    assert f"give the run's folder, {tmp_path / 'run'}." in capsys.readouterr().err


def test_nothing_but_an_earlier_report_is_replaced(tmp_path, capsys):
    run = write_training(tmp_path / "run", evaluated=False)
    arguments = ["report", str(run), "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == 0
    assert cli.main(arguments) == 2
    assert "replace it with --force" in capsys.readouterr().err
    assert cli.main([*arguments, "--force", "--title", "again"]) == 0
    assert "<h1>again</h1>" in written(tmp_path / "out")[0]
    (tmp_path / "out/mine.txt").write_text("mine")
    assert cli.main([*arguments, "--force"]) == 2
    assert "mine.txt, which no report wrote" in capsys.readouterr().err
    assert "<h1>again</h1>" in written(tmp_path / "out")[0]


def test_equal_runs_give_equal_pages(tmp_path):
    folder = write_inference(tmp_path / "run", RAS)
    for name in ("a", "b"):
        assert cli.main(["report", str(folder), "--out", str(tmp_path / name)]) == 0
    assert written(tmp_path / "a") == written(tmp_path / "b")
    assert (tmp_path / "a/cases/one.html").read_bytes() == (tmp_path / "b/cases/one.html").read_bytes()


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> list[Path]:
    """The first pages of a training and a comparison, and those of an inference, with NiiVue where it is at hand."""
    folder = tmp_path_factory.mktemp("pages")
    run = write_training(folder / "run", note=MARKUP)
    inference = write_inference(folder / "inference", RAS, (60, 60, 12))
    given = os.environ.get("CKDMED_NIIVUE")
    for source, more in ((run, []), (inference, ["--niivue", given] if given else [])):
        assert cli.main(["report", str(source), "--title", MARKUP, *more]) == 0
    assert cli.main(["report", str(ROOT / "docs/records/compare"), "--out", str(folder / "comparison")]) == 0
    return [
        run / "report/index.html",
        folder / "comparison/index.html",
        inference / "report/index.html",
        inference / "report/cases/one.html",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_pages_fit_the_screen_and_load_nothing(browser, pages, tmp_path, width, dark):
    for page in pages:
        browser.open(page, width, dark)
        needed, there = browser.evaluate("['scrollWidth', 'clientWidth'].map(w => document.documentElement[w])")
        # a page that is too wide moves sideways on a phone
        assert needed <= there <= width, page
        assert [address for address in browser.requests if not address.startswith(("data:", "blob:"))] == [
            page.as_uri()
        ]
        assert [text for text in browser.messages if not text.startswith("niivue-warn")] == []
        assert browser.evaluate("window.hacked") is None
        picture = np.array(Image.open(browser.picture(tmp_path / "page.png", 900)).convert("L"))
        # the ground is dark or light, and something stands on it
        assert (picture[0, 0] < 60) == dark and picture.std() > 5


@pytest.mark.slow
def test_the_slider_moves_through_the_slices(browser, pages):
    browser.open(pages[-1], 375)
    shown = "[document.getElementById('slice-image').src.length, document.getElementById('slice-caption').textContent]"
    first = browser.evaluate(shown)
    move = "const s = document.getElementById('slice-number'); s.value = 0; s.dispatchEvent(new Event('input'))"
    browser.evaluate(f"(() => {{ {move} }})()")
    assert browser.evaluate(shown) != first and browser.evaluate(shown)[1].startswith("slice 0 of 12")
    assert browser.evaluate("document.getElementById('slice-mask').hasAttribute('src')") is False


@pytest.mark.slow
def test_a_click_sorts_a_table(browser, pages):
    browser.open(pages[1], 1280)
    rows = "[...document.querySelectorAll('table')[0].tBodies[0].rows].map(r => parseFloat(r.cells[2].textContent))"
    browser.evaluate("document.querySelectorAll('table')[0].querySelectorAll('thead button')[2].click()")
    values = browser.evaluate(rows)
    assert values == sorted(values) and len(set(values)) > 3


def test_a_record_whose_method_options_are_no_object_is_named(tmp_path, capsys):
    run = write_training(tmp_path / "run")
    record = json.loads((run / "settings.json").read_text())
    (run / "settings.json").write_text(json.dumps({**record, "method_options": 3}))
    assert cli.main(["report", str(run)]) == 2
    assert f"{run / 'settings.json'}: is damaged (method_options are not an object)" in capsys.readouterr().err
