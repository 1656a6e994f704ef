"""Experiments as jobs: what may begin when, one record per run, failures by name; on this machine for real."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

from ckdmed.bundle.typed_command import typed_command
from ckdmed.cli import main
from ckdmed.experiments.cluster import RunJob, _log_of, do_as_jobs, needed_by, submitit_executor
from ckdmed.experiments.records import read_experiment
from tests.experiments.trainers import FakeTrainer, install, made, planned


class FakeJob:
    """A job that does its work when it is looked at the second time."""

    def __init__(self, number: int, work: RunJob, ended: Callable[[FakeJob], None]) -> None:
        self.job_id, self.work, self.ended = str(number), work, ended
        self.looks = 0
        self.error: BaseException | None = None
        self.cancelled = False

    def done(self) -> bool:
        self.looks += 1
        if self.looks == 2:
            try:
                self.work()
            except Exception as error:
                self.error = error
            self.ended(self)
        return self.looks >= 2

    def exception(self) -> BaseException | None:
        return self.error

    def cancel(self) -> None:
        self.cancelled = True


class FakeExecutor:
    """Notes which jobs there were, and how many at a time."""

    def __init__(self) -> None:
        self.jobs: list[FakeJob] = []
        self.going: list[str] = []
        self.most = 0
        #: name of a run -> names of those that were going when it began
        self.beside: dict[str, list[str]] = {}

    def submit(self, work: RunJob) -> FakeJob:
        job = FakeJob(len(self.jobs), work, lambda ended: self.going.remove(ended.work.run.name))
        self.beside.setdefault(work.run.name, list(self.going))
        self.jobs.append(job)
        self.going.append(work.run.name)
        self.most = max(self.most, len(self.going))
        return job


def as_jobs(experiment: Any, runs: Any, **options: Any) -> FakeExecutor:
    executor = FakeExecutor()
    do_as_jobs(experiment, runs, executor, seconds_between=0, **options)
    return executor


COMPARE = ["--arms", "teacher", "alone", "ckd", "alone_longer", "--label_fractions", "0.5", "--seeds", "0", "1"]


def test_what_a_run_leaves_names_the_command_of_the_experiment(data, tmp_path, monkeypatch):
    seen = []
    install(monkeypatch, FakeTrainer())
    experiment, runs = made("compare", tmp_path, data, *COMPARE)
    experiment.command = ["ckdmed", "experiment", "compare", "--executor", "slurm"]
    monkeypatch.setattr(type(experiment), "train", lambda *_: seen.append(typed_command()))
    RunJob(experiment, runs[0], "train")()
    assert seen == [list(experiment.command)]


def test_a_run_begins_after_its_teacher_and_the_arms_that_it_needs(data, tmp_path, monkeypatch):
    install(monkeypatch, FakeTrainer())
    experiment, runs = made("compare", tmp_path, data, *COMPARE)
    executor = as_jobs(experiment, runs, final=True)
    order = [job.work.run.name for job in executor.jobs if job.work.step == "train"]
    assert sorted(order) == sorted(run.name for run in runs)
    for run in runs:
        needed = needed_by(run, runs)
        assert all(order.index(name) < order.index(run.name) for name in needed)
        assert not needed & set(executor.beside[run.name])
    longer = next(run for run in runs if run.arm.name == "alone_longer" and run.seed == 1)
    assert {name.partition("-")[2] for name in needed_by(longer, runs)} == {"alone-seed=1", "ckd-seed=1"}
    # the teachers and the students alone of both seeds go on at a time, and the test set comes after all trainings
    assert executor.most >= 4
    steps = [job.work.step for job in executor.jobs]
    assert steps == ["train"] * len(runs) + ["test"] * len(runs)
    records = read_experiment(tmp_path / "records")
    assert len(records) == 2 * len(runs)


def test_what_is_done_gets_no_job_and_there_are_no_more_than_asked_for(data, tmp_path, monkeypatch):
    install(monkeypatch, FakeTrainer())
    experiment, runs = made("compare", tmp_path, data, *COMPARE)
    assert as_jobs(experiment, runs, most=2).most == 2
    assert as_jobs(experiment, runs).jobs == []
    with pytest.raises(ValueError, match="--jobs must be at least 1"):
        as_jobs(experiment, runs, most=0)


def test_one_of_the_students_trains_their_shared_teachers(data, tmp_path, monkeypatch):
    install(monkeypatch, FakeTrainer())
    words = ["--students", "t1n", "t1c", "--label_fractions", "0.5", "--seeds", "0", "1", "--teacher_seed", "0"]
    experiment, runs = made("unimodal", tmp_path, data, *words)
    executor = as_jobs(experiment, runs)
    taught = [run.name for run in runs if experiment.shared_work(run) is not None]
    assert len(taught) == 4 and len({experiment.shared_work(run) for run in runs} - {None}) == 1
    first = next(job.work.run.name for job in executor.jobs if job.work.run.name in taught)
    assert all(first not in executor.beside[name] for name in taught)
    assert executor.most > 2


def test_a_failure_is_named_and_keeps_only_what_needs_it(data, tmp_path, monkeypatch):
    experiment, runs = made("compare", tmp_path, data, *COMPARE)
    failing = next(run.name for run in runs if run.arm.name == "teacher" and run.seed == 0)
    install(monkeypatch, FakeTrainer(fails_at=failing, error=ValueError("no memory\nleft")))
    with pytest.raises(RuntimeError) as error:
        as_jobs(experiment, runs, final=True)
    text = str(error.value)
    assert f"1 of {len(runs)} runs failed: {failing}: left (log in {tmp_path}" in text
    missing = [run.name for run in runs if not experiment.done(run)]
    students = [run.name for run in runs if run.seed == 0 and run.arm.name in ("ckd", "alone_longer")]
    assert (
        sorted(missing) == sorted([failing, *students]) and f"Not started without them: {', '.join(students)}" in text
    )
    assert not (tmp_path / "records/test").exists()
    install(monkeypatch, FakeTrainer())
    assert len(as_jobs(experiment, runs).jobs) == 3


@pytest.mark.slow
def test_the_log_of_a_job_that_died_is_named(tmp_path):
    submitit = pytest.importorskip("submitit")
    job = submitit_executor("local", tmp_path / "jobs").submit(_die)
    error = job.exception()
    assert isinstance(error, submitit.core.utils.UncompletedJobError)
    log = _log_of(job, tmp_path / "jobs")
    assert log.is_file() and log.parent == tmp_path / "jobs" and "said before" in log.read_text()
    assert log.name.startswith(job.job_id) and all(path.is_file() for path in log.parent.iterdir())


def _die() -> None:
    print("said before", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def test_an_interruption_cancels_the_jobs(data, tmp_path, monkeypatch):
    experiment, runs = made("compare", tmp_path, data, *COMPARE)
    install(monkeypatch, FakeTrainer(fails_at=runs[0].name))
    executor = FakeExecutor()
    with pytest.raises(KeyboardInterrupt):
        do_as_jobs(experiment, runs, executor, seconds_between=0)
    assert any(job.cancelled for job in executor.jobs)
    assert all(job.cancelled or job.looks >= 2 for job in executor.jobs)


def test_a_preempted_job_is_queued_again(data, tmp_path):
    submitit = pytest.importorskip("submitit")
    experiment, runs = made("compare", tmp_path, data, *COMPARE)
    again = RunJob(experiment, runs[0], "train").checkpoint()
    assert isinstance(again, submitit.helpers.DelayedSubmission) and again.function.run == runs[0]


def test_options_of_jobs_are_checked_before_anything_is_made(data, tmp_path, capsys):
    pytest.importorskip("submitit")
    given = ["experiment", "compare", "--output_dir", str(tmp_path / "o"), "--dataset_dir", str(data)]
    given += ["--profile", "tiny", *COMPARE]
    assert main([*given, "--jobs", "2"]) == 2
    assert "are for --executor slurm or local" in capsys.readouterr().err
    assert main([*given, "--executor", "local", "--executor_set", "timeout_mins=3"]) == 2
    assert "timeout_mins" in capsys.readouterr().err
    with pytest.raises(ValueError, match="one of slurm, local"):
        submitit_executor("pbs", tmp_path)
    assert not (tmp_path / "o/records").exists()


@pytest.mark.slow
def test_jobs_of_this_machine_leave_one_record_for_each_run(tmp_path, capfd):
    pytest.importorskip("submitit")
    arms = ["--arms", "alone", "--label_fractions", "0.5", "--seeds", "0"]
    words = ["--profile", "tiny", *arms, "--phantom_patients", "12", "--phantom_size", "48", "--final"]
    folder = tmp_path / "jobs"
    assert main(["experiment", "compare", "--output_dir", str(folder), *words, "--executor", "local"]) == 0
    names = {run.name for run in planned("compare", *arms)}
    records = read_experiment(folder / "records")
    assert len(records) == 2 * len(names) and {record.name for record in records} == names
    assert len(list((folder / "jobs").glob("*_log.out"))) == 2 * len(names)
    # as the runs one after the other in one process
    assert main(["experiment", "compare", "--output_dir", str(tmp_path / "one"), *words]) == 0
    alone = read_experiment(tmp_path / "one/records")
    assert [record.metrics for record in records] == [record.metrics for record in alone]
