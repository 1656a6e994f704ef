"""Which taps a method may compare."""

from __future__ import annotations

from ckdmed.methods import distillation_loss
from ckdmed.methods.shared_taps import shared_taps

STUDENT = {"d4": "a", "d3": "b", "tokens": "a", "qkv": "a"}


def test_stages_of_both_tokens_of_both_and_all_stages_of_the_student_as_exits() -> None:
    found = shared_taps("segmentation", STUDENT, ["qkv", "d3", "d1"])
    assert found == {"layers": ["d3"], "levels": [], "tokens": ["qkv"], "exits": ["d4", "d3"]}


def test_a_classifier_has_exits_of_its_own() -> None:
    found = shared_taps("classification", ["msgff", "tokens", "exit2", "exit1"], ["msgff", "exit9"])
    assert found == {"layers": ["msgff"], "levels": [], "tokens": [], "exits": ["exit2", "exit1"]}

    # stages by their grid wait for a choice
    found = shared_taps("classification", ["msgff", "s16", "s8", "exit1"], ["msgff", "s4", "s8", "s16"])
    assert found == {"layers": ["msgff"], "levels": ["s16", "s8"], "tokens": [], "exits": ["exit1"]}
    # the decoder of a network of one's own may have names of this form
    assert shared_taps("segmentation", ["s8"], ["s8"])["layers"] == ["s8"]


def test_layers_that_are_given_come_before_those_of_the_taps() -> None:
    options = {"method": "at", "task": "segmentation", "student_taps": STUDENT, "teacher_taps": ["d4", "d3"]}
    assert list(distillation_loss(**options).layers) == ["d4", "d3"]
    assert list(distillation_loss(**options, layers=["d3"]).layers) == ["d3"]
