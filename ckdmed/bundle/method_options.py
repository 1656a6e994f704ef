"""The options of a run's method in effect: a run that is repeated or resumed years later has those of then."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["method_options"]


def method_options(config: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are set, and the others' defaults of today.

    Args:
        config: of a bundle.
        settings: of the run; ``method`` and its options are read. The configuration's method, where they name none.

    Returns:
        name -> value as JSON has it; nothing of a bundle without distillation, or of a function or loss of one's own.

    Raises:
        ValueError: an unknown method.
    """
    loss, chosen = config.get("distillation_loss"), settings.get("method", config.get("method"))
    if not isinstance(loss, Mapping) or "task" not in loss or not isinstance(chosen, str):
        return {}
    # an inference calls this package too, and does without methods
    from ckdmed.methods import method_named

    found = {
        name: default if settings.get(name) is None else settings[name]
        for name, default in method_named(chosen, str(loss["task"])).options.items()
    }
    return dict(json.loads(json.dumps(found)))
