from __future__ import annotations

from functools import partial

import pytest
from ignite.engine import Engine, Events

from ckdmed.handlers import TeacherCheck


def evaluator(values: list[float]) -> Engine:
    """An evaluator whose metric is the next value at each run."""
    engine = Engine(lambda *_: None)
    left = iter(values)
    engine.add_event_handler(Events.STARTED, lambda e: e.state.metrics.update(dice=next(left)))
    # as MONAI's evaluators, it has its data
    engine.run = partial(engine.run, [0], max_epochs=1)  # type: ignore[method-assign]
    return engine


def run(teacher: float, students: list[float], minimum: float | None = None, learned: int = 0) -> TeacherCheck:
    student = evaluator(students)
    check = TeacherCheck(evaluator([teacher]), student, "dice", minimum, learned)
    trainer = Engine(lambda *_: None)
    check.attach(trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: student.run())
    trainer.run([0], max_epochs=len(students))
    return check


def test_warns_once_when_the_student_does_better(caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO"):
        check = run(0.7, [0.5, 0.71, 0.8])
    assert check.teacher_metric == 0.7
    assert "the teacher's dice on the validation data is 0.7000" in caplog.text
    (warning,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert "student's dice 0.7100" in warning and "exceeds the teacher's 0.7000" in warning


def test_a_score_on_patients_that_the_teacher_learned_says_so(caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO"):
        run(0.7, [0.5])
        run(0.8, [0.5], learned=3)
    first, second = [message for message in caplog.messages if "on the validation data" in message]
    assert first.endswith("is 0.7000") and second.endswith("is 0.8000; it was trained on 3 patients of these data")


def test_is_silent_while_the_teacher_is_better(caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO"):
        run(0.7, [0.5, 0.7])
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


def test_a_teacher_below_the_minimum_is_refused():
    with pytest.raises(RuntimeError, match="0.4000, below the 0.5000 that is required"):
        run(0.4, [0.1], minimum=0.5)
    assert run(0.5, [0.1], minimum=0.5).teacher_metric == 0.5


def test_a_teacher_without_a_metric_is_refused():
    with pytest.raises(RuntimeError, match="dice on the validation data is not a number"):
        run(float("nan"), [0.1])
