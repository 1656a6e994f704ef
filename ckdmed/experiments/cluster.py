"""The runs of an experiment as jobs: on a Slurm cluster, or several at a time on one machine, by submitit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tqdm import tqdm

from ckdmed.bundle.typed_command import started_by
from ckdmed.counted import counted
from ckdmed.experiments.plan import Run
from ckdmed.files import remove_leftovers

if TYPE_CHECKING:
    from ckdmed.experiments.engine import Experiment

__all__ = ["EXECUTORS", "Executor", "Job", "RunJob", "do_as_jobs", "submitit_executor"]

logger = logging.getLogger(__name__)

EXECUTORS = ("slurm", "local")
# submitit's own limit is five minutes
_MINUTES = {"slurm": 24 * 60, "local": 30 * 24 * 60}
#: folder of the jobs' logs, in that of the experiment
JOBS = "jobs"


class Job(Protocol):
    """What is asked of a job; submitit's has it."""

    job_id: str

    def done(self) -> bool:
        """Whether it has ended."""

    def exception(self) -> BaseException | None:
        """What it failed of."""

    def cancel(self) -> None:
        """End it."""


class Executor(Protocol):
    """What is asked of an executor; submitit's has it."""

    def submit(self, work: Callable[[], None]) -> Job:
        """Begin a job, or put it into a queue."""


@dataclass
class RunJob:
    """What a job does: one step of one run.

    A job that the cluster takes from its node is queued again, and its training goes on from the last epoch.

    Attributes:
        experiment: of the run; a job gets it pickled.
        run: to train or to evaluate.
        step: "train" or "test".
    """

    experiment: Experiment
    run: Run
    step: str

    def __call__(self) -> None:
        """Do it, unless it is done."""
        # a job's own command is submitit's, and nobody could repeat it
        with started_by(self.experiment.command):
            (self.experiment.test if self.step == "test" else self.experiment.train)(self.run)

    def checkpoint(self) -> Any:
        """What submitit queues where the job is preempted or its time is over: the same again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass
class _Progress:
    """Which runs are where."""

    waiting: list[Run]
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, tuple[Run, Job]] = field(default_factory=dict)
    # work that several runs share: who does it first, and what is done
    shared_by: dict[str, str] = field(default_factory=dict)


def submitit_executor(kind: str, folder: Path, parameters: Mapping[str, Any] | None = None) -> Any:
    """An executor whose jobs log in ``folder``, on a cluster each in a folder of its own in there.

    Args:
        kind: "slurm", or "local" for processes of this machine.
        folder: of the logs; on a cluster one that all nodes see.
        parameters: of ``submitit.AutoExecutor.update_parameters``, such as ``timeout_min`` or ``slurm_partition``.

    Raises:
        ValueError: an unknown kind, or parameters that submitit does not know.
        RuntimeError: there is no Slurm here.
    """
    import submitit

    if kind not in EXECUTORS:
        raise ValueError(f"an executor is one of {', '.join(EXECUTORS)}, got {kind!r}.")
    # for a job of this machine submitit would make a folder that is really called so, too
    executor = submitit.AutoExecutor(folder=folder if kind == "local" else folder / "%j", cluster=kind)
    try:
        executor.update_parameters(**{"timeout_min": _MINUTES[kind], **(parameters or {})})
    except NameError as error:
        raise ValueError(f"--executor_set: {error}") from error
    return executor


def do_as_jobs(
    experiment: Experiment,
    runs: Sequence[Run],
    executor: Executor,
    final: bool = False,
    most: int | None = None,
    seconds_between: float = 5.0,
) -> None:
    """Train what is missing, each run in a job of its own; with ``final`` then evaluate on the test set.

    A run begins when those that it needs are done: its teacher, and the runs of the arms that its arm names. Of runs
    that share work (the frozen teachers of several students) the first does it alone. This process waits for all of
    them; when it is interrupted, it cancels its jobs, and the same command goes on later.

    Args:
        experiment: of the runs.
        runs: each after those that it needs, as they are planned.
        executor: of submitit.
        final: evaluate on the test set, after all are trained.
        most: how many jobs there are at a time at most; None for no limit.
        seconds_between: looks at the jobs.

    Raises:
        RuntimeError: runs failed; names them with the cause and the log, and those that could not begin without them.
    """
    if most is not None and most < 1:
        raise ValueError(f"--jobs must be at least 1, got {most}.")
    remove_leftovers(experiment.output_dir)
    for step in ("train", "test") if final else ("train",):
        section = "test" if step == "test" else "validation"
        progress = _Progress([run for run in runs if not experiment.done(run, section)])
        progress.done = {run.name for run in runs} - {run.name for run in progress.waiting}
        with tqdm(total=len(runs), initial=len(progress.done), desc=f"{experiment.name}: {step}", unit="run") as bar:
            try:
                _work_off(experiment, runs, executor, step, most, seconds_between, progress, bar)
            except BaseException:
                for run, job in progress.jobs.values():
                    logger.warning(f"{run.name}: job {job.job_id} is cancelled")
                    job.cancel()
                raise
        if progress.failed:
            causes = "; ".join(f"{name}: {cause}" for name, cause in progress.failed.items())
            left = ", ".join(run.name for run in progress.waiting)
            raise RuntimeError(
                f"{len(progress.failed)} of {counted(len(runs), 'run')} failed: {causes}."
                + (f" Not started without them: {left}." if left else "")
                + " Finished runs are kept; the same command continues."
            )


def _work_off(
    experiment: Experiment,
    runs: Sequence[Run],
    executor: Executor,
    step: str,
    most: int | None,
    seconds_between: float,
    progress: _Progress,
    bar: Any,
) -> None:
    while progress.waiting or progress.jobs:
        for run in list(progress.waiting):
            free = most is None or len(progress.jobs) < most
            if free and (step == "test" or _may_begin(experiment, run, runs, progress)):
                job = executor.submit(RunJob(experiment, run, step))
                progress.jobs[run.name] = (run, job)
                progress.waiting.remove(run)
                bar.write(f"{run.name}: {step}, job {job.job_id}")
        if not progress.jobs:
            # what is left needs runs that failed
            return
        for name, (run, job) in list(progress.jobs.items()):
            if not job.done():
                continue
            del progress.jobs[name]
            error = job.exception()
            if error is None and not experiment.done(run, "test" if step == "test" else "validation"):
                error = RuntimeError("the job ended without a record")
            if error is None:
                progress.done.add(name)
                bar.update()
            else:
                log = _log_of(job, Path(experiment.output_dir, JOBS))
                progress.failed[name] = f"{_last_line(error)} (log in {log})"
                bar.write(f"{name}: failed: {_last_line(error)}")
        if progress.jobs:
            time.sleep(seconds_between)


def _may_begin(experiment: Experiment, run: Run, runs: Sequence[Run], progress: _Progress) -> bool:
    if not needed_by(run, runs) <= progress.done:
        return False
    shared = experiment.shared_work(run)
    if shared is None:
        return True
    first = progress.shared_by.setdefault(shared, run.name)
    if first in progress.failed:
        # the next one tries
        progress.shared_by[shared] = first = run.name
    return first == run.name or first in progress.done


def needed_by(run: Run, runs: Sequence[Run]) -> set[str]:
    """Names of the runs that must be done before one can begin: its teacher's, and those of the arms that it needs."""
    needed = {other.name for other in runs if other.name == run.teacher}
    for other in runs:
        if other.arm.name in run.arm.needs and other.seed == run.seed and other.split == run.split:
            needed.add(other.name)
    return needed


def _log_of(job: Job, folder: Path) -> Path:
    """The file in which a failed job said why, as submitit names it; its folder where there is no such file yet."""
    paths = getattr(job, "paths", None)
    written = [path for path in (paths.stderr, paths.stdout) if path.is_file()] if paths is not None else []
    # what a killed process said last may stand in either
    said = [path for path in written if path.stat().st_size]
    return (said or written or [folder if paths is None else paths.folder])[0]


def _last_line(error: BaseException) -> str:
    """The end of what a job failed of; submitit's message is the whole traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" -\t")]
    return lines[-1] if lines else type(error).__name__
