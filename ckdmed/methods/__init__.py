"""The methods of distillation: one file each, chosen by name in every bundle that they fit."""

from __future__ import annotations

from ckdmed.methods.build import distillation_loss, with_options_of
from ckdmed.methods.idle_options import idle_options
from ckdmed.methods.peer_temperature import peer_temperature
from ckdmed.methods.registry import Method, method, method_named, methods, registered, usual_setting
from ckdmed.methods.task import TASKS, Task

__all__ = [
    "Method",
    "TASKS",
    "Task",
    "distillation_loss",
    "idle_options",
    "method",
    "method_named",
    "methods",
    "peer_temperature",
    "registered",
    "usual_setting",
    "with_options_of",
]
