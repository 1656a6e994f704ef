"""The methods of distillation by name: each is one function in one file of this package, or of one's own."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import Any

from ckdmed.losses.total import DistillationLoss, LossTerm
from ckdmed.methods.task import TASKS

__all__ = ["Method", "method", "method_named", "methods", "options_of", "registered", "usual_setting"]

Terms = Mapping[str, LossTerm] | DistillationLoss
MethodFunction = Callable[..., Terms]


@dataclass(frozen=True)
class Method:
    """A registered method.

    Attributes:
        name: by which a setting chooses it.
        tasks: those that it fits.
        summary: one line, without a full stop.
        source: the publication and where its defaults are from.
        function: called as ``function(task, **options)``; gives the named terms, or a whole
            :class:`~ckdmed.losses.DistillationLoss`. Its options are the bundle's settings of the same names, and their
            defaults those of the method.
        training: settings of a bundle that belong to the method, where none are given: ``mixup``, ``student_view``.
    """

    name: str
    tasks: tuple[str, ...]
    summary: str
    source: str
    function: MethodFunction
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """Option -> default."""
        return dict(self._options)

    @cached_property
    def _options(self) -> dict[str, Any]:
        # a plan of many runs asks tens of thousands of times, and a signature is slow to read
        return options_of(self.function)


_METHODS: dict[tuple[str, str], Method] = {}


def method(
    name: str, *tasks: str, summary: str, source: str = "", training: Mapping[str, Any] | None = None
) -> Callable[[MethodFunction], MethodFunction]:
    """Register the decorated function under a name for the tasks that it fits.

    One name may stand for a function of each task. The function itself stays as it is.

    Args:
        name, tasks, summary, source, training: see :class:`Method`.

    Raises:
        ValueError: no task or an unknown one; the name is taken for a task by another function; a function without the
            argument ``task``, or with options that have no default.

    Example::

        @method("logit_mse", "segmentation", "regions", summary="Squared distance of the logits")
        def logit_mse(task: Task, w_sup: float = 1.0, w_logit: float = 1.0) -> dict[str, LossTerm]:
            return {
                "supervised": LossTerm(task.supervised, "target", w_sup),
                "logit_mse": LossTerm(LogitMSELoss(), "logits", w_logit),
            }
    """
    if not tasks or set(tasks) - set(TASKS):
        raise ValueError(f"the tasks of the method '{name}' must be among {', '.join(TASKS)}; got {list(tasks)}.")

    def register(function: MethodFunction) -> MethodFunction:
        made = Method(name, tasks, summary, source, function, dict(training or {}))
        if missing := [key for key, default in made.options.items() if default is inspect.Parameter.empty]:
            raise ValueError(f"the options {missing} of the method '{name}' need defaults.")
        for task in tasks:
            known = _METHODS.setdefault((task, name), made)
            place = (known.function.__module__, known.function.__qualname__)
            if place != (function.__module__, function.__qualname__):
                raise ValueError(f"the method '{name}' of {task} is registered already, by {'.'.join(place)}.")
            _METHODS[task, name] = made
        return function

    return register


def options_of(function: MethodFunction) -> dict[str, Any]:
    """Option -> default of a method's function: its arguments behind ``task``.

    Raises:
        ValueError: its first argument is not called ``task``, or it takes options of any name.
    """
    parameters = list(inspect.signature(function).parameters.values())
    first = parameters[0].name if parameters else None
    if first != "task" or any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters):
        raise ValueError(
            f"a method is a function of 'task' and of options with names of their own, as in def my_method(task, "
            f"w_sup=1.0); {_name_of(function)} is {inspect.signature(function)}."
        )
    return {p.name: p.default for p in parameters[1:]}


@cache
def _import_all() -> None:
    package = importlib.import_module("ckdmed.methods")
    for module in pkgutil.walk_packages(package.__path__, "ckdmed.methods."):
        importlib.import_module(module.name)


def registered() -> list[Method]:
    """All methods, each once, those of one task together."""
    return list({id(found): found for task in TASKS for found in methods(task).values()}.values())


def methods(task: str) -> dict[str, Method]:
    """Name -> method, of those that fit a task.

    Raises:
        ValueError: an unknown task.
    """
    if task not in TASKS:
        raise ValueError(f"the task must be one of {', '.join(TASKS)}, got {task!r}.")
    _import_all()
    return {name: found for (own, name), found in sorted(_METHODS.items()) if own == task}


def method_named(name: str, task: str) -> Method:
    """The method of a name for a task.

    Raises:
        ValueError: there is none; the message lists those that fit, with what each is.
    """
    known = methods(task)
    if name in known:
        return known[name]
    near = difflib.get_close_matches(str(name), known, n=1)
    raise ValueError(
        f"there is no method {name!r} for {task}"
        + (f"; did you mean '{near[0]}'? " if near else ". ")
        + ("It fits other tasks. " if any(one.name == name for one in registered()) else "")
        + "Those that fit: "
        + "; ".join(f"{one.name} ({one.summary})" for one in known.values())
        + "."
    )


def usual_setting(method: Any, task: str, setting: str, default: Any) -> Any:
    """What a bundle's setting is where none is given: that of the method, or ``default``.

    Args:
        method: a name of the registry; a function of one's own has no settings.
        task: one of ``TASKS``.
        setting: its name.
        default: of all other methods, unknown ones among them: whoever builds the loss refuses those.
    """
    found = methods(task).get(method) if isinstance(method, str) else None
    return default if found is None else found.training.get(setting, default)


def _name_of(function: Any) -> str:
    inner = function.func if isinstance(function, partial) else function
    return getattr(inner, "__qualname__", str(inner))
