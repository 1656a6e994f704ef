"""Settings given to an experiment that none of its runs has a use for."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.bundle.idle_settings import idle_settings
from ckdmed.bundle.workflow import bundle_parser
from ckdmed.bundle_files import bundle_folder
from ckdmed.experiments.plan import Run

__all__ = ["tell_of_idle"]

logger = logging.getLogger(__name__)

_OF_TEACHER = "teacher_"


def tell_of_idle(
    planned: Sequence[tuple[Run, Mapping[str, Any]]], given: Collection[str], bundles: Path | None = None
) -> dict[str, str]:
    """Warn of given settings without effect in every run, such as ``n_folds`` where no run is of a fold.

    Args:
        planned: runs with their settings; one run tells of all of its arm.
        given: names of settings, as the user gave them. Entries of components are not looked at.
        bundles: folder of the bundles, see ``bundle_folder``.

    Returns:
        the settings that it warned of, with the reason.
    """
    left = {name: "no run uses it" for name in sorted(given) if "#" not in name and "::" not in name}
    for run, settings in {run.arm.name: (run, settings) for run, settings in planned}.values():
        if not left:
            break
        parser = bundle_parser(bundle_folder(run.arm.bundle, bundles), settings)
        teaches = "distillation_loss" not in parser.get()
        # a teacher's own training has its settings by shorter names
        taken = {
            name: own
            for name in left
            for own in ([name.removeprefix(_OF_TEACHER)] if teaches else []) + [name]
            if own in settings
        }
        idle = idle_settings(parser, set(taken.values()))
        for name, own in taken.items():
            if own in idle:
                left[name] = idle[own]
            else:
                del left[name]
    if left:
        listed = "; ".join(f"{name} ({reason})" for name, reason in left.items())
        logger.warning(f"no effect in any of these runs: {listed}.")
    return left
