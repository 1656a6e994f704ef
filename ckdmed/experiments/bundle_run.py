"""One run of a bundle in this process, from beginning to end."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ckdmed.bundle.errors import in_words, root_cause
from ckdmed.bundle.workflow import bundle_workflow

__all__ = ["run_bundle"]


def run_bundle(name: str, folder: Path, settings: Mapping[str, Any], configs: Sequence[str]) -> None:
    """Run a bundle; nothing of it is left in memory.

    Args:
        name: of the run.
        folder, settings, configs: see :func:`~ckdmed.bundle.workflow.bundle_workflow`.

    Raises:
        RuntimeError: it failed; names the run and the cause.
    """
    workflow = bundle_workflow(folder, settings, configs)
    try:
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    except Exception as error:
        # MONAI says "Failed to evaluate ..." of whatever went wrong
        raise RuntimeError(f"{name}: {in_words(root_cause(error))}") from error
    finally:
        del workflow
        gc.collect()
