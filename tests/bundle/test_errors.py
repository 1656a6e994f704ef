from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from monai.bundle import ConfigParser
from torch import nn

from ckdmed.bundle.errors import RefusedStart, explain_errors, in_words, is_of_settings, root_cause
from ckdmed.json_files import JsonFileError
from ckdmed.zoo_teacher.errors import TeacherBundleError


class Mistake(ValueError):
    pass


@pytest.fixture
def ended_by(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[BaseException], str]:
    """What a process that an error ends prints, the error being wrapped as MONAI does."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    explain_errors(without_traceback=(Mistake,))
    explain_errors()

    def ended(error: BaseException) -> str:
        try:
            try:
                raise error
            except Exception as cause:
                raise RuntimeError("Failed to evaluate ConfigExpression") from cause
        except BaseException as wrapped:
            sys.excepthook(type(wrapped), wrapped, wrapped.__traceback__)
        return capsys.readouterr().err

    return ended


def test_the_cause_is_the_last_line_below_the_traceback(ended_by):
    printed = ended_by(FileNotFoundError("no teacher.pt"))
    assert "Traceback" in printed and "Failed to evaluate" in printed
    assert printed.rstrip().splitlines()[-1] == "error: no teacher.pt"
    assert printed.count("error: no teacher.pt") == 1


@pytest.mark.parametrize("kind", [Mistake, RefusedStart, TeacherBundleError, JsonFileError])
def test_what_explains_itself_has_no_traceback(ended_by, kind):
    assert ended_by(kind("did you mean epochs?")).strip() == "error: did you mean epochs?"


def test_an_interruption_is_no_error_of_ours(ended_by):
    assert "error:" not in ended_by(KeyboardInterrupt())


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


def test_an_error_of_a_part_that_was_being_built_is_one_of_settings():
    """The wrappings are those of MONAI's own parser."""

    def raised(config):
        parser = ConfigParser({"imports": ["$import ckdmed"], **config})
        with pytest.raises(Exception) as caught:
            parser.get_parsed_content("run")
        return caught.value

    part = {"_target_": "ckdmed.transforms.SliceIntensity", "scaling": "none"}
    assert is_of_settings(raised({"part": part, "run": "$@part('x')"}))
    missing = {"_target_": "ckdmed.transforms.SliceIntensity", "scalings": "unit"}
    assert not is_of_settings(raised({"part": missing, "run": "$@part('x')"}))
    # while it ran
    assert not is_of_settings(raised({"run": "$ckdmed.transforms.SliceIntensity('none')"}))
    assert not is_of_settings(ValueError("alone"))
    # somebody's own part is looked for by its traceback
    assert not is_of_settings(raised({"part": {"_target_": "fractions.Fraction", "numerator": "x"}, "run": "$@part"}))


def test_a_wrong_setting_of_ours_has_no_traceback(monkeypatch, capsys):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    explain_errors()
    for target, shown in (("ckdmed.transforms.SliceIntensity", False), ("monai.transforms.NormalizeIntensity", True)):
        wrong = {"scaling": "none"} if "ckdmed" in target else {"subtrahend": "$float('none')"}
        parser = ConfigParser(
            {"imports": ["$import ckdmed"], "part": {"_target_": target, **wrong}, "run": "$@part(0)"}
        )
        with pytest.raises(Exception) as caught:
            parser.get_parsed_content("run")
        sys.excepthook(caught.type, caught.value, caught.tb)
        printed = capsys.readouterr().err
        assert ("Traceback" in printed) is shown and printed.splitlines()[-1].startswith("error: ")


def test_errors_of_pytorch_come_with_what_to_do():
    with pytest.raises(ValueError) as single:
        nn.BatchNorm3d(2)(torch.zeros(1, 2, 1, 1, 1))
    assert "[1, 2, 1, 1, 1]). Batch normalisation has" in in_words(single.value)
    with pytest.raises(RuntimeError) as memory:
        torch.empty(1 << 60)
    assert "Give a smaller --batch_size" in in_words(memory.value)
    assert in_words(ValueError("a size.")) == "a size."
