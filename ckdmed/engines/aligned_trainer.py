"""Mutual distillation of two networks over images that are made to look like the student's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Events
from torch import distributed, nn

from ckdmed.engines.image_alignment import ImageAlignment
from ckdmed.engines.multi_teacher import MultiTeacherTrainer
from ckdmed.losses.aligned_response import ALIGNED
from ckdmed.losses.cooperative import CooperativeTeacherLoss
from ckdmed.losses.total import LossValues
from ckdmed.networks.taps import TappedOutput

__all__ = ["AlignedTrainer", "multi_teacher_trainer"]


class AlignedTrainer(MultiTeacherTrainer):
    """Train a student and a peer whose own sequences are translated to the student's, as a ``MultiTeacherTrainer``.

    x_t are the student's channels, x_f = G(x_a) those that G makes of the peer's. The peer sees what the student sees.
    In each iteration the peer and the translators make their step: the peer learns the label from x_f, and from the
    student on x_t, and the first of these reaches G; then the discriminators; then the student, which learns the label
    from x_t, and from the peer on x_f. Each is cut off the other's graph.

    Args:
        alignment: the translators with their optimisers.
        kwargs: everything else of :class:`~ckdmed.engines.MultiTeacherTrainer`: one peer that learns with
            ``w_mutual`` above 0, and a ``distillation_loss`` with an
            :class:`~ckdmed.losses.aligned_response.AlignedResponseTerm`.

    Raises:
        ValueError: a peer that does not learn from the student; a run of several processes.

    Source: Li et al. 2020 (arXiv 2010.01532); two published re-implementations agree on the terms. They let gradients
        flow into the peer, which is not done here.
    """

    def __init__(self, *, alignment: ImageAlignment, **kwargs: Any) -> None:
        loss = kwargs.get("teacher_loss")
        if loss is None or loss.w_mutual == 0:
            raise ValueError(
                "alignment is a stage of mutual distillation: the peer has to learn from the student (w_mutual)."
            )
        if distributed.is_initialized() and distributed.get_world_size() > 1:
            raise ValueError(
                "mutual distillation with alignment runs in one process only: set align to null for several."
            )
        super().__init__(**kwargs)
        self.alignment = alignment.to(self.state.device)
        self._aligned: torch.Tensor | None = None
        self._judged: torch.Tensor | None = None
        self.add_event_handler(Events.EPOCH_STARTED, alignment.begin_epoch)

    def _optimizers(self, of_teachers: torch.optim.Optimizer) -> Sequence[torch.optim.Optimizer]:
        return (of_teachers, self.alignment.optimizer)

    def _taught(
        self,
        images: torch.Tensor,
        loss_function: CooperativeTeacherLoss,
        label: torch.Tensor,
        labelled: torch.Tensor | None,
    ) -> tuple[TappedOutput, LossValues]:
        self.alignment.train()
        aligned: torch.Tensor = self.student_inferer(images, self.alignment)
        output, on_target = self._answer(aligned), self._answer(images)
        with torch.autocast(images.device.type, enabled=False):
            values = loss_function(output.logits, None, label, labelled, self._peer, for_student_image=on_target.logits)
            terms, weights = self.alignment.generator_terms(images, aligned)
            total = values.total + sum(weights[name] * value for name, value in terms.items())
        self._aligned = aligned.detach()
        return output, LossValues(total, {**values.terms, **terms}, {**values.weights, **weights})

    def _run_both(self, inputs: torch.Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        logits = super()._run_both(inputs, network, *args, **kwargs)
        if self._aligned is None or self._student_output is None:
            raise RuntimeError("the peer made no step.")
        with torch.autocast(inputs.device.type, enabled=False):
            self._judged = self.alignment.step_discriminators(inputs, self._aligned)
        other: TappedOutput = self.student_inferer(self._aligned, network, *args, **kwargs)
        features = {**self._student_output.features, ALIGNED: other.logits}
        self._student_output = self._student_output._replace(features=features)
        return logits

    def _compare(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        total = super()._compare(pred, target)
        if self._judged is not None:
            self.state.terms["discriminators"], self.state.weights["discriminators"] = self._judged, 0.0
        return total

    def _iteration(self, engine: Any, batchdata: dict[str, torch.Tensor]) -> dict:  # type: ignore[override]
        output = super()._iteration(engine, batchdata)
        self._aligned = self._judged = None
        return output


def multi_teacher_trainer(alignment: ImageAlignment | None = None, **kwargs: Any) -> MultiTeacherTrainer:
    """A :class:`~ckdmed.engines.MultiTeacherTrainer`, or with an alignment an :class:`AlignedTrainer`."""
    return MultiTeacherTrainer(**kwargs) if alignment is None else AlignedTrainer(alignment=alignment, **kwargs)
