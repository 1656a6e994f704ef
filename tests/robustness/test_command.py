"""`ckdmed robustness` on phantoms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from ckdmed.bundle.errors import root_cause
from ckdmed.bundle.workflow import bundle_parser
from ckdmed.cli import main
from ckdmed.data.phantoms import write_brats_phantoms
from ckdmed.files import write_json
from ckdmed.handlers import SegmentationEvaluation
from ckdmed.labels import SLICE_CATEGORIES
from ckdmed.reports import RunRecord
from ckdmed.robustness import RobustnessEvaluation
from ckdmed.transforms.corruption import CORRUPTIONS
from tests.bundle import brats_runs, cls_runs, seg_kd_runs, test_brats_unimodal
from tests.bundle.bundle_runs import BUNDLES, completed, opened, record

pytestmark = [pytest.mark.bundle, pytest.mark.usefixtures("process_as_it_was")]


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the segmentation bundle with its teacher, on phantoms."""
    folder = tmp_path_factory.mktemp("run")
    seg_kd_runs.run(folder, method="kd", phantom_patients=8)
    return folder


def words(run: Path, output: Path, *more: str) -> list[str]:
    given = ["robustness", str(run), "--dataset_dir", str(run / "phantoms"), "--output_dir", str(output)]
    return [*given, "--set", "device=$torch.device('cpu')", "--quiet", *more]


def records(output: Path) -> dict[str, dict[str, Any]]:
    return {
        path.relative_to(output / "records").with_suffix("").as_posix(): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((output / "records").rglob("*.json"))
    }


@pytest.mark.slow
def test_student_and_teacher_stopped_and_gone_on_with(
    distilled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "out"
    given = words(distilled, output, "--teacher_checkpoint", str(distilled / "teacher/teacher.pt"))
    given += ["--corruptions", "noise-3", "missing_field-3"]
    assert main([*given, "--dry-run"]) == 0 and not output.exists()
    assert capsys.readouterr().out.split("\n")[0].strip() == "validation: student, clean"

    # the third evaluation is broken off
    finish, ended = SegmentationEvaluation._finish, list[str]()

    def noted(self: SegmentationEvaluation, engine: Any) -> None:
        if len(ended) == 2:
            raise KeyboardInterrupt
        finish(self, engine)
        ended.append(self.output_dir)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationEvaluation, "_finish", noted)
        assert main(given) == 130
    assert list(records(output)) == ["validation/student-clean", "validation/teacher-clean"]
    assert not (output / "robustness.md").exists()
    before = {path: path.read_bytes() for path in (output / "records").rglob("*.json")}
    assert main(given) == 0
    assert all(path.read_bytes() == content for path, content in before.items())
    found = records(output)
    assert list(found) == [
        f"validation/{network}-{point}"
        for network in ("student", "teacher")
        for point in ("clean", "missing_field-3", "noise-3")
    ]
    student = found["validation/student-noise-3"]
    assert (
        student["settings"]["severity_value"] == CORRUPTIONS["noise"][2] and student["settings"]["bundle"] == "seg_kd"
    )
    assert found["validation/teacher-noise-3"]["settings"]["bundle"] == "seg_teacher"
    assert student["patients"]["Dice per patient"].keys() == (
        found["validation/teacher-clean"]["patients"]["Dice per patient"].keys()
    )
    text = (output / "robustness.md").read_text(encoding="utf-8")
    assert "Student (`seg_kd`)" in text and "Teacher (`seg_teacher`)" in text
    assert (output / "robustness.png").is_file()
    assert len((output / "robustness.jsonl").read_text(encoding="utf-8").splitlines()) == 6
    # what was shown while it was evaluated is kept beside the evaluation
    assert "evaluation of" in (output / "evaluations/validation/student-clean/log.txt").read_text(encoding="utf-8")

    # nothing is evaluated again, and what was made otherwise is not mixed with it
    monkeypatch.setattr(RobustnessEvaluation, "_score", lambda *given: pytest.fail("evaluated again"))
    assert main(given) == 0
    capsys.readouterr()
    assert main([*given, "--set", "threshold=0.2"]) == 2
    assert "made with other settings (threshold None then and 0.2 now)" in capsys.readouterr().err
    assert main(["report", str(output), "--output_dir", str(tmp_path / "page")]) == 0
    assert "student, noise 3" in (tmp_path / "page/index.html").read_text(encoding="utf-8")


def test_an_experiments_folder_is_none_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    split = {"section": "validation"}
    made = RunRecord("kd-seed=0", "kd", ["x"], 0, split, {"Dice": 0.5}, settings={"method": "kd"})
    made.write(tmp_path / "records/validation/kd-seed=0.json")
    before = sorted(tmp_path.rglob("*"))
    # before the checkpoint, which is not there, is looked for
    assert main(["robustness", "seg_kd", "--checkpoint", "none.pt", "--output_dir", str(tmp_path)]) == 2
    assert "kd-seed=0 is not a record of `ckdmed robustness`" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_the_scores_are_those_of_the_evaluation_itself(distilled: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert main(words(distilled, output, "--corruptions", "missing_field-3", "--final")) == 0
    found = records(output)
    assert list(found) == [f"{s}/student-{p}" for s in ("test", "validation") for p in ("clean", "missing_field-3")]
    arguments = [
        "run",
        "seg_kd",
        "evaluate",
        "--output_dir",
        str(distilled),
        "--dataset_dir",
        str(distilled / "phantoms"),
    ]
    arguments += ["--evaluation_dir", str(tmp_path / "own"), "--corruption", "missing_field-3"]
    assert main([*arguments, "--device", "$torch.device('cpu')"]) == 0
    own = json.loads((tmp_path / "own/summary.json").read_text(encoding="utf-8"))
    score = found["test/student-missing_field-3"]["metrics"]["Dice per patient"]
    assert score == own["overall"]["dice"]["patient_mean"]
    # fewer images, one of each patient
    few = tmp_path / "few"
    assert main(words(distilled, few, "--corruptions", "noise-1", "--images", "1")) == 0
    assert all(record["settings"]["images"] == 1 for record in records(few).values())


@pytest.mark.slow
def test_patients_of_the_training_are_not_scored(
    distilled: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    split = json.loads((distilled / "sections.json").read_text(encoding="utf-8"))["sections"]
    groups = {name: sorted(part["patients"]) for name, part in split.items()}
    # weights as they ship, with the split in their own record
    content = json.loads((distilled / "models/model.json").read_text(encoding="utf-8"))
    shipped = {"runs": [content], "split": {"patient_groups": groups, "trained_on": ["train", "validation"]}}
    weights = tmp_path / "models" / "model.pt"
    weights.parent.mkdir()
    weights.write_bytes((distilled / "models/model.pt").read_bytes())
    write_json(weights.with_suffix(".json"), shipped)
    given = words(distilled, tmp_path / "out", "--checkpoint", str(weights))
    assert main(given) == 2 and not (tmp_path / "out").exists()
    error = capsys.readouterr().err
    assert (
        f"was trained on {len(groups['validation'])} of the {len(groups['validation'])} patients of the section"
        in error
    )
    assert "--section test --final" in error
    # another split than the student's
    split["validation"], split["test"] = split["test"], split["validation"]
    other = tmp_path / "other" / "models"
    other.mkdir(parents=True)
    for file in ("teacher.pt", "teacher.json"):
        if (distilled / "teacher" / file).is_file():
            (other / file).write_bytes((distilled / "teacher" / file).read_bytes())
    record = json.loads((distilled / "sections.json").read_text(encoding="utf-8"))
    write_json(other / "sections.json", {**record, "sections": split})
    (other / "settings.json").write_bytes((distilled / "settings.json").read_bytes())
    assert main(words(distilled, tmp_path / "out", "--teacher_checkpoint", str(other / "teacher.pt"))) == 2
    assert "they were trained on different splits" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_classifier(tmp_path: Path) -> None:
    run = tmp_path / "run"
    completed(opened("cls_kd", **cls_runs.TINY, teacher_epochs=1, student_kind="plain_cnn", output_dir=str(run)))
    output = tmp_path / "out"
    teacher = run / "teacher/teacher.pt"
    assert main(words(run, output, "--corruptions", "noise-3", "--teacher_checkpoint", str(teacher))) == 0
    found = records(output)
    assert list(found) == [f"validation/{n}-{p}" for n in ("student", "teacher") for p in ("clean", "noise-3")]
    own = found["validation/student-clean"]
    summary = json.loads((output / "evaluations/validation/student-clean/summary.json").read_text(encoding="utf-8"))
    assert own["metrics"]["accuracy per slice"] == summary["slices"]["accuracy"]
    patients = own["patients"]["right slices per patient"]
    assert own["metrics"]["right slices per patient"] == pytest.approx(sum(patients.values()) / len(patients))
    assert set(patients.values()) <= {k / n for n in range(1, 7) for k in range(n + 1)}


@pytest.mark.slow
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_brats_cases(spatial_dims: int, tmp_path: Path) -> None:
    weights = brats_runs.write_checkpoint(tmp_path / "run/models/model.pt", spatial_dims=spatial_dims)
    teacher = brats_runs.write_checkpoint(
        tmp_path / "teacher/models/model.pt", "brats_seg_teacher", spatial_dims=spatial_dims
    )
    given = ["robustness", "brats_seg_kd", "--checkpoint", weights, "--teacher_checkpoint", teacher, "--quiet"]
    given += ["--output_dir", str(tmp_path / "out"), "--corruptions", "bias_field-3", "low_resolution-3"]
    given += ["--set", "phantom_cases=6", "device=$torch.device('cpu')", "--images", "1"]
    assert main(given) == 0
    found = records(tmp_path / "out")
    assert len(found) == 6
    metrics = found["validation/teacher-bias_field-3"]["metrics"]
    assert {"Dice per patient", "Dice WT", "lesion-wise Dice", "HD95 [mm]"} <= set(metrics)


@pytest.mark.slow
def test_a_student_of_one_sequence_beside_one_of_its_teachers(tmp_path: Path) -> None:
    data = tmp_path / "cases"
    write_brats_phantoms(data, 6, (24, 24, 16), time_points=(1, 1), progress=False)
    test_brats_unimodal.run(tmp_path / "run", data, epochs=1)
    teacher = tmp_path / "run/teachers/t1n+t1c+t2w+t2f/teacher.pt"
    given = ["robustness", str(tmp_path / "run"), "--dataset_dir", str(data), "--teacher_checkpoint", str(teacher)]
    given += ["--output_dir", str(tmp_path / "out"), "--corruptions", "noise-3", "--quiet"]
    assert main([*given, "--set", "device=$torch.device('cpu')"]) == 0
    bundles = {name: record["settings"]["bundle"] for name, record in records(tmp_path / "out").items()}
    assert bundles["validation/student-noise-3"] == "brats_unimodal_kd"
    assert bundles["validation/teacher-noise-3"] == "brats_seg_teacher"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--corruptions", "nois"], f"a corruption must be a kind ({', '.join(CORRUPTIONS)})"),
        (["--section", "test"], "confirm with --final"),
        (["--images", "0"], "--images must be at least 1, got 0"),
        (["--set", "treshold=0.4"], "did you mean 'threshold'?"),
        (["--set", "threshold=7"], "threshold"),
        (["--set", "section=test"], "the command sets section itself"),
        (["--dataset_dir", "nowhere"], "nowhere: there is no such data"),
        (["--checkpoint", "nothing.pt"], "there are no weights nothing.pt"),
    ],
)
def test_refusals_before_anything_is_written(
    more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["robustness", "seg_kd", "--output_dir", str(tmp_path / "out"), *more]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("bundle", ["cls_kd", "cls_teacher"])
def test_slices_of_cases_are_refused_before_anything_is_written(
    bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    sizes = {"image_size": 32, **cls_runs.TEACHER, "vit_patch": 8, "student_kind": "plain_cnn"}
    of_cases = {"task": "brats_slice", "class_names": list(SLICE_CATEGORIES), "scaling": "volume"}
    known = ConfigParser.load_config_file(str(BUNDLES / bundle / "train.json"))
    settings = {name: value for name, value in {**sizes, **of_cases}.items() if name in known}
    weights = tmp_path / "model.pt"
    network = bundle_parser(BUNDLES / bundle, settings).get_parsed_content("network_def")
    torch.save(network.state_dict(), weights)
    record(weights, bundle, **settings)
    words = ["robustness", bundle, "--checkpoint", str(weights), "--output_dir", str(tmp_path / "out")]
    for more in ([], ["--dry-run"]):
        assert main([*words, *more]) == 2 and not (tmp_path / "out").exists()
        assert "task brats_slice: corruption low_resolution-1 cannot be made" in capsys.readouterr().err
    with pytest.raises(RuntimeError) as caught:
        files = ("train.json", "evaluate.json")
        opened(bundle, *files, checkpoint=str(weights), output_dir=str(tmp_path / "out"), corruption="noise-3")
    assert "task brats_slice: corruption noise-3 cannot be made" in str(root_cause(caught.value))
    assert not (tmp_path / "out").exists()


def test_weights_without_a_record(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    given = ["robustness", "seg_kd", "--checkpoint", str(tmp_path / "model.pt"), "--output_dir", str(tmp_path / "out")]
    assert main(given) == 2 and not (tmp_path / "out").exists()
    error = capsys.readouterr().err
    assert "has no record of what it was trained with, so its network and the images" in error
    assert "beside it as model.json" in error and "deploy" not in error


def test_files_of_others_stay(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "robustness.md").write_text("mine", encoding="utf-8")
    assert main(["robustness", "seg_kd", "--output_dir", str(tmp_path)]) == 2
    assert "robustness.md already exists" in capsys.readouterr().err
    assert main(["robustness", "seg_kd", "--output_dir", str(tmp_path / "none"), "--table-only"]) == 2
    assert "holds no records" in capsys.readouterr().err and not (tmp_path / "none").exists()
