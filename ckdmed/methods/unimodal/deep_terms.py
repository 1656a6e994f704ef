"""What methods for several teachers share: the intermediate head, and the warm-up before the teachers' terms count."""

from __future__ import annotations

from torch import nn

from ckdmed.losses.conventions import PairLoss
from ckdmed.losses.cooperative import HEAD, DeepSupervisionTerm
from ckdmed.losses.schedules import StepAfter
from ckdmed.losses.total import LossTerm
from ckdmed.methods.task import Task

__all__ = ["after_warm_up", "deep_terms"]


def after_warm_up(task: Task) -> StepAfter | None:
    """The schedule of a term that uses the teachers' outputs.

    Teachers that learn at the same time have learned nothing before the first epoch, and their shares are not measured.
    """
    # the last step of the warm-up lies on its end, up to rounding
    return StepAfter(task.warm_up + 1e-9) if task.warm_up > 0 else None


def deep_terms(
    task: Task, supervised: nn.Module, divergence: PairLoss, w_deep: float, deep_label: float
) -> dict[str, LossTerm]:
    """w_deep (deep_label sup(h, y') + (1 - deep_label) KD(h, c)): the student's intermediate head h learns from the
    label y' and from the teachers' cooperative logits c. Where they have none it learns from the label alone, with the
    weight w_deep * deep_label.

    Raises:
        ValueError: deep_label outside [0, 1].
    """
    if not 0 <= deep_label <= 1:
        raise ValueError(f"deep_label is {deep_label}; it must lie in [0, 1].")
    terms: dict[str, LossTerm] = {"deep_label": DeepSupervisionTerm(supervised, HEAD, w_deep * deep_label)}
    if task.cooperative:
        terms["deep_cooperative"] = LossTerm(
            divergence, "features", w_deep * (1 - deep_label), layers=(HEAD,), schedule=after_warm_up(task)
        )
    return terms
