"""The teacher's validation score before the training of the student starts."""

from __future__ import annotations

import logging

from ignite.engine import Engine, Events

from ckdmed.counted import counted

__all__ = ["TeacherCheck"]


class TeacherCheck:
    """Evaluate the teacher before the training, and warn as soon as the student does better on the same data.

    A teacher that is worse than its student pulls it down (in pilots by 25 to 30 points of accuracy).

    Args:
        teacher_evaluator: an evaluator of the teacher's network on the validation data.
        student_evaluator: the evaluator of the student on the same data.
        key_metric: name of the metric that both have; higher is better.
        minimum: a teacher below this value is refused.
        learned: how many patients of the validation data the teacher was trained on; its score then is too high.

    Attach to the trainer.

    Raises:
        RuntimeError: at the start, when the teacher's metric is below ``minimum`` or not a number.
    """

    def __init__(
        self,
        teacher_evaluator: Engine,
        student_evaluator: Engine,
        key_metric: str,
        minimum: float | None = None,
        learned: int = 0,
    ) -> None:
        self.teacher_evaluator = teacher_evaluator
        self.student_evaluator = student_evaluator
        self.key_metric = key_metric
        self.minimum = minimum
        self.learned = learned
        self.teacher_metric: float | None = None
        self._warned = False
        self.logger = logging.getLogger(type(self).__name__)

    def attach(self, engine: Engine) -> None:
        """Register on the trainer's ``STARTED`` and the student evaluator's ``COMPLETED``."""
        engine.add_event_handler(Events.STARTED, self._start)
        self.student_evaluator.add_event_handler(Events.COMPLETED, self._compare)

    def _start(self, _: Engine) -> None:
        self.teacher_evaluator.run()
        self.teacher_metric = float(self.teacher_evaluator.state.metrics[self.key_metric])
        seen = f"; it was trained on {counted(self.learned, 'patient')} of these data" if self.learned else ""
        self.logger.info(f"the teacher's {self.key_metric} on the validation data is {self.teacher_metric:.4f}{seen}")
        # of cross-fitted teachers
        if scores := getattr(getattr(self.teacher_evaluator, "network", None), "scores", None):
            self.logger.info(
                f"on the training patients it is {scores['in_fold']:.4f} in fold (trained on them) and "
                f"{scores['out_of_fold']:.4f} out of fold"
            )
        if self.teacher_metric != self.teacher_metric:
            raise RuntimeError(f"the teacher's {self.key_metric} on the validation data is not a number.")
        if self.minimum is not None and self.teacher_metric < self.minimum:
            raise RuntimeError(
                f"the teacher's {self.key_metric} on the validation data is {self.teacher_metric:.4f}, below the "
                f"{self.minimum:.4f} that is required: train it longer, or set a lower minimum."
            )

    def _compare(self, evaluator: Engine) -> None:
        metric = float(evaluator.state.metrics[self.key_metric])
        if self.teacher_metric is None or metric <= self.teacher_metric or self._warned:
            return
        self._warned = True
        self.logger.warning(
            f"the student's {self.key_metric} {metric:.4f} (epoch {evaluator.state.epoch}) exceeds the teacher's "
            f"{self.teacher_metric:.4f} on the validation data: from here on the teacher may hold it back. Use a "
            "better teacher, or lower the weights of the terms that use its outputs."
        )
