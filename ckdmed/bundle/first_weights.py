"""The files that the network of a training starts from, which a resumed training does not need."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ckdmed.bundle.running import running_workflow
from ckdmed.networks.published_weights import IMAGENET

__all__ = ["first_weights", "of_resumed_run"]

logger = logging.getLogger("ckdmed")


def first_weights(file: str | None) -> str | None:
    """A file that the network starts from; None where it is gone and the training is resumed, with weights of its own.

    Where the training has none yet that can be read, the file is needed, and loading it says that it is gone.

    Args:
        file: its path, or the word for published weights; None for none.
    """
    if not file or file == IMAGENET or Path(file).expanduser().is_file():
        return file
    folder = of_resumed_run("ckpt_dir")
    if folder is None or not _has_own(folder):
        return file
    logger.warning(f"{file}, which the network started from, no longer exists: the run continues with its own weights")
    return None


def of_resumed_run(name: str) -> Any:
    """A setting of the training that is being resumed; None where none is."""
    workflow = running_workflow()
    config = {} if workflow is None else workflow.parser.get()
    if workflow is None or not {"resume", name} <= set(config) or not workflow.parser.get_parsed_content("resume"):
        return None
    return workflow.parser.get_parsed_content(name)


def _has_own(folder: str) -> bool:
    # an inference calls this package too, and does without trainings
    from ckdmed.files import load_weights
    from ckdmed.handlers import ResumeCheckpoint

    for path in ResumeCheckpoint(folder, {}).files():
        try:
            load_weights(path)
        except ValueError:
            continue
        return True
    return False
