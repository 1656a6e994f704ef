"""`python -m monai.bundle run` within a command of this package."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fire
from monai.bundle import create_workflow

from ckdmed.bundle.errors import RefusedStart, is_of_settings, root_cause
from ckdmed.bundle.stopping import close_bars, run_is_stopped
from ckdmed.bundle.tracking import check_tracking
from ckdmed.bundle.typed_settings import taken_from
from ckdmed.bundle_files import bundles_folder

__all__ = ["run_bundle"]


def run_bundle(files: Sequence[Path], settings: Sequence[str], debug: bool = False) -> int:
    """Run a bundle's configuration with settings as they were typed, read by the rules of MONAI's command line.

    Args:
        files: the configuration, a later file over an earlier one.
        settings: words such as ``--epochs 5``.
        debug: leave errors as they are.

    Returns:
        0; 1 after an error while it ran, with its traceback and the cause below it on standard error.

    Raises:
        Exception: the cause by which it did not begin, without MONAI's wrappings around it.
    """
    words = ["--config_file", repr([str(file) for file in files]), *settings]
    workflows: list[Any] = []

    def begin(**options: Any) -> None:
        if options.get("tracking") is not None:
            check_tracking(options.get("tracking_uri"))
        workflows.append(create_workflow(**options))

    _trust_own(files)
    with taken_from(words):
        try:
            # the function gives nothing back that fire could take for its next component
            fire.Fire(begin, command=words, name="ckdmed run")
        except KeyboardInterrupt:
            run_is_stopped("Ctrl-C")
            raise
        except Exception as error:
            if debug:
                raise
            close_bars()
            raise root_cause(error) from error
        (workflow,) = workflows
        try:
            workflow.run()
            workflow.finalize()
        except KeyboardInterrupt:
            run_is_stopped("Ctrl-C")
            close_bars()
            raise
        except Exception as error:
            if debug:
                raise
            # an inference looks for its inputs and weights when it runs, and classes are counted before a loss is built
            if isinstance(cause := root_cause(error), RefusedStart) or is_of_settings(error):
                close_bars()
                raise cause from error
            # the configuration has hooked in how the cause of a failed run is told
            sys.excepthook(type(error), error, error.__traceback__)
            return 1
    return 0


def _trust_own(files: Sequence[Path]) -> None:
    """Of this package's own configurations MONAI need not say that they are code."""
    own = bundles_folder().resolve()
    if all(file.resolve().is_relative_to(own) for file in files):
        warnings.filterwarnings("ignore", message="parsing config_file", category=UserWarning)
