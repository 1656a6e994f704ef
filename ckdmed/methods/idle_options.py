"""Options of a method that another option leaves without effect, such as ``edge_weights`` where ``w_edge`` is 0."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import torch

from ckdmed.losses.performance_weights import TeacherShares
from ckdmed.losses.total import DistillationLoss
from ckdmed.methods.build import distillation_loss
from ckdmed.methods.registry import method_named

__all__ = ["idle_options"]


def idle_options(method: str, task: str, options: Mapping[str, Any]) -> dict[str, str]:
    """Of a method's options those that change nothing because of another one, with the name of that one.

    The loss is built with and without an option: one that leaves all of its terms as they are has no effect. It is to
    blame on another option if it had one with that other's default, or, of an option that is not given, with another
    number than its default. So an option that merely repeats its default is not among them.

    Args:
        method: name of a registered method.
        task: one of :data:`~ckdmed.methods.TASKS`.
        options: name -> value; None stands for the method's own default.

    Returns:
        name of an option -> name of the one that leaves it without effect. Nothing where the loss needs taps of one's
        own networks, or cannot be built with these options at all.
    """
    given = {name: value for name, value in options.items() if value is not None}
    found: dict[str, str] = {}
    # what is found goes first: some options need it, and without them no loss could be built
    while newly := _found_in(method, task, given):
        found |= newly
        given = {name: value for name, value in given.items() if name not in newly}
    return found


def _found_in(method: str, task: str, given: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in given:
        if _has_effect(method, task, given, name) is False:
            for other in given:
                usual = {key: value for key, value in given.items() if key != other}
                if other != name and _has_effect(method, task, usual, name):
                    found[name] = other
                    break
            else:
                if default := _default_to_blame(method, task, given, name):
                    found[name] = default
    return found


def _default_to_blame(method: str, task: str, given: Mapping[str, Any], name: str) -> str | None:
    """The option whose default leaves a given one without effect, such as a weight of 0; None if there is none."""
    for other, usual in method_named(method, task).options.items():
        if other not in given and isinstance(usual, float):
            trial = {**given, other: 0.25 if usual == 0.5 else 0.5}
            if _has_effect(method, task, trial, name):
                return other
    return None


def _has_effect(method: str, task: str, options: Mapping[str, Any], name: str) -> bool | None:
    """Whether the loss with an option differs from the loss with its default; None where one cannot be built."""
    without = {key: value for key, value in options.items() if key != name}
    try:
        return not _alike(_terms(method, task, options), _terms(method, task, without))
    except (TypeError, ValueError):
        return None


def _terms(method: str, task: str, options: Mapping[str, Any]) -> DistillationLoss:
    # what the networks decide makes no difference here, as long as there is something to compare
    several: dict[str, Any] = {"shares": TeacherShares(1), "cooperative": True} if task == "unimodal" else {}
    return distillation_loss(method, task, tokens=("tokens", "qkv"), **several, **options)


def _alike(first: Any, second: Any) -> bool:
    """Whether two parts of a loss compute the same; functions that were made anew count as different."""
    if type(first) is not type(second):
        return False
    if isinstance(first, torch.Tensor):
        return first.shape == second.shape and bool(torch.equal(first, second))
    if isinstance(first, Mapping):
        return list(first) == list(second) and all(_alike(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(_alike, first, second))
    if isinstance(first, partial):
        return _alike((first.func, first.args, first.keywords), (second.func, second.args, second.keywords))
    if first is second:
        return True
    # of two functions only their code could tell
    if isinstance(first, (FunctionType, MethodType)):
        return False
    return _alike(vars(first), vars(second)) if hasattr(first, "__dict__") else bool(first == second)
