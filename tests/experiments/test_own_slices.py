from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave

from ckdmed.cli import main
from ckdmed.experiments.distilling import ALONE
from ckdmed.experiments.records import read_experiment
from tests.experiments.trainers import made


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve patients' pictures with a datalist of the user's own; three have no mask, others no class."""
    folder = tmp_path_factory.mktemp("own")
    numbers = np.random.default_rng(0)
    items = []
    for patient in range(12):
        image, mask = numbers.integers(0, 80, (32, 32)).astype(np.uint8), np.zeros((32, 32), np.uint8)
        mask[8 + patient : 16 + patient, 8:16] = 255
        image[mask > 0] += 120
        for name, picture in (("image", image), ("mask", mask)):
            imsave(folder / f"{name}{patient}.png", picture, check_contrast=False)
        item = {"image": f"image{patient}.png", "patient": str(patient)}
        item |= {"label": f"mask{patient}.png"} if patient > 2 else {}
        items.append(item | ({"class": patient % 2} if patient < 10 else {}))
    (folder / "datalist.json").write_text(json.dumps({"training": items}))
    listed = {"training": items[:8], "validation": items[8:10], "test": items[10:]}
    (folder / "listed.json").write_text(json.dumps(listed))
    return folder


@pytest.mark.parametrize("task", ["segmentation", "classification"])
@pytest.mark.parametrize("name", ["", "datalist.json"])
def test_methods_are_compared_on_a_datalist_or_its_folder(
    task: str, name: str, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """The form of the Figshare command was asked for, and beside a file another one was looked for."""
    words = ["--task", task, "--dataset_dir", str(own / name), "--output_dir", str(tmp_path / "o"), "--arms", "kd"]
    words += ["--profile", "tiny", "--seeds", "0", "--dry-run"]
    given = ["--set", "class_names=['a', 'b']"] if task == "classification" else []
    assert main(["experiment", "methods", *words, *given]) == 0
    assert capsys.readouterr().out.split() == ["supervised-seed=0", "teacher-seed=0", "kd-seed=0"]
    assert not (tmp_path / "o").exists()


def test_the_seed_that_draws_the_sections_is_recorded(own: Path, tmp_path: Path):
    for name, seed in (("datalist.json", 3), ("listed.json", None)):
        comparison, _ = made("methods", tmp_path, own / name, "--seeds", "0", "--arms", "kd", "--set", "split_seed=3")
        assert comparison.split["datalist_seed"] == seed
        sections = {part: {item["patient"] for item in comparison.datalist[part]} for part in ("training", "test")}
        assert not sections["training"] & sections["test"] and {"0", "1", "2"} <= sections["training"]
    # where the seed draws the sections it stays, and the runs have one split
    words = ["--seeds", "0", "--label_fractions", "1", "--set", "split_seed=3"]
    comparison, runs = made("compare", tmp_path, own, *words, "--arms", "teacher", "alone", "ckd")
    assert {comparison.settings_of(run)["split_seed"] for run in comparison.possible(runs)} == {3}


@pytest.mark.parametrize(("task", "unlabelled"), [("segmentation", 3), ("classification", 2)])
def test_the_student_alone_has_as_many_steps_on_its_labelled_images(
    task: str, unlabelled: int, own: Path, tmp_path: Path
):
    words = ["--task", task, "--seeds", "0", "--arms", "kd", "--set", "epochs=5", "split_seed=0"]
    comparison, runs = made("methods", tmp_path, own, *words)
    given = {run.arm.name: comparison.settings_of(run) for run in runs}
    images = len(comparison.datalist["training"])
    assert given["kd"]["epochs"] == 5
    assert given[ALONE]["epochs"] == round(5 * images / (images - unlabelled))


def test_what_is_no_datalist_is_told(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["--profile", "tiny", "--output_dir", str(tmp_path / "o"), "--arms", "kd", "--dataset_dir"]
    assert main(["experiment", "methods", *words, str(own / "image0.png")]) == 2
    assert "image0.png: neither a folder nor a datalist (.json)" in capsys.readouterr().err
    for more in ([], ["--dry-run"]):
        assert main(["experiment", "methods", *words, str(own / "none.json"), *more]) == 2
        assert f"there is no file or folder '{own / 'none.json'}'" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("name", ["methods", "table1"])
def test_patients_of_several_classes_are_refused_before_anything_is_trained(
    name: str, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """The first training ended with an error when it came to be scored."""
    items = json.loads((own / "datalist.json").read_text())["training"]
    mixed = [{**item, "patient": str(int(item["patient"]) // 2)} for item in items]
    (own / "mixed.json").write_text(json.dumps({"training": mixed}))
    words = [*(["--task", "classification"] if name == "methods" else []), "--output_dir", str(tmp_path / "o")]
    words += ["--dataset_dir", str(own / "mixed.json"), "--profile", "tiny", "--set", "class_names=['a', 'b']"]
    assert main(["experiment", name, *words]) == 2
    assert "slices of 5 patients have several classes (0, 1, 2, 3, 4)" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_a_whole_comparison(task: str, own: Path, tmp_path: Path):
    words = ["--task", task, "--dataset_dir", str(own / "datalist.json"), "--output_dir", str(tmp_path / "o")]
    words += ["--profile", "tiny", "--arms", "kd", "--seeds", "0", "--set", "epochs=1", "teacher_epochs=1"]
    assert main(["experiment", "methods", *words, *(["class_names=['a', 'b']"] if task != "segmentation" else [])]) == 0
    records = read_experiment(tmp_path / "o" / "records")
    assert sorted(record.arm for record in records) == ["kd", "supervised", "teacher"]
    assert all(record.split["datalist_seed"] == 0 and record.patients for record in records)
