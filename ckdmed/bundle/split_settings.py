"""Settings of the split that an evaluation is given: its sections are those that the training recorded."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ckdmed.bundle.running import running_workflow
from ckdmed.bundle.setting_check import WrongSettingError
from ckdmed.bundle.trained import recorded_settings
from ckdmed.bundle.typed_settings import typed_settings
from ckdmed.sections.record import NEW

__all__ = ["check_split_settings"]

_OF_THE_SPLIT = ("fold", "n_folds", "fold_source", "split_seed", "train_on_validation")


def check_split_settings(checkpoint: str, sections: Collection[str]) -> None:
    """Refuse split settings other than those of the training: the scores would be reported as those of that split.

    Args:
        checkpoint: what is scored.
        sections: names of those that there are, see :func:`~ckdmed.bundle.scored_items`.

    Raises:
        WrongSettingError: names each with both values.
    """
    workflow = running_workflow()
    # without a record of its patients the split is drawn by these settings
    if workflow is None or NEW not in sections:
        return
    given = {*typed_settings(), *getattr(workflow, "given", ())}
    recorded = recorded_settings(Path(checkpoint)) or {}
    asked = {name: workflow.parser.get_parsed_content(name) for name in _OF_THE_SPLIT if name in given & {*recorded}}
    wrong = [
        f"--{name} is {value}, but that of the training was {recorded[name]}"
        for name, value in asked.items()
        if value != recorded[name]
    ]
    if wrong:
        raise WrongSettingError(
            f"{'; '.join(wrong)}: '{checkpoint}' is scored on the sections that its training recorded, and no split "
            "is drawn. Leave this out, or give the weights of a training with these settings as the checkpoint."
        )
