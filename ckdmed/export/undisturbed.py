"""Running a bundle's configuration inside another program, which goes on as it was."""

from __future__ import annotations

import contextlib
import io
import logging
import random
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from monai.utils import set_determinism

__all__ = ["undisturbed"]


@contextlib.contextmanager
def undisturbed() -> Iterator[io.StringIO]:
    """Catch what is printed and logged, and put back what the start of a bundle's run changes in the process.

    These are the random states, MONAI's determinism, the handlers of the root logger and the hook for uncaught errors.
    Gives the text that was caught.
    """
    caught = io.StringIO()
    root = logging.getLogger()
    handlers, level, hook = list(root.handlers), root.level, sys.excepthook
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict]
    outputs = [(logger, list(logger.handlers)) for logger in loggers]
    # A bundle's logging.conf closes every handler of the process, and some close what they write to: abseil's, which
    # comes with TensorBoard, would close a notebook's standard error.
    open_handlers: list[Any] = vars(logging)["_handlerList"]
    of_process = list(open_handlers)
    del open_handlers[:]
    try:
        root.handlers = [logging.StreamHandler(caught)]
        for logger, _ in outputs:
            # handlers of single loggers would write past the root's
            logger.handlers = []
        with contextlib.redirect_stdout(caught), contextlib.redirect_stderr(caught), torch.random.fork_rng():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield caught
    finally:
        set_determinism(None)
        open_handlers[:0] = of_process
        root.handlers, sys.excepthook = handlers, hook
        root.setLevel(level)
        for logger, own in outputs:
            logger.handlers = own
        random.setstate(states[0])
        np.random.set_state(states[1])
        # the end of MONAI's determinism seeds anew, after fork_rng has put the state back
        torch.set_rng_state(states[2])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
