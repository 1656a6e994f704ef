"""A second process beside a test, without the seconds that it takes to import PyTorch and MONAI again."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any


def _do_and_wait(begun: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    function(*arguments)
    begun.send(True)
    # until it is killed
    begun.recv()


@contextmanager
def after(function: Callable[..., Any], *arguments: Any) -> Iterator[BaseProcess]:
    """A forked process that has called a function and now waits; it is killed at the end."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_do_and_wait, args=(there, function, arguments), daemon=True)
    process.start()
    there.close()
    try:
        assert here.recv(), "the other process ended"
        yield process
    finally:
        process.kill()
        process.join()
        here.close()
