"""Runs commands in forks of a process that has imported what all of them need: an import takes longer than most do.

Started by the Python of the environment that is tested. A line on stdin is a command, ``[argv, folder, log]`` in JSON;
the answer is its exit status. It imports nothing of the package, and nothing that the package does not import itself.
"""

from __future__ import annotations

import json
import os
import runpy
import sys

import ignite.engine  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import monai.bundle  # noqa: F401
import monai.engines  # noqa: F401
import monai.handlers  # noqa: F401
import monai.transforms  # noqa: F401
import torch


def run(argv: list[str]) -> None:
    """As ``python -m module``, ``python script`` or the program ``ckdmed`` would."""
    if os.path.basename(argv[0]) == "ckdmed":
        argv = [argv[0], "-m", "ckdmed", *argv[1:]]
    if argv[1] == "-m":
        sys.path.insert(0, os.getcwd())
        sys.argv = argv[2:]
        runpy.run_module(argv[2], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, os.path.dirname(os.path.abspath(argv[1])))
        sys.argv = argv[1:]
        runpy.run_path(argv[1], run_name="__main__")


def in_fork(argv: list[str], folder: str, log: str) -> int:
    """Run one to its end; returns its exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        os.chdir(folder)
        run(argv)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in sys.stdin:
        print(in_fork(*json.loads(line)), flush=True)
