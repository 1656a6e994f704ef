"""The trainer of a distillation: MONAI's supervised trainer with a teacher and a loss of named terms."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer, default_prepare_batch
from monai.inferers import Inferer
from monai.utils import ensure_tuple

from ckdmed.engines.mixup import MixupPrepareBatch
from ckdmed.engines.teachers.cache import TeacherCache
from ckdmed.engines.teachers.cross_fitted import CrossFittedTeacher
from ckdmed.engines.teachers.frozen import FrozenTeacher
from ckdmed.handlers.divergence import StopWhenDiverged
from ckdmed.handlers.gradient_scaling import GradientScaling
from ckdmed.losses.total import DistillationLoss, LossValues
from ckdmed.networks.taps import TappedOutput
from ckdmed.recipes.step_check import check_view
from ckdmed.transforms import TEACHER_IMAGE, BatchView, DrawnView

__all__ = ["LABELLED", "DistillationTrainer"]

# the key of a batch that tells which samples have a label: (B,) booleans
LABELLED = "labelled"


class DistillationTrainer(SupervisedTrainer):
    """Train a student with a teacher, as a ``SupervisedTrainer``.

    Each iteration runs the teacher and the student on the same (augmented) batch and minimises a
    :class:`~ckdmed.losses.DistillationLoss`. Only the two seams ``inferer`` and ``loss_function`` of the base class are
    used, so that its mixed precision, gradient accumulation, compilation, decollation and all stock handlers keep
    working, and ``engine.state.output["pred"]`` is the student's logits as handlers expect.

    Args:
        network: a :class:`~ckdmed.engines.DistilledStudent`, bare or inside DistributedDataParallel.
        teacher: the frozen teacher; may be None when no term of the loss uses one.
        distillation_loss: the terms.
        teacher_cache: cache of the teacher's outputs, so that each view of a sample passes through it once; by default
            the teacher runs in every step.
        teacher_inferer: runs the teacher; by default what runs the student.
        student_view: draws another view of each batch for the student; the teacher gets the batch as it is, and its
            logits and features, like the labels, are warped along with the student's images. Tokens of a Vision
            Transformer lie on no grid and cannot be: with terms that read them the view may only change intensities.
            By default both get the same images.
        kwargs: everything else that ``SupervisedTrainer`` takes, except ``loss_function`` and ``iteration_update``.

    Where a batch carries ``teacher_image``, the teacher sees that in place of ``image``; ``teacher_inferer`` has to
    bring its maps to the student's grid (:class:`~ckdmed.engines.ScaledMapsInferer`).

    A batch may carry ``labelled``, (B,) booleans: where False, the sample has no label and only the teacher's terms
    count. ``engine.state.terms`` holds the raw value of each term of the last step (detached scalars by name) and
    ``engine.state.weights`` their weights; from the loss to the backward pass ``trainer.loss_values`` holds the terms
    with their graphs.

    Raises:
        ValueError: the loss needs a teacher and none is given; ``iteration_update`` is given (it would bypass
            the distillation); ``teacher_cache`` together with a ``prepare_batch`` (it may change the images); mixup
            with a cross-fitted teacher; a ``student_view`` that moves pixels with terms that read a transformer's
            tokens.
        DivergedError: while it runs, at the first loss that is not finite (see
            :class:`~ckdmed.handlers.StopWhenDiverged`).
    """

    def __init__(
        self,
        *,
        network: torch.nn.Module,
        distillation_loss: DistillationLoss,
        teacher: FrozenTeacher | None = None,
        teacher_cache: TeacherCache | None = None,
        teacher_inferer: Inferer | None = None,
        student_view: BatchView | None = None,
        **kwargs: Any,
    ) -> None:
        if teacher is None and distillation_loss.needs_teacher:
            raise ValueError("the loss has terms that need a teacher, but teacher is None.")
        if kwargs.get("iteration_update") is not None:
            raise ValueError("iteration_update would bypass the distillation; use prepare_batch or a handler instead.")
        if (
            teacher_cache is not None
            and kwargs.get("prepare_batch", default_prepare_batch) is not default_prepare_batch
        ):
            raise ValueError(
                "teacher_cache holds outputs for the images of the dataset, which prepare_batch may change."
            )
        if isinstance(teacher, CrossFittedTeacher) and isinstance(kwargs.get("prepare_batch"), MixupPrepareBatch):
            raise ValueError(
                "mixup mixes two patients, one of whom a cross-fitted teacher may have seen: set mixup to 0 or "
                "teacher_folds to 1."
            )
        if isinstance(teacher, FrozenTeacher):
            check_view(student_view, teacher.taps.paths, distillation_loss)
        # A projection that no term reads for a while gets no gradient. As None the optimiser leaves it alone, as it
        # does in a run that was resumed meanwhile; with zeros momentum and decay would go on in the unbroken run only.
        kwargs.setdefault("optim_set_to_none", True)
        # asked here, as compilation puts a module of its own around it
        self._parallel = isinstance(network, torch.nn.parallel.DistributedDataParallel)
        plain: Any = network.module if self._parallel else network
        watched: dict[str, torch.nn.Module] = {"student": plain}
        # of a frozen teacher, which may be a hundred times as large, nothing changes
        if teacher is not None and any(parameter.requires_grad for parameter in teacher.parameters()):
            watched["teacher"] = teacher
        kwargs["train_handlers"] = [
            GradientScaling(kwargs.get("inferer")),
            # before all others: nothing of a training that diverged is validated or saved
            StopWhenDiverged(torch.nn.ModuleDict(watched), kwargs["optimizer"]),
            *ensure_tuple(kwargs.get("train_handlers") or ()),
        ]
        super().__init__(network=network, loss_function=self._compare, **kwargs)
        self.state.terms, self.state.weights = {}, {}
        self.teacher = teacher if distillation_loss.needs_teacher else None
        self.teacher_cache = teacher_cache if self.teacher is not None else None
        self.student_view = student_view
        self.distillation_loss = distillation_loss
        self.student_inferer = self.inferer
        self.teacher_inferer = self.inferer if teacher_inferer is None else teacher_inferer
        self.inferer = self._run_both  # type: ignore[assignment]
        self.loss_values: LossValues | None = None
        self._student_output: TappedOutput | None = None
        self._teacher_output: TappedOutput | None = None
        self._view: DrawnView | None = None
        if self.teacher_cache is not None:
            self.add_event_handler(Events.STARTED, self._open_cache)

    def _open_cache(self) -> None:
        if self.teacher_cache is not None and self.teacher is not None:
            self.teacher_cache.open(self.teacher, self.teacher_inferer)

    def _ask_teacher(self, images: torch.Tensor) -> Any:
        teacher: Any = self.teacher
        if isinstance(teacher, FrozenTeacher):
            teacher = teacher.for_samples(self.state.batch)  # type: ignore[arg-type]
        return self.teacher_inferer(images, teacher)

    def _shown_to_teacher(self, images: torch.Tensor) -> torch.Tensor:
        batch: Any = self.state.batch
        own = batch.get(TEACHER_IMAGE) if isinstance(batch, dict) else None
        return images if own is None else own.to(images.device, non_blocking=True)

    def _run_both(self, inputs: torch.Tensor, network: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.teacher is not None and self.teacher_cache is not None:
            batch: Any = self.state.batch
            shown = self._shown_to_teacher(inputs)
            self._teacher_output = self.teacher_cache(shown, batch, self.teacher, self.teacher_inferer)
        elif self.teacher is not None:
            self._teacher_output = self._ask_teacher(self._shown_to_teacher(inputs))
        if self.student_view is not None:
            inputs = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
            self._view = self.student_view(inputs)
            if self._teacher_output is not None:
                self._teacher_output = _moved(self._teacher_output, self._view, inputs.ndim)
            inputs = self._view.image(inputs)
        output = self.student_inferer(inputs, network, *args, **kwargs)
        if not isinstance(output, TappedOutput):
            raise TypeError(
                f"the network must be a DistilledStudent (ckdmed.engines.attach_student makes one); "
                f"its output was a {type(output).__name__}."
            )
        self._student_output = output
        return output.logits

    def _compare(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if self._student_output is None:
            raise RuntimeError("the loss was computed before the forward pass.")
        target = target.as_tensor() if isinstance(target, MetaTensor) else target
        if self._view is not None:
            target = self._view.label(target)
        batch = self.state.batch
        labelled = batch.get(LABELLED) if isinstance(batch, dict) else None
        self.loss_values = self.distillation_loss(
            self._student_output._replace(logits=pred),
            self._teacher_output,
            target,
            labelled=None if labelled is None else torch.as_tensor(labelled),
            progress=self.progress,
        )
        self.state.terms = {name: value.detach() for name, value in self.loss_values.terms.items()}
        self.state.weights = dict(self.loss_values.weights)
        return self._reached(self.loss_values.total)

    def _reached(self, total: torch.Tensor) -> torch.Tensor:
        """``total``, with projections and the loss's parameters in its graph even while no active term reads them.

        DistributedDataParallel waits for a gradient of every parameter that took part in the forward pass.
        """
        if self._parallel and self._student_output is not None:
            for value in (*self._student_output.projected.values(), *self.distillation_loss.parameters()):
                total = total + 0.0 * value.float().sum()
        return total

    @property
    def progress(self) -> float:
        """Share of the whole training that is done when the iteration at hand ends, in (0, 1]."""
        length = (self.state.max_epochs or 1) * (self.state.epoch_length or 1)
        return min(max(self.state.iteration, 1) / max(length, 1), 1.0)

    def _iteration(self, engine: Engine, batchdata: dict[str, torch.Tensor]) -> dict:  # type: ignore[override]
        output = super()._iteration(engine, batchdata)  # type: ignore[arg-type]
        # the graphs are spent; holding them would keep the activations of a whole step alive
        self.loss_values = self._student_output = self._teacher_output = self._view = None
        return output


def _moved(output: TappedOutput, view: DrawnView, axes: int) -> TappedOutput:
    def move(value: torch.Tensor) -> torch.Tensor:
        # logits of a class stay; maps of any resolution move
        return view.warp(value) if value.ndim == axes else value

    features, projected = ({k: move(v) for k, v in part.items()} for part in (output.features, output.projected))
    return TappedOutput(move(output.logits), features, projected)
