"""The share of each epoch that has labels."""

from __future__ import annotations

import pytest
from torch import distributed

from ckdmed.bundle import labelled_sampler, needs_teacher, training_items
from ckdmed.losses import DistillationLoss, LogitMSELoss, LossTerm
from ckdmed.sections.classification import balanced_sampler


@pytest.mark.parametrize(("share", "labelled"), [(0.5, 20), (0.25, 10), (0.1, 4)])
def test_a_share_of_each_epoch_has_labels(share: float, labelled: int):
    items = [{"labelled": number < 3} for number in range(40)]
    sampler = labelled_sampler(items, share, seed=1)
    assert sampler is not None
    epochs = []
    for epoch in (1, 2, 1):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
    assert epochs[0] == epochs[2] != epochs[1] and len(epochs[0]) == len(sampler) == 40
    drawn = [number for number in epochs[0] if number < 3]
    assert len(drawn) == labelled and set(drawn) == {0, 1, 2}
    # as evenly as it goes, and no image without a label twice
    assert max(drawn.count(n) for n in range(3)) - min(drawn.count(n) for n in range(3)) <= 1
    rest = [number for number in epochs[0] if number >= 3]
    assert len(set(rest)) == len(rest)


@pytest.mark.parametrize("flag", [True, False])
def test_nothing_to_choose_between_or_no_share_asked_for(flag: bool):
    assert labelled_sampler([{"labelled": flag}] * 9, 0.5) is None
    assert labelled_sampler([{"labelled": flag}, {"labelled": not flag}], None) is None


@pytest.mark.parametrize("share", [0, 1, -0.5, 1.5])
def test_a_share_that_is_none(share: float):
    with pytest.raises(ValueError, match=f"labelled_per_batch must lie between 0 and 1, or be null, got {share}"):
        labelled_sampler([{"labelled": True}], share)


def test_every_process_draws_a_part_of_its_own(monkeypatch: pytest.MonkeyPatch):
    items = [{"labelled": number < 30, "label": number % 3} for number in range(60)]
    for make in (lambda: labelled_sampler(items, 0.5, seed=1), lambda: balanced_sampler(items, 60, seed=1)):
        whole = list(make() or ())
        monkeypatch.setattr(distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
        parts = []
        for rank in (0, 1):
            monkeypatch.setattr(distributed, "get_rank", lambda rank=rank: rank)
            parts.append(list(make() or ()))
        monkeypatch.undo()
        assert parts == [whole[0::2], whole[1::2]]


@pytest.mark.parametrize(
    ("samples", "labelled", "needed"),
    [
        (["unlabelled"], [True, True], False),
        (["unlabelled"], [True, False], True),
        (["unlabelled", "labelled"], [True, True], True),
        (["all"], [True], True),
        ([], [True], False),
    ],
)
def test_a_teacher_is_needed_where_an_image_hears_it(samples: list[str], labelled: list[bool], needed: bool) -> None:
    terms = {"supervised": LossTerm(LogitMSELoss(), "target")}
    terms |= {name: LossTerm(LogitMSELoss(), "logits", 2.0, samples=name) for name in samples}
    loss = DistillationLoss(terms)
    assert needs_teacher(loss, {"train": [{"labelled": known} for known in labelled]}) == needed
    assert loss.needs_teacher == needed
    # what some image hears keeps its weight, and what stands beside it
    assert [loss.terms[name].weight for name in samples] == [2.0 * needed] * len(samples)


def test_a_student_that_learns_from_labels_alone_is_trained_on_what_has_one(caplog: pytest.LogCaptureFixture) -> None:
    items = [{"id": str(number), "labelled": number < 2} for number in range(5)]
    assert training_items({"train": items}, True) == items
    assert training_items({"train": items[:2]}, False) == items[:2]
    assert not caplog.records
    with caplog.at_level("INFO", "ckdmed"):
        assert training_items({"train": items}, False) == items[:2]
    assert "left out 3 of 5 training samples, which have no label" in caplog.text
