"""The handlers of every training: of a network alone, of a student and of a teacher that is trained first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from ignite.handlers import ProgressBar
from monai.engines import Evaluator
from monai.handlers import LrScheduleHandler
from torch import distributed, nn

from ckdmed.handlers import (
    BestModel,
    GradientReport,
    GradientScaling,
    LastEpochValidation,
    PreparedTeacher,
    ReproducibleEpochs,
    ResumeCheckpoint,
    StopWhenDiverged,
    SyncBuffers,
    TeacherCheck,
    TrainingHistory,
    ValidationLoss,
)

__all__ = ["HandlerGroup", "distillation_handlers", "training_handlers"]


class HandlerGroup(list):
    """Several handlers as one entry of a configuration's list: MONAI looks into each entry of it.

    Attaching it attaches each, in order.
    """

    def attach(self, engine: Engine) -> None:
        """Register all of them."""
        for handler in self:
            handler.attach(engine)


def training_handlers(
    network: nn.Module,
    data_loader: Any,
    evaluator: Evaluator,
    optimizer: torch.optim.Optimizer,
    lr_scheduler: Any,
    best_model: BestModel,
    resume_dir: str,
    output_dir: str = ".",
    history: str | None = None,
    state: Mapping[str, Any] | None = None,
    watch: Sequence[Any] = (),
    teacher_lr_scheduler: Any = None,
    synchronised: Sequence[nn.Module] = (),
    pictures: Callable[..., Any] | None = None,
    inferer: Any = None,
    guarded: bool = False,
    seed: int = 0,
    val_interval: int = 1,
    resume: bool = False,
    device: str | torch.device = "cpu",
    summary_writer: Any = None,
    prefix: str = "",
    desc: str = "training",
    **of_bar: Any,
) -> HandlerGroup:
    """What acts in a training beside the steps, in the order in which it has to: seeds, schedule, validation, records.

    An epoch depends on the seed and its number alone; gradients too small for float16 are scaled; a loss that is not
    finite ends the training; the last epoch is validated whatever ``val_interval``; what the epoch gave is noted, and
    all that a resumed run needs is saved. Files are written by the first process alone.

    Args:
        network: plain network that learns.
        data_loader: of the training.
        evaluator: of the validation; ``best_model`` is attached to it by whoever makes it.
        optimizer, lr_scheduler: of the training.
        best_model: keeps the weights that validate best.
        resume_dir: folder of what a resumed run needs.
        output_dir: of the run, for its history and pictures.
        history: the ``.jsonl`` file with a line for each epoch, by default ``<output_dir>/metrics.jsonl``.
        state: name -> further parts of it; without any, ``network``.
        watch: handlers between the schedule and the validation; None among them is left out.
        teacher_lr_scheduler: of teachers that learn along, or None.
        synchronised: further networks whose buffers all processes share, before ``network``.
        pictures: makes a handler that draws, such as ``functools.partial(TrainingPictures, modalities=["t1c"])``.
        inferer: of the training, whose type of mixed precision tells whether gradients have to be scaled.
        guarded: the trainer itself scales gradients and stops a training that diverged, as a ``DistillationTrainer``
            does.
        seed, val_interval, resume, device: as everywhere.
        summary_writer: TensorBoard's, or None.
        prefix: of the names in TensorBoard.
        desc, of_bar: of the progress bar, which a terminal alone shows.
    """
    leader = not distributed.is_initialized() or distributed.get_rank() == 0
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    history = str(Path(output_dir) / "metrics.jsonl") if history is None else history
    record = TrainingHistory(history, evaluator, optimizer, summary_writer, save=leader, prefix=prefix)
    objects = {
        **({"network": network} if state is None else state),
        "optimizer": optimizer,
        "lr_scheduler": lr_scheduler,
        "best_model": best_model,
        "history": record,
    }
    ValidationLoss().attach(evaluator)
    handlers = HandlerGroup()
    if not guarded:
        handlers += [GradientScaling(inferer), StopWhenDiverged(network, optimizer)]
    handlers += [
        ReproducibleEpochs(seed, data_loader, rank),
        _schedule(lr_scheduler),
        *([_schedule(teacher_lr_scheduler)] if teacher_lr_scheduler is not None else []),
        *(handler for handler in watch if handler is not None),
        *(SyncBuffers(module) for module in synchronised),
        SyncBuffers(network),
        LastEpochValidation(validator=evaluator, interval=val_interval, epoch_level=True),
        record,
        ResumeCheckpoint(resume_dir, objects, resume=resume, device=device, save=leader),
    ]
    if leader:
        # none in a file, where each step would be a line; the history logs a line for each epoch
        handlers.append(ProgressBar(desc=desc, **{"disable": None, **of_bar}))
    if pictures is not None:
        handlers.append(
            pictures(
                output_dir=output_dir,
                history=history,
                dataset=evaluator.data_loader.dataset,  # type: ignore[union-attr]
                # of exclusive regions it is their network, in which masks are those of a sigmoid
                network=getattr(evaluator, "network", network),
                checkpoint=str(best_model.path),
                inferer=evaluator.inferer,  # type: ignore[attr-defined]
                device=device,
                summary_writer=summary_writer,
                save=leader,
            )
        )
    return handlers


def _schedule(lr_scheduler: Any) -> LrScheduleHandler:
    return LrScheduleHandler(lr_scheduler, print_lr=False, epoch_level=False)


def distillation_handlers(
    student: Any,
    evaluator: Engine,
    teacher: nn.Module | None = None,
    teachers: Any = None,
    teacher_evaluator: Any = None,
    teacher_checked: bool = True,
    teacher_learned: Collection[str] = (),
    prepared: nn.Module | None = None,
    watch: Sequence[Any] = (),
    gradient_ratio: float | None = None,
    pictures: Callable[..., Any] | None = None,
    desc: str = "student",
    **settings: Any,
) -> HandlerGroup:
    """The same for a student: its teacher's score is compared with its own, and the pulls of the terms are reported.

    Args:
        student: a :class:`~ckdmed.engines.DistilledStudent`, whose plain network is validated and saved.
        evaluator: of the student.
        teacher: frozen, which a resumed run has to find the same.
        teachers: in its place a :class:`~ckdmed.engines.TeachersState`.
        teacher_evaluator: of the teacher, which pictures show as well; None where no term has a teacher.
        teacher_checked: whether its score is compared with the student's; no use for teachers that learn along.
        teacher_learned: validation patients that the teacher was trained on, see
            :func:`~ckdmed.bundle.learned_of_validation`.
        prepared: the teacher's network, where the run is to train or load it before: see
            :class:`~ckdmed.handlers.PreparedTeacher`.
        watch: handlers before these.
        gradient_ratio: see :class:`~ckdmed.handlers.GradientReport`.
        pictures: as in :func:`training_handlers`.
        desc: of the progress bar.
        settings: further arguments of :func:`training_handlers`.
    """
    # which import this file for the training of a teacher
    from ckdmed.engines.teachers.frozen import TeacherIdentity

    state = {"student": student}
    if teacher is not None:
        state["teacher"] = TeacherIdentity(teacher)  # type: ignore[arg-type]
    if teachers is not None:
        state["teachers"] = teachers
    checks: list[Any] = [] if prepared is None else [PreparedTeacher(prepared)]
    if teacher_evaluator is not None:
        if teacher_checked:
            key_metric, learned = settings["best_model"].key_metric, len(teacher_learned)
            checks.append(TeacherCheck(teacher_evaluator, evaluator, key_metric, learned=learned))
        if pictures is not None:
            shown = {"teacher": teacher_evaluator.network, "teacher_inferer": teacher_evaluator.inferer}
            pictures = partial(pictures, **shown)
    report: dict[str, Any] = {} if gradient_ratio is None else {"ratio": gradient_ratio}
    return training_handlers(
        network=student.student,
        evaluator=evaluator,  # type: ignore[arg-type]
        state=state,
        guarded=True,
        watch=[*watch, *checks, GradientReport(student.student, every=5, **report)],
        pictures=pictures,
        desc=desc,
        **settings,
    )
