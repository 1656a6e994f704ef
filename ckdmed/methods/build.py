"""From the name of a method and a bundle's settings to the loss that the trainer minimises."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from ckdmed.losses.performance_weights import TeacherShares
from ckdmed.losses.total import DistillationLoss, LossTerm
from ckdmed.methods.registry import _name_of, method_named, methods, options_of
from ckdmed.methods.shared_taps import shared_taps
from ckdmed.methods.task import TASKS, Task, supervised_loss_of

__all__ = ["distillation_loss", "with_options_of"]

# the taps of the bundles
_DECODER = ("d4", "d3", "d2", "d1")
_LAYERS = {"segmentation": _DECODER, "regions": _DECODER, "classification": ("msgff",), "unimodal": ()}


def distillation_loss(
    method: str | Callable[..., Any] = "ckd",
    task: str = "segmentation",
    *,
    link: str | None = None,
    student_taps: Iterable[str] | None = None,
    teacher_taps: Iterable[str] = (),
    layers: Sequence[str] | None = None,
    levels: Sequence[str] | None = None,
    tokens: Sequence[str] | None = None,
    exits: Sequence[str] | None = None,
    heads: int = 1,
    supervised: nn.Module | None = None,
    shares: TeacherShares | None = None,
    cooperative: bool = False,
    warm_up: float = 0.0,
    further_terms: Mapping[str, LossTerm] | None = None,
    exclusive: bool = False,
    **options: Any,
) -> DistillationLoss:
    """The terms of a method for a task, with any of its options replaced.

    Args:
        method: name of a registered method, or a function of one's own, ``function(task, **options)``.
        task: one of :data:`~ckdmed.methods.TASKS`.
        link: "sigmoid" or "softmax"; by default "softmax" for classification, "sigmoid" for the others.
        student_taps, teacher_taps: names of the taps of both networks, of which ``layers``, ``levels``, ``tokens`` and
            ``exits`` are those that fit, see :func:`~ckdmed.methods.shared_taps`; None where these are given.
        layers: names of the taps that both networks have, deepest first; without taps by default the decoder's stages
            d4 to d1 for masks and regions, and "msgff" for classification.
        exits: see :class:`~ckdmed.methods.Task`; without taps by default the layers.
        levels, tokens, heads, supervised, shares, cooperative, warm_up: see :class:`~ckdmed.methods.Task`.
        exclusive: the labels are masks of regions that exclude each other: link "softmax" over them and the background,
            which has the first channel of the logits.
        further_terms: terms beside the method's, by names of their own.
        options: of the method; None stands for its own default. Terms of weight 0 are left out.

    Raises:
        ValueError: an unknown task, or a method that does not fit it (the message lists those that do); an option that
            the method does not have; no term left; as the method itself.

    Example::

        loss = distillation_loss("cwd", "segmentation", w_logit=3.0)
        loss(student_output, teacher_output, label).total.backward()
    """
    if task not in TASKS:
        raise ValueError(f"the task must be one of {', '.join(TASKS)}, got {task!r}.")
    if not 0 <= warm_up <= 1:
        raise ValueError(f"warm_up is {warm_up}; it must lie in [0, 1].")
    function = method if callable(method) else method_named(method, task).function
    name = method if isinstance(method, str) else _name_of(method)
    given = {key: value for key, value in options.items() if value is not None}
    _check_options(name, options_of(function), given)
    if twice := sorted(set(given) & set(getattr(function, "keywords", ()))):
        raise ValueError(f"{', '.join(twice)} of the method '{name}' is given twice, beside it and as a setting.")
    link = link or ("softmax" if task == "classification" or exclusive else "sigmoid")
    if student_taps is not None:
        shared = shared_taps(task, student_taps, teacher_taps)
        layers, levels, tokens, exits = (
            shared[kind] if own is None else own
            for kind, own in (("layers", layers), ("levels", levels), ("tokens", tokens), ("exits", exits))
        )
    made = function(
        Task(
            name=task,
            link=link,
            layers=_LAYERS[task] if layers is None else tuple(layers),
            levels=tuple(levels or ()),
            tokens=tuple(tokens or ()),
            exits=tuple((_LAYERS[task] if layers is None else layers) if exits is None else exits),
            heads=heads,
            supervised=supervised or supervised_loss_of(task, link),
            shares=shares,
            cooperative=cooperative,
            warm_up=float(warm_up),
        ),
        **given,
    )
    side = made.projection_side if isinstance(made, DistillationLoss) else "student"
    terms: Mapping[str, Any] = made.terms if isinstance(made, DistillationLoss) else made  # type: ignore[assignment]
    if twice := sorted(set(terms) & set(further_terms or ())):
        raise ValueError(
            f"the further terms {twice} have names that the method '{name}' uses itself; give them others."
        )
    terms = {**terms, **(further_terms or {})}
    if wrong := {key: type(term).__name__ for key, term in terms.items() if not isinstance(term, LossTerm)}:
        raise ValueError(f"the method '{name}' must give LossTerms by name; it gave {wrong}.")
    loss = DistillationLoss({key: term for key, term in terms.items() if term.weight > 0}, projection_side=side)
    loss.exclusive_masks = exclusive
    return loss


def with_options_of(method: Any, task: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that several runs share, without those options of other methods that this one has no use for.

    Args:
        method: a name of the registry; of a function of one's own all settings are left as they are.
        task: one of :data:`~ckdmed.methods.TASKS`.
        settings: of a bundle; what is no option of any method stays.

    Raises:
        ValueError: an unknown method.
    """
    if not isinstance(method, str):
        return dict(settings)
    own = method_named(method, task).options
    others = {option for one in methods(task).values() for option in one.options} - set(own)
    return {key: value for key, value in settings.items() if key not in others}


def _check_options(name: str, known: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    wrong = [key for key in given if key not in known]
    if not wrong:
        return
    listed = ", ".join(known) if known else "none"
    raise ValueError(
        f"the method '{name}' has no use for "
        + ", ".join(f"{key}={given[key]!r}" for key in wrong)
        + f"; its options are: {listed}."
    )
