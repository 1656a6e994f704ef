"""The trainer of a student with several teachers, which may learn at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Events
from monai.data import MetaTensor
from monai.utils import CommonKeys
from torch import nn

from ckdmed.engines.student import DistilledStudent
from ckdmed.engines.trainer import LABELLED, DistillationTrainer
from ckdmed.losses.cooperative import HEAD, CooperativeTeacherLoss
from ckdmed.losses.penalties import OutputPenalties
from ckdmed.losses.total import DistillationLoss, LossValues
from ckdmed.networks.projectors import ConvProjector
from ckdmed.networks.taps import TappedOutput, tap_shapes

__all__ = ["MultiTeacherTrainer", "attach_head"]


class MultiTeacherTrainer(DistillationTrainer):
    """Train a student with several teachers, frozen or learning, as a ``DistillationTrainer``.

    One batch holds the channels of all; each network takes its own, after the random transforms. In each iteration
    teachers that learn make their step first: forward pass, ``teacher_loss`` on the labelled samples, backward pass and
    step of ``teacher_optimizer``. The student then learns from their outputs of that pass, cut from their graph: its
    own step cannot reach their gradients, weights or buffers.

    Args:
        teacher: ``FrozenTeacher(TeacherEnsemble(...))`` for teachers that were trained before, or
            :class:`~ckdmed.engines.CooperativeTeachers`, bare or inside DistributedDataParallel, for teachers or a
            fusion that learn.
        teacher_optimizer: over what learns of ``teacher``; None for frozen teachers.
        teacher_loss: what it minimises; given together with the optimiser.
        kwargs: everything else that :class:`~ckdmed.engines.DistillationTrainer` takes.

    The teachers' terms stand in ``engine.state.terms`` beside the student's, with weight 0 in ``engine.state.weights``:
    they are no part of the student's loss. ``teacher_values`` holds them and ``teacher_output`` the teachers' outputs,
    from the forward pass to the end of the iteration.

    Raises:
        ValueError: an optimiser without a loss or the other way round; a cache of the outputs of teachers that learn.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        distillation_loss: DistillationLoss,
        teacher: nn.Module | None = None,
        teacher_optimizer: torch.optim.Optimizer | None = None,
        teacher_loss: CooperativeTeacherLoss | None = None,
        **kwargs: Any,
    ) -> None:
        if (teacher_optimizer is None) != (teacher_loss is None):
            raise ValueError(
                "teachers that learn need both a teacher_optimizer and a teacher_loss; frozen ones neither."
            )
        if teacher_optimizer is not None and kwargs.get("teacher_cache") is not None:
            raise ValueError("teacher_cache holds outputs of frozen teachers; these teachers learn.")
        super().__init__(
            network=network, distillation_loss=distillation_loss, teacher=teacher, **kwargs  # type: ignore[arg-type]
        )
        self.teacher_optimizer = teacher_optimizer
        self.teacher_loss = teacher_loss
        self.teacher_values: LossValues | None = None
        self._peer: torch.Tensor | None = None
        self._taught_output: TappedOutput | None = None
        # what teachers that learn are asked for beside their loss
        learns = teacher_optimizer is not None and self.teacher is not None
        self._penalties = OutputPenalties(self.teacher) if learns else None  # type: ignore[arg-type]
        if teacher_loss is not None and teacher_loss.w_mutual > 0 and self.student_view is not None:
            raise ValueError("peers learn from each other's output for the same image: leave student_view out.")
        if teacher_optimizer is None and self.teacher is not None:
            self.add_event_handler(Events.EPOCH_STARTED, self._hold_still)

    def _hold_still(self) -> None:
        # what shares the networks (an evaluator) may have put them into training mode, in which their statistics move
        teacher: Any = self.teacher
        teacher.eval()

    @property
    def teacher_output(self) -> TappedOutput | None:
        """The teachers' outputs for the batch at hand; of those that learn as they are, whatever the student's view."""
        return self._teacher_output if self._taught_output is None else self._taught_output

    def _run_both(self, inputs: torch.Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.teacher is None or self.teacher_loss is None or self.teacher_loss.w_mutual == 0:
            return super()._run_both(inputs, network, *args, **kwargs)
        # the student first: both learn from what the other said before this step
        output: TappedOutput = self.student_inferer(inputs, network, *args, **kwargs)
        self._peer = output.logits.detach()
        self._teacher_output = self._ask_teacher(inputs)
        self._student_output = output
        return output.logits

    def _ask_teacher(self, images: torch.Tensor) -> Any:
        if self.teacher_optimizer is None or self.teacher_loss is None:
            return super()._ask_teacher(images)
        return self._teach(images, self.teacher_optimizer, self.teacher_loss)

    def _teach(
        self, images: torch.Tensor, optimizer: torch.optim.Optimizer, loss_function: CooperativeTeacherLoss
    ) -> TappedOutput:
        teacher: Any = self.teacher
        teacher.train()
        optimizers = self._optimizers(optimizer)
        begins, ends = self._accumulates()
        if begins:
            for one in optimizers:
                one.zero_grad(set_to_none=True)
        batch: Any = self.state.batch
        label: Any = self.state.output[CommonKeys.LABEL]  # type: ignore[index, call-overload]
        label = label.as_tensor() if isinstance(label, MetaTensor) else label
        flags = batch.get(LABELLED) if isinstance(batch, dict) else None
        labelled = None if flags is None else torch.as_tensor(flags)
        output, values = self._taught(images, loss_function, label, labelled)
        # the student's forward pass may run under autocast, in which no backward pass belongs
        with torch.autocast(images.device.type, enabled=False):
            total = values.total
            for penalty in self._penalties.taken() if self._penalties is not None else []:
                total = total + penalty.to(total.device)
            total = total / self.accumulation_steps
            scaler = self.scaler if self.amp else None
            (total if scaler is None else scaler.scale(total)).backward()
            for one in optimizers if ends else ():
                if scaler is None:
                    one.step()
                else:
                    scaler.step(one)
        self.teacher_values = LossValues(
            values.total.detach(), {name: term.detach() for name, term in values.terms.items()}, values.weights
        )
        # whoever compares it with the label needs it where the label lies, before it moves with the student's view
        self._taught_output = TappedOutput(
            output.logits.detach(), {k: v.detach() for k, v in output.features.items()}, {}
        )
        return self._taught_output

    def _optimizers(self, of_teachers: torch.optim.Optimizer) -> Sequence[torch.optim.Optimizer]:
        """Those that make a step with the teachers' loss."""
        return (of_teachers,)

    def _answer(self, images: torch.Tensor) -> TappedOutput:
        """The learning teachers' output with its graph."""
        return super()._ask_teacher(images)

    def _taught(
        self,
        images: torch.Tensor,
        loss_function: CooperativeTeacherLoss,
        label: torch.Tensor,
        labelled: torch.Tensor | None,
    ) -> tuple[TappedOutput, LossValues]:
        """The learning teachers' output for the batch, and the loss that they minimise."""
        output = self._answer(images)
        with torch.autocast(images.device.type, enabled=False):
            return output, loss_function(output.logits, output.features.get(HEAD), label, labelled, self._peer)

    def _accumulates(self) -> tuple[bool, bool]:
        """Whether gradients begin anew with this iteration, and whether a step ends it; as in the base class."""
        steps, length = self.accumulation_steps, self.state.epoch_length
        at = (self.state.iteration - 1) % length if length is not None else self.state.iteration - 1
        return at % steps == 0, (at + 1) % steps == 0 or at + 1 == length

    def _compare(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        total = super()._compare(pred, target)
        if self.teacher_values is not None:
            self.state.terms.update(self.teacher_values.terms)
            self.state.weights.update(dict.fromkeys(self.teacher_values.terms, 0.0))
        return total

    def _iteration(self, engine: Any, batchdata: dict[str, torch.Tensor]) -> dict:  # type: ignore[override]
        output = super()._iteration(engine, batchdata)
        self.teacher_values = self._peer = self._taught_output = None
        return output


def attach_head(
    student: nn.Module,
    taps: Mapping[str, str],
    classes: int,
    input_shape: Sequence[int],
    input_channels: Sequence[int] | None = None,
    teacher: nn.Module | None = None,
    seed: int = 0,
    loss: DistillationLoss | None = None,
) -> DistilledStudent:
    """The student with an intermediate head for each tapped feature: a 1x1 convolution to the classes.

    A head learns with the student and is no part of it. Its logits lie on the grid of the feature, or on that of the
    teachers' cooperative logits where they have such a feature and it lies on another.

    Args:
        student: the plain network.
        taps: name -> module path; none for a student without heads. Of them those are tapped that the loss reads.
        classes: C.
        input_shape: (B, channels of the batch, *spatial).
        input_channels: those that the student sees, all by default.
        teacher: run once, in evaluation mode, to find the grid; None for none.
        seed: of the heads; the global random state stays as it was.
        loss: the terms, whose own parameters learn with the student; by default all taps get a head.
    """
    taps = dict(taps) if loss is None else loss.select_taps(taps, of_student=True)
    channels = input_shape[1] if input_channels is None else len(input_channels)
    _, shapes = tap_shapes(student, taps, (input_shape[0], channels, *input_shape[2:]))
    grids = _grids(teacher, input_shape) if taps and teacher is not None else {}
    heads = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, shape in shapes.items():
            grid = grids.get(name, shape[2:])
            heads[name] = ConvProjector(
                shape[1], classes, spatial_dims=len(shape) - 2, size=None if grid == shape[2:] else grid
            ).to(next(student.parameters()).device)
    return DistilledStudent(student, taps=taps, projections=heads, input_channels=input_channels, loss=loss)


@torch.no_grad()
def _grids(teacher: nn.Module, input_shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
    modes = {module: module.training for module in teacher.modules()}
    device = next(teacher.parameters()).device
    try:
        teacher.eval()
        output = teacher(torch.zeros(tuple(input_shape), device=device))
    finally:
        for module, mode in modes.items():
            module.training = mode
    return {name: tuple(value.shape[2:]) for name, value in output.features.items()}
