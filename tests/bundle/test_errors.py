from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from ckdmed.bundle import errors
from ckdmed.bundle.errors import in_words, root_cause

# the file alone: its package brings torch, for which these processes need not wait
IMPORT = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("errors", {errors.__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
explain_errors = module.explain_errors
"""

SCRIPT = """
class Mistake(ValueError):
    pass
explain_errors(without_traceback=(Mistake,))
explain_errors()
try:
    raise {error}
except Exception as e:
    raise RuntimeError("Failed to evaluate ConfigExpression") from e
"""


def run(error: str) -> subprocess.CompletedProcess[str]:
    script = IMPORT + SCRIPT.format(error=error)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, encoding="utf-8", check=False)


def test_the_cause_is_the_last_line_below_the_traceback():
    done = run("FileNotFoundError('no teacher.pt')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "Failed to evaluate" in done.stderr
    assert done.stderr.rstrip().splitlines()[-1] == "error: no teacher.pt"
    assert done.stderr.count("error: no teacher.pt") == 1


@pytest.mark.slow
def test_what_explains_itself_has_no_traceback():
    done = run("Mistake('did you mean epochs?')")
    assert done.returncode == 1
    assert done.stderr.strip() == "error: did you mean epochs?"


@pytest.mark.slow
def test_an_interruption_is_no_error_of_ours():
    script = IMPORT + "explain_errors()\nraise KeyboardInterrupt"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode != 0 and "error:" not in done.stderr


def test_root_cause_takes_off_the_wrappings_of_monai_and_no_more():
    def wrapped(*messages: str) -> Exception:
        error: Exception = ValueError("'a.pt' is damaged")
        error.__cause__ = EOFError()
        for message in messages:
            outer = RuntimeError(message)
            outer.__cause__, error = error, outer
        return error

    for messages in ((), ("applying transform <x>", "Failed to evaluate ConfigExpression: y")):
        assert str(root_cause(wrapped(*messages))) == "'a.pt' is damaged"
    assert str(root_cause(wrapped("the run failed", "Failed to instantiate component 'c'"))) == "the run failed"
    assert str(root_cause(RuntimeError("Failed to evaluate it"))) == "Failed to evaluate it"


def test_errors_of_pytorch_come_with_what_to_do():
    with pytest.raises(ValueError) as single:
        nn.BatchNorm3d(2)(torch.zeros(1, 2, 1, 1, 1))
    assert "[1, 2, 1, 1, 1]). Batch normalisation has" in in_words(single.value)
    with pytest.raises(RuntimeError) as memory:
        torch.empty(1 << 60)
    assert "Give a smaller --batch_size" in in_words(memory.value)
    assert in_words(ValueError("a size.")) == "a size."
