"""The setting that chooses a method of distillation: a name of the registry, or a function of one's own."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from ckdmed.bundle.setting_kinds import Kind, LateKind, choice, text

__all__ = ["method_kind"]


@cache
def method_kind(task: str | None = None) -> Kind:
    """The names of the methods that fit a task, or any name where the task is not known.

    The registry is imported when the kind is first used: an exported inference has no method and does without it.
    """

    def make() -> Kind:
        if task is None:
            return text("the name of a method")
        names = choice(*import_module("ckdmed.methods").methods(task))
        own = '{"_target_": "my_module.my_method"} for one of your own'
        return Kind(f"{names.legal}, or {own}", names.convert)

    return LateKind(make, is_function=True)
