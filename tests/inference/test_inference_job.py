"""The account of an inference: what is skipped, what is kept, and how the run ends."""

from __future__ import annotations

import csv
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged
from skimage.io import imsave

from ckdmed.bundle.errors import RefusedStart
from ckdmed.bundle.load_weights import load_checkpoint
from ckdmed.data.slice_reader import SliceReader
from ckdmed.inference import InferenceJob, InputsSkipped
from ckdmed.inference.ledger import add_checksums
from ckdmed.networks import UNet


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for number, name in enumerate(("1.png", "2.png", "sub/1.png")):
        imsave(folder / name, np.eye(4, dtype=np.uint8) * (100 + number), check_contrast=False)
    (folder / "3.png").write_bytes(b"a text file")
    return folder


def job(inputs: Path, **settings) -> InferenceJob:
    checkpoint = inputs.parent / "model.pt"
    if not checkpoint.exists():
        checkpoint.write_bytes(b"weights")
    fixed = {"output_dir": str(inputs.parent / "out"), "reader": SliceReader(), "checkpoint": str(checkpoint)}
    return InferenceJob(str(inputs), **{**fixed, "settings": {"a": 1}, **settings})


def put_answer(path: Path) -> None:
    path.write_text(path.name)


def put_mask(path: Path, value: int = 1) -> None:
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), value, np.uint8), np.eye(4)), path)


def put_picture(path: Path, value: int = 0) -> None:
    imsave(path, np.full((9, 9), value, np.uint8), check_contrast=False)


def work(
    job: InferenceJob, most: int = 9, ending: str = "answer.txt", put: Callable[[Path], None] = put_answer
) -> list[str]:
    """Finish up to `most` inputs, as a task would that writes one file for each; returns their names."""
    done = [item["name"] for item in job.data[:most]]
    for name in done:
        file = f"{name}_{ending}"
        (job.output_dir / file).parent.mkdir(parents=True, exist_ok=True)
        put(job.output_dir / file)
        job.record(name, [file])
    return done


def test_the_result_of_a_link_that_leads_elsewhere_now_is_not_kept(inputs: Path, tmp_path: Path) -> None:
    one, two = inputs / "1.png", inputs / "2.png"
    assert one.stat().st_size == two.stat().st_size
    for path in (one, two):
        # as an archive leaves them
        os.utime(path, ns=(5, 5))
    (tmp_path / "links").mkdir()
    link = tmp_path / "links/image.png"
    link.symlink_to(one)
    assert work(job(link.parent, output_dir=str(tmp_path / "out"))) == ["image"]
    assert work(job(link.parent, output_dir=str(tmp_path / "out"), resume=True)) == []
    link.unlink()
    link.symlink_to(two)
    assert work(job(link.parent, output_dir=str(tmp_path / "out"), resume=True)) == ["image"]


def test_a_mask_that_somebody_corrected_is_not_made_again(inputs: Path) -> None:
    masks: Any = {"ending": "mask.nii.gz", "put": put_mask}
    assert work(job(inputs), **masks) == ["1", "2", "sub/1"]
    corrected, damaged = (inputs.parent / f"out/{name}_mask.nii.gz" for name in ("1", "2"))
    put_mask(corrected, 0)
    damaged.write_bytes(damaged.read_bytes()[:-9])
    for settings in ({"a": 1}, {"a": 2}):
        again = job(inputs, resume=True, settings=settings)
        assert "1" not in work(again, **masks) and not nib.load(corrected).get_fdata().any()
        with pytest.raises(InputsSkipped):
            again.finish()
        report = json.loads((again.output_dir / "report.json").read_text())
        assert [result["name"] for result in report["results"]] == ["2", "sub/1"]
        causes = " ".join(entry["cause"] for entry in report["skipped"])
        assert f"{corrected}: was changed after it was written, and is kept" in causes
    corrected.unlink()
    assert "1" in work(job(inputs, resume=True), **masks)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("mask", ["1_mask.nii.gz", "1_TC_mask.nii.gz", "1_mask.png", "1_seg.nii.gz"])
def test_a_mask_that_no_run_wrote_is_not_replaced(inputs: Path, mask: str, resume: bool) -> None:
    drawn = inputs.parent / "out" / mask
    drawn.parent.mkdir()
    put: Callable[..., None] = put_mask if mask.endswith(".gz") else put_picture
    put(drawn, 7)
    before = drawn.read_bytes()
    regions = {"a": 1, "regions": {"TC": [1], "WT": [1, 2]}}
    for _ in range(2):
        made = job(inputs, resume=resume, settings=regions)
        assert "1" not in work(made, ending=mask.removeprefix("1_"), put=put)
        assert drawn.read_bytes() == before
        assert any(f"{drawn}: was not written by a run of this folder" in entry.reason for entry in made.skipped)
    drawn.unlink()
    assert "1" in work(job(inputs, resume=resume, settings=regions), put=put, ending=mask.removeprefix("1_"))


def test_a_picture_that_somebody_corrected_stays_whether_or_not_the_run_is_resumed(inputs: Path) -> None:
    def whole_run(made: InferenceJob) -> list[str]:
        names = work(made, ending="mask.png", put=put_picture)
        with pytest.raises(InputsSkipped):
            made.finish()
        return names

    assert whole_run(job(inputs)) == ["1", "2", "sub/1"]
    corrected, damaged = (inputs.parent / f"out/{name}_mask.png" for name in ("1", "2"))
    put_picture(corrected, 255)
    damaged.write_bytes(damaged.read_bytes()[:-9])
    before = corrected.read_bytes()
    assert whole_run(job(inputs, resume=True)) == ["2"]
    # and nothing of it is forgotten
    for _ in range(2):
        assert whole_run(job(inputs)) == ["2", "sub/1"]
        assert corrected.read_bytes() == before


def test_a_corrected_mask_is_known_after_runs_over_other_inputs(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    imsave(tmp_path / "more/9.png", np.eye(4, dtype=np.uint8), check_contrast=False)
    (inputs / "3.png").unlink()

    def work_on(folder: Path, resume: bool = False) -> tuple[list[str], list[str]]:
        made = job(folder, output_dir=str(tmp_path / "out"), resume=resume)
        return work(made, ending="mask.nii.gz", put=put_mask), [entry.reason for entry in made.skipped]

    assert work_on(inputs) == (["1", "2", "sub/1"], [])
    put_mask(tmp_path / "out/1_mask.nii.gz", 0)
    assert work_on(tmp_path / "more") == (["9"], [])
    # what others left is no input of this run that is gone
    assert work_on(tmp_path / "more", resume=True) == ([], [])
    names, skipped = work_on(inputs)
    assert names == ["2", "sub/1"] and len(skipped) == 1
    assert "1_mask.nii.gz: was changed after it was written" in skipped[0]
    assert not nib.load(tmp_path / "out/1_mask.nii.gz").get_fdata().any()


def put_result(job: InferenceJob, name: str, value: int) -> None:
    file = job.output_dir / f"{name}_mask.nii.gz"
    file.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), value, np.uint8), np.eye(4)), file)


def finished(job: InferenceJob) -> list[str]:
    names = [item["name"] for item in job.data]
    for name in names:
        put_result(job, name, 1)
        job.record(name, [f"{name}_mask.nii.gz"])
    return names


def test_a_mask_that_is_corrected_after_a_stopped_run_is_known(inputs: Path, tmp_path: Path) -> None:
    """A run with other settings was stopped before the turn of an input: its result is that of the run before."""
    assert finished(job(inputs)) == ["1", "2", "sub/1"]
    stopped = job(inputs, settings={"a": 2}, resume=True)
    assert [item["name"] for item in stopped.data] == ["1", "2", "sub/1"]
    put_result(stopped, "2", 0)
    # one over other inputs in between forgets nothing
    (tmp_path / "more").mkdir()
    imsave(tmp_path / "more/9.png", np.eye(4, dtype=np.uint8), check_contrast=False)
    assert finished(job(tmp_path / "more", output_dir=str(stopped.output_dir))) == ["9"]
    for resume in (False, True):
        again = job(inputs, settings={"a": 2}, resume=resume)
        assert finished(again) == ([] if resume else ["1", "sub/1"])
        assert any("2_mask.nii.gz: was changed after it was written" in entry.reason for entry in again.skipped)
    assert not nib.load(again.output_dir / "2_mask.nii.gz").get_fdata().any()


def test_a_mask_that_is_corrected_while_its_input_cannot_be_read_is_known(inputs: Path) -> None:
    assert finished(job(inputs)) == ["1", "2", "sub/1"]
    content = (inputs / "2.png").read_bytes()
    (inputs / "2.png").write_bytes(content[:-20])
    damaged = job(inputs, settings={"a": 2}, resume=True)
    assert finished(damaged) == ["1", "sub/1"] and len(damaged.skipped) == 2
    with pytest.raises(InputsSkipped):
        damaged.finish()
    report = json.loads((damaged.output_dir / "report.json").read_text())
    assert [result["name"] for result in report["results"]] == ["1", "sub/1"]
    (inputs / "2.png").write_bytes(content)
    put_result(damaged, "2", 0)
    assert finished(job(inputs, settings={"a": 3}, resume=True)) == ["1", "sub/1"]


class Passing(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if round(float(x.max()) * 255) == 101:
            raise RuntimeError("you tried to allocate 22118400000000 bytes")
        return x


class Writer:
    """Notes each item as done, like the writers of the bundles, and fails at one of them if asked to."""

    def __init__(self, job: InferenceJob, fails: str | None = None) -> None:
        self.job, self.fails = job, fails

    def attach(self, engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine) -> None:
        for item in engine.state.batch:
            name = item["name"]
            if name == self.fails:
                raise ValueError("a link stands in the output folder")
            target = self.job.output_dir / f"{name}.txt"
            target.parent.mkdir(exist_ok=True)
            target.write_text(name)
            self.job.record(name, [f"{name}.txt"])


class MaskWriter(Writer):
    """Writes masks of 1, and fails at an item with an error when its mask is in place."""

    def __init__(self, job: InferenceJob, error: Exception | None = None, fails: str | None = None) -> None:
        super().__init__(job, fails)
        self.error = error

    def __call__(self, engine) -> None:
        for item in engine.state.batch:
            name = item["name"]
            put_result(self.job, name, 2 if self.error else 1)
            if self.error and name == self.fails:
                raise self.error
            self.job.record(name, [f"{name}_mask.nii.gz"])


def run(
    job: InferenceJob,
    network: torch.nn.Module | None = None,
    fails: str | None = None,
    workers: int = 0,
    writer: Writer | None = None,
) -> None:
    chain = Compose([LoadImaged("image", reader=SliceReader()), EnsureChannelFirstd("image")])
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(job.data, chain), batch_size=1, num_workers=workers),
        network=network or torch.nn.Identity(),
        val_handlers=[writer or Writer(job, fails)],
    )
    job.run(evaluator)


@pytest.mark.parametrize("workers", [0, 2])
def test_whatever_one_input_does_the_others_are_done(inputs, workers):
    (inputs / "3.png").unlink()
    first = job(inputs)
    assert [item["name"] for item in first.data] == ["1", "2", "sub/1"]
    (inputs / "sub" / "1.png").unlink()
    run(first, Passing(), workers=workers)
    assert list(first._records) == ["1"]
    with pytest.raises(InputsSkipped):
        first.finish()
    report = json.loads((first.output_dir / "report.json").read_text(encoding="utf-8"))
    assert report["counts"] == {"done": 1, "kept": 0, "skipped": 2, "ignored": 0}
    causes = {Path(entry["file"]).relative_to(inputs).as_posix(): entry["cause"] for entry in report["skipped"]}
    assert set(causes) == {"2.png", "sub/1.png"}
    assert (
        causes["2.png"].startswith(f"{inputs / '2.png'}: you tried to allocate") and "sub/1.png" in causes["sub/1.png"]
    )


def test_a_result_that_cannot_be_written_does_not_end_the_batch(inputs):
    one = job(inputs)
    run(one, fails="1")
    assert list(one._records) == ["2", "sub/1"]
    assert any("a link stands in the output folder" in entry.reason for entry in one.skipped)


def test_files_of_an_earlier_result_do_not_stay_beside_the_new_one(inputs: Path) -> None:
    masks: Any = {"ending": "mask.nii.gz", "put": put_mask}
    assert work(job(inputs), **masks) == ["1", "2", "sub/1"]
    out = inputs.parent / "out"
    for name in ("1_seg.dcm", "1_notes.txt", "sub/1_seg.dcm"):
        (out / name).write_text(name)
    add_checksums(out / "results.jsonl", "1", ["1_seg.dcm"])
    add_checksums(out / "results.jsonl", "sub/1", ["sub/1_seg.dcm"])
    assert work(job(inputs, resume=True), **masks) == [] and (out / "1_seg.dcm").exists()
    assert work(job(inputs, resume=True, settings={"a": 2}), most=1, **masks) == ["1"]
    # made of the mask that is gone; what no run wrote, and results that are not made anew, stay
    assert not (out / "1_seg.dcm").exists() and (out / "1_notes.txt").exists() and (out / "sub/1_seg.dcm").exists()


def test_half_a_result_of_a_killed_run_is_done_again(inputs: Path) -> None:
    """What it wrote of the result in place of an earlier one is nobody's correction."""
    finished(job(inputs))
    killed = job(inputs, settings={"a": 2}, resume=True)
    with pytest.raises(OSError):
        run(killed, writer=MaskWriter(killed, OSError(errno.ENOSPC, "as good as killed"), "1"))
    assert finished(job(inputs, settings={"a": 2}, resume=True)) == ["1", "2", "sub/1"]


def test_half_a_result_that_a_run_tries_again_is_no_correction(inputs: Path) -> None:
    finished(job(inputs))
    made = job(inputs, settings={"a": 2}, resume=True)
    run(made, writer=MaskWriter(made, ValueError("no overlay"), "2"))
    assert [entry.reason for entry in made.skipped if entry.path.name == "2.png"] == [f"{inputs / '2.png'}: no overlay"]
    with pytest.raises(InputsSkipped):
        made.finish()
    assert finished(job(inputs, settings={"a": 3}, resume=True)) == ["1", "2", "sub/1"]


class Corrected(torch.nn.Module):
    """Somebody corrects the mask of "2" while an input of this name is at the network."""

    def __init__(self, job: InferenceJob, at: str, fails: bool = False) -> None:
        super().__init__()
        self.job, self.at, self.fails = job, {"1": 100, "2": 101}[at], fails

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if round(float(x.max()) * 255) == self.at:
            put_result(self.job, "2", 0)
            if self.fails:
                raise RuntimeError("no memory")
        return x


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("at", ["1", "2"])
def test_a_mask_that_is_corrected_during_the_run_stays(inputs: Path, at: str, workers: int) -> None:
    finished(job(inputs))
    made = job(inputs, settings={"a": 2}, resume=True)
    assert [item["name"] for item in made.data] == ["1", "2", "sub/1"]
    run(made, Corrected(made, at), workers=workers, writer=MaskWriter(made))
    with pytest.raises(InputsSkipped):
        made.finish()
    mask = made.output_dir / "2_mask.nii.gz"
    assert not nib.load(mask).get_fdata().any()
    report = json.loads((made.output_dir / "report.json").read_text())
    assert [result["name"] for result in report["results"]] == ["1", "sub/1"]
    causes = {Path(entry["file"]).name: entry["cause"] for entry in report["skipped"]}
    assert f"{mask}: was changed after it was written, and is kept" in causes["2.png"]
    # and is known to the next run
    assert finished(job(inputs, settings={"a": 3}, resume=True)) == ["1", "sub/1"]


def test_a_mask_that_is_corrected_while_its_input_fails_is_known(inputs: Path) -> None:
    finished(job(inputs))
    made = job(inputs, settings={"a": 2}, resume=True)
    run(made, Corrected(made, "2", fails=True), writer=MaskWriter(made))
    with pytest.raises(InputsSkipped):
        made.finish()
    assert finished(job(inputs, settings={"a": 3}, resume=True)) == ["1", "sub/1"]


def test_a_full_disk_ends_the_run(inputs):
    class Full(torch.nn.Module):
        def forward(self, x):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        run(job(inputs), Full())


def test_an_input_that_changes_after_its_check_is_not_kept(inputs):
    first = job(inputs)
    assert len(first.data) == 3
    imsave(inputs / "1.png", np.eye(5, dtype=np.uint8), check_contrast=False)
    run(first)
    again = job(inputs, resume=True)
    assert [item["name"] for item in again.data] == ["1"] and again.kept == ["2", "sub/1"]


def test_a_resumed_run_names_inputs_that_are_gone_and_redoes_damaged_results(inputs):
    (inputs / "3.png").unlink()
    first = job(inputs)
    assert work(first, most=2) == ["1", "2"]
    (inputs / "1.png").unlink()
    (inputs / "sub" / "1.png").unlink()
    (first.output_dir / "2_answer.txt").write_text("")
    again = job(inputs, resume=True)
    assert [item["name"] for item in again.data] == ["2"] and again.kept == []
    gone = {entry.path.relative_to(inputs).as_posix(): entry.reason for entry in again.skipped}
    assert set(gone) == {"1.png", "sub/1.png"}
    assert gone["1.png"].endswith("no longer exists; its earlier result is kept.")
    assert gone["sub/1.png"].endswith("no longer exists.")
    with pytest.raises(InputsSkipped):
        again.finish()


def test_items_report_and_status(inputs):
    first = job(inputs)
    assert first.data[2] == {"image": str(inputs / "sub" / "1.png"), "name": "sub/1"}
    assert work(first) == ["1", "2", "sub/1"]
    with pytest.raises(SystemExit) as ended:
        first.finish()
    assert ended.value.code == 3 and isinstance(ended.value, InputsSkipped)
    assert [entry.path for entry in ended.value.skipped] == [inputs / "3.png"]
    out = inputs.parent / "out"
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["counts"] == {"done": 3, "kept": 0, "skipped": 1, "ignored": 0}
    assert [entry["outputs"] for entry in report["results"]][2] == ["sub/1_answer.txt"]
    with open(out / "skipped.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows == report["skipped"] == [{"file": str(inputs / "3.png"), "cause": rows[0]["cause"]}]
    assert "3.png: not a PNG or JPEG file" in rows[0]["cause"]


def test_a_report_names_its_inputs_wherever_it_is_read(inputs, monkeypatch):
    (inputs / "3.png").unlink()
    monkeypatch.chdir(inputs.parent)
    first = job(Path("in"))
    work(first)
    first.finish()
    report = json.loads((first.output_dir / "report.json").read_text(encoding="utf-8"))
    named = [Path(file) for result in report["results"] for file in result["input"]]
    assert sorted(named) == sorted(inputs / name for name in ("1.png", "2.png", "sub/1.png"))
    (inputs / "2.png").unlink()
    again = job(Path("in"), resume=True)
    assert work(again) == [] and [entry.path for entry in again.skipped] == [inputs / "2.png"]


def test_a_file_in_place_of_the_output_folder_is_named(inputs, tmp_path):
    (tmp_path / "s.zip").write_text("mine")
    for name, message in (("s.zip", "s.zip' is where a folder is to be written"), ("s.zip/out", "is not a folder, so")):
        with pytest.raises(RefusedStart, match=f"{message}.*give another output_dir"):
            _ = job(inputs, output_dir=str(tmp_path / name)).found
    assert (tmp_path / "s.zip").read_text() == "mine"


def test_without_anything_skipped_it_just_ends(inputs):
    (inputs / "3.png").unlink()
    whole = job(inputs)
    work(whole)
    whole.finish()
    assert (inputs.parent / "out" / "skipped.csv").read_text(encoding="utf-8") == "file,cause\n"


def test_resuming_goes_on_where_the_run_stopped(inputs):
    work(job(inputs), most=2)
    second = job(inputs, resume=True)
    assert work(second) == ["sub/1"] and second.kept == ["1", "2"]
    with pytest.raises(InputsSkipped):
        second.finish()
    report = json.loads((inputs.parent / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["counts"] == {"done": 1, "kept": 2, "skipped": 1, "ignored": 0}
    assert len(report["results"]) == 3
    # and once more: nothing is left to do, and the account is the same
    assert work(job(inputs, resume=True)) == []


def test_a_run_that_was_taken_up_leaves_the_account_of_an_unbroken_one(inputs):
    def account(made: InferenceJob) -> str:
        with pytest.raises(InputsSkipped):
            made.finish()
        return (made.output_dir / "results.jsonl").read_text(encoding="utf-8")

    whole = job(inputs)
    work(whole)
    expected = account(whole)
    assert [json.loads(line)["name"] for line in expected.splitlines()] == ["1", "2", "sub/1"]
    work(broken := job(inputs, output_dir=str(inputs.parent / "again")))
    # the first result is damaged, so that it is made after those that are kept
    (broken.output_dir / "1_answer.txt").write_text("damaged")
    again = job(inputs, output_dir=str(broken.output_dir), resume=True)
    assert work(again) == ["1"] and account(again) == expected


def test_without_resume_everything_is_done_again(inputs):
    work(job(inputs))
    assert work(job(inputs)) == ["1", "2", "sub/1"]


def test_half_a_line_of_a_killed_run(inputs):
    work(job(inputs))
    ledger = inputs.parent / "out" / "results.jsonl"
    ledger.write_text(ledger.read_text(encoding="utf-8")[:-30])
    assert work(job(inputs, resume=True)) == ["sub/1"]
    for junk in ("3\n", '["name"]\n', '{"name": "1"}\n', '{"name": "1", "outputs": 3}\n', "\udcff"):
        ledger.write_bytes(junk.encode("utf-8", "surrogateescape"))
        assert work(job(inputs, resume=True)) == ["1", "2", "sub/1"], junk


def change_input(inputs: Path) -> None:
    imsave(inputs / "2.png", np.eye(5, dtype=np.uint8) * 90, check_contrast=False)


def touch_input(inputs: Path) -> None:
    os.utime(inputs / "2.png", ns=(1, 1))


def lose_output(inputs: Path) -> None:
    (inputs.parent / "out" / "2_answer.txt").unlink()


@pytest.mark.parametrize("change", [change_input, touch_input, lose_output])
def test_what_changed_is_done_again(inputs, change):
    work(job(inputs))
    change(inputs)
    assert work(job(inputs, resume=True)) == ["2"]


def test_another_checkpoint_or_setting_does_all_again(inputs):
    work(job(inputs))
    assert len(work(job(inputs, resume=True, settings={"a": 2}))) == 3
    (inputs.parent / "model.pt").write_bytes(b"others")
    assert len(work(job(inputs, resume=True, settings={"a": 2}))) == 3


@pytest.mark.parametrize("change", ["weights", "settings", "input"])
def test_results_that_others_would_replace_stay_unless_asked(inputs: Path, change: str):
    work(job(inputs))
    out = inputs.parent / "out"
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    settings = {"settings": {"a": 2}} if change == "settings" else {}
    if change == "weights":
        (inputs.parent / "model.pt").write_bytes(b"others")
    if change == "input":
        change_input(inputs)
    many = 1 if change == "input" else 3
    with pytest.raises(RefusedStart, match=f"holds {many} results? of these inputs by other weights.*--resume true"):
        job(inputs, **settings).found  # noqa: B018
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert len(work(job(inputs, output_dir=str(inputs.parent / "other"), **settings))) == 3
    assert len(work(job(inputs, resume=True, **settings))) == many


def test_a_name_with_a_line_break_stays_on_one_line(inputs, caplog):
    (inputs / "a\nERROR b.png").write_bytes(b"")
    with caplog.at_level("WARNING"):
        assert len(job(inputs).data) == 3
    assert any("a\\nERROR b.png" in record.getMessage() for record in caplog.records)


def test_the_inputs_own_folder_is_refused(inputs):
    for source in (inputs, inputs / "1.png"):
        with pytest.raises(ValueError, match="output_dir is the folder of the inputs"):
            InferenceJob(str(source), str(inputs), SliceReader(), "model.pt").found  # noqa: B018
    assert not (inputs / "results.jsonl").exists()


def test_outputs_inside_the_input_folder_are_no_inputs(inputs):
    inside = InferenceJob(str(inputs), str(inputs / "out"), SliceReader(), "model.pt")
    assert len(inside.data) == 3
    imsave(inputs / "out" / "1_mask.png", np.eye(4, dtype=np.uint8), check_contrast=False)
    assert len(InferenceJob(str(inputs), str(inputs / "out"), SliceReader(), "model.pt").data) == 3


def test_a_linked_ledger_is_not_written_through(inputs):
    out = inputs.parent / "out"
    out.mkdir()
    (inputs.parent / "precious").write_text("mine")
    (out / "results.jsonl").symlink_to(inputs.parent / "precious")
    work(job(inputs))
    assert (inputs.parent / "precious").read_text(encoding="utf-8") == "mine"


def test_phantoms_where_no_data_are_given(tmp_path):
    phantoms = InferenceJob(None, str(tmp_path / "out"), SliceReader(), "model.pt")
    assert len(phantoms.data) >= 6 and phantoms.skipped == []


def save(network: torch.nn.Module, path: Path) -> str:
    torch.save(network.state_dict(), path)
    return str(path)


def test_checkpoints(tmp_path):
    trained, fresh = UNet(features=(2, 4)), UNet(features=(2, 4))
    load_checkpoint(fresh, save(trained, tmp_path / "a.pt"))
    assert all(torch.equal(a, b) for a, b in zip(trained.state_dict().values(), fresh.state_dict().values()))
    with pytest.raises(ValueError, match=r"another network: encoder.e1.conv1.conv.weight \[3, 1, 3, 3\], not \[2, "):
        load_checkpoint(fresh, save(UNet(features=(3, 4)), tmp_path / "b.pt"))
    with pytest.raises(
        ValueError, match="a checkpoint of another network: it takes 4 input channels, but this one takes 1. .*its"
    ):
        load_checkpoint(fresh, save(UNet(in_channels=4, features=(2, 4)), tmp_path / "e.pt"))
    with pytest.raises(
        ValueError, match="'.*c.pt' is a checkpoint of another network: more.weight is not in this network"
    ):
        torch.save({**trained.state_dict(), "more.weight": torch.zeros(1)}, tmp_path / "c.pt")
        load_checkpoint(fresh, str(tmp_path / "c.pt"))
    with pytest.raises(ValueError, match="there is no checkpoint.*--checkpoint"):
        load_checkpoint(fresh, str(tmp_path / "d.pt"))
    assert all(torch.equal(a, b) for a, b in zip(trained.state_dict().values(), fresh.state_dict().values()))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        # its own images would no longer be searched
        ("P1", r"in/P1 is inside the folder of the inputs and holds 2 files that no run wrote, such as 1\.png;"),
        ("P2/out", r"in/P2/out lies in .*in/P2, the folder of P2/1;"),
        ("", "is the folder of the inputs"),
    ],
)
def test_results_never_come_into_a_folder_of_inputs(tmp_path: Path, place: str, message: str) -> None:
    source = tmp_path / "in"
    for name in ("P1/1.png", "P1/2.png", "P2/1.png"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        imsave(source / name, np.eye(4, dtype=np.uint8), check_contrast=False)
    before = sorted(source.rglob("*"))
    with pytest.raises(ValueError, match=message) as caught:
        _ = job(source, output_dir=str(source / place)).found
    assert "--output_dir" in str(caught.value)
    assert sorted(source.rglob("*")) == before


def test_results_may_lie_beside_the_inputs_and_are_none(tmp_path: Path, inputs: Path) -> None:
    out = inputs / "results"
    found = {item.name for item in job(inputs, output_dir=str(out)).found.items}
    # what an earlier run left there, by its record
    out.mkdir()
    (out / "settings.json").write_text('{"command": [], "settings": {}, "versions": {}}', encoding="utf-8")
    imsave(out / "1_overlay.png", np.eye(4, dtype=np.uint8), check_contrast=False)
    assert {item.name for item in job(inputs, output_dir=str(out)).found.items} == found
