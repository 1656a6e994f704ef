"""The cause of a failed bundle run as the last line, where a person looks for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from traceback import walk_tb
from types import TracebackType

from ckdmed.bundle.stopping import close_bars, run_is_stopped
from ckdmed.files import DISK_FULL, DiskFullError

__all__ = ["RefusedStart", "explain_errors", "in_words", "is_of_settings", "root_cause"]

Hook = Callable[[type[BaseException], BaseException, TracebackType | None], object]


class RefusedStart(ValueError):
    """A run that is refused before it starts, with the reason and the remedy; it needs no traceback."""


# how MONAI's wrappings of an error begin: of expressions, components and transforms
_WRAPPINGS = ("Failed to evaluate ", "Failed to instantiate component ", "applying transform ")


def root_cause(error: BaseException) -> BaseException:
    """What went wrong, without MONAI's wrappings around it ("Failed to evaluate ...").

    An error that was raised from another one stays: it says more than that, such as the file's name.
    """
    while error.__cause__ is not None and isinstance(error, RuntimeError) and str(error).startswith(_WRAPPINGS):
        error = error.__cause__
    return error


def is_of_settings(error: BaseException) -> bool:
    """Whether a ValueError of this package came up while MONAI built the parts of a configuration.

    Its message says what to change; one of somebody's own part needs its traceback.
    """
    cause, wrapped = root_cause(error), False
    while error is not cause and error.__cause__ is not None:
        wrapped = wrapped or str(error).startswith("Failed to instantiate component ")
        error = error.__cause__
    return wrapped and isinstance(cause, ValueError) and _raised_here(cause)


def _raised_here(error: BaseException) -> bool:
    module = ""
    for frame, _ in walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__", ""))
    return module.split(".")[0] == "ckdmed"


# what PyTorch's errors say -> what to do
_REMEDIES = {
    "Expected more than 1 value per channel": (
        "Batch normalisation has nothing to normalise when a batch is one image and its deepest feature map one "
        "pixel. Give a larger --batch_size, or larger images (--image_size; for volumes --roi_size)."
    ),
    "out of memory": "Give a smaller --batch_size (with --accumulation_steps to keep the effective batch size), or "
    "smaller images.",
    "can't allocate memory": "Give a smaller --batch_size (with --accumulation_steps to keep the effective batch "
    "size), a lower --cache_rate, or smaller images.",
}


def in_words(error: BaseException) -> str:
    """The message; of a full disk, where whoever wrote did not say more, also what to do, and of some errors of
    PyTorch."""
    full = isinstance(error, OSError) and error.errno in DISK_FULL
    if not full or isinstance(error, DiskFullError):
        message = str(error)
        remedies = [remedy for said, remedy in _REMEDIES.items() if said in message]
        return f"{message.rstrip('.')}. {remedies[0]}" if remedies else message
    return (
        f"{error}: a file could not be written, the disk is full. Free some space, such as caches and output folders "
        "that are no longer needed. Files written before are intact; --resume true continues a run."
    )


def explain_errors(without_traceback: tuple[type[BaseException], ...] = ()) -> None:
    """Let an error that ends the process print its root cause as the last line, below the traceback.

    Args:
        without_traceback: causes that need no traceback because their message says it all; others say so by an
            attribute ``explains_itself``, or are wrong settings, see `is_of_settings`.
    """
    previous: Hook = sys.excepthook
    if getattr(previous, "explains", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        cause = root_cause(error)
        close_bars()
        if isinstance(cause, KeyboardInterrupt):
            run_is_stopped("Ctrl-C")
            return
        explained = isinstance(cause, (RefusedStart, *without_traceback)) or getattr(cause, "explains_itself", False)
        if not explained and not is_of_settings(error):
            previous(kind, error, trace)
        if isinstance(cause, Exception):
            print(f"\nerror: {in_words(cause)}", file=sys.stderr)

    hook.explains = True  # type: ignore[attr-defined]
    sys.excepthook = hook
