from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Events

from ckdmed.engines import TeacherEnsemble, TeacherPerformance
from ckdmed.engines.teachers.performance import overlap_counts
from ckdmed.engines.trainer import LABELLED
from ckdmed.losses import TeacherShares, performance_weights
from ckdmed.transforms import BatchView
from tests.engines.multi_toy import Setup, ensemble, samples
from tests.toy import loader


def test_counts_by_hand() -> None:
    # two teachers, two regions, one row of four positions
    label = torch.tensor([[[1.0, 1, 0, 0], [0.0, 0, 0, 0]]]).unsqueeze(2)
    logits = torch.tensor([[[1.0, -1, 1, -1], [-1.0, -1, -1, -1], [2.0, 2, -1, -1], [1.0, -1, -1, -1]]]).unsqueeze(2)
    counts = overlap_counts(logits, label, 2)
    assert counts.tolist() == [[[2.0, 0.0], [4.0, 0.0]], [[4.0, 0.0], [4.0, 1.0]]]


def test_exclusive_classes_are_measured_by_the_whole() -> None:
    label = torch.tensor([0, 1, 2, 0]).reshape(1, 1, 1, 4)
    logits = torch.zeros(1, 3, 1, 4)
    logits[0, 2, 0, :2] = 1.0
    # found at positions 0 and 1, true at 1 and 2, whichever class it is
    assert overlap_counts(logits, label, 1, "softmax").tolist() == [[[2.0]], [[4.0]]]


class Constant(torch.nn.Module):
    """Says the same everywhere: one region, the logit of each teacher."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor(value))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.value * torch.ones_like(image[:, :1])


def test_held_out_dice_of_the_whole_data() -> None:
    teachers = TeacherEnsemble({"all": Constant(1.0), "none": Constant(-1.0)}, {"all": [0], "none": [0]})
    teachers.train()
    items = [{"image": torch.zeros(1, 2, 2), "label": torch.full((1, 2, 2), float(n == 0))} for n in range(3)]
    shares = TeacherShares(2)
    measure = TeacherPerformance(shares, teachers, data_loader=loader(items, batch_size=2))
    measure._measure(Any)  # type: ignore[arg-type]
    # 4 true positions of 12 found everywhere: 2 * 4 / (12 + 4); none found: 0
    assert measure.dice is not None and measure.dice.tolist() == [[0.5], [0.0]]
    assert shares.shares.flatten().tolist() == [1.0, 0.0] and teachers.training


def test_average_and_epoch_on_given_batches() -> None:
    teachers = ensemble()
    made = {
        source: TeacherPerformance(TeacherShares(1), teachers, source, learning=True, decay=0.5)
        for source in ("average", "epoch")
    }
    for counts in ([2.0, 4.0], [0.0, 0.0], [3.0, 4.0]):
        for measure in made.values():
            measure._add(torch.tensor(counts, dtype=torch.float64).reshape(2, 1, 1))
    # Dice .5 then .75; the empty batch says nothing. Average: (.5 * .5 * .5 + .5 * .75) / (.25 + .5)
    assert (made["average"]._sum / made["average"]._weight).item() == pytest.approx((0.125 + 0.375) / 0.75)
    assert (made["epoch"]._sum / made["epoch"]._weight).item() == pytest.approx(0.625)


def test_decay_is_the_weight_of_what_was_before() -> None:
    measure = TeacherPerformance(TeacherShares(1), ensemble(), "average", learning=True, decay=0.8)
    for counts in ([2.0, 4.0], [3.0, 4.0]):
        measure._add(torch.tensor(counts, dtype=torch.float64).reshape(2, 1, 1))
    # .8 * (.2 * .5) + .2 * .75 over .8 * .2 + .2; the weights the other way round give 0.55
    assert (measure._sum / measure._weight).item() == pytest.approx(0.23 / 0.36)


@pytest.mark.parametrize("source", ["held_out", "average", "epoch", "equal"])
def test_shares_follow_in_a_training(source: str) -> None:
    setup = Setup("online", epochs=2)
    measure = TeacherPerformance(
        setup.shares, setup.ensemble, source, data_loader=loader(samples(4, seed=9)), learning=True
    )
    measure.attach(setup.trainer)
    seen = []
    setup.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: seen.append(setup.shares.shares.clone()))
    setup.trainer.run()
    torch.testing.assert_close(setup.shares.shares.sum(dim=0), torch.ones(2, dtype=torch.float64))
    if source == "equal":
        assert setup.shares.shares.unique().tolist() == [0.5]
        return
    assert measure.dice is not None
    torch.testing.assert_close(setup.shares.shares, performance_weights(measure.dice))
    assert not torch.equal(seen[0], seen[1])


def test_a_view_of_the_student_does_not_move_what_the_teachers_are_measured_by() -> None:
    measured = []
    for view in (None, BatchView("affine")):
        torch.manual_seed(0)
        setup = Setup("online", epochs=1, student_view=view)
        measure = TeacherPerformance(setup.shares, setup.ensemble, "epoch", learning=True)
        measure.attach(setup.trainer)
        setup.trainer.run()
        measured.append(measure.dice)
    # they learn from the batch as it is, whatever the student sees
    torch.testing.assert_close(measured[0], measured[1])


def test_a_process_without_labelled_samples_takes_part_in_the_sum() -> None:
    setup = Setup("online", epochs=1)
    measure = TeacherPerformance(setup.shares, setup.ensemble, "average", learning=True)
    before = setup.shares.shares.clone()
    state = SimpleNamespace(
        batch={LABELLED: torch.tensor([False, False])}, output={"label": torch.ones(2, 2, 4, 4)}, epoch=1
    )
    engine: Any = SimpleNamespace(teacher_output=SimpleNamespace(logits=torch.ones(2, 4, 4, 4)), state=state)
    measure._batch(engine)
    # what the other processes reduce has this shape, and this one must not be missing
    assert measure._sum.shape == measure._weight.shape == (2, 2)
    measure._close(engine)
    assert measure.dice is None and torch.equal(setup.shares.shares, before)
    state.batch[LABELLED] = torch.tensor([False, True])
    measure._batch(engine)
    measure._close(engine)
    assert measure.dice is not None and measure.dice.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_frozen_teachers_are_measured_once() -> None:
    setup = Setup("frozen", epochs=2)
    measure = TeacherPerformance(setup.shares, setup.ensemble, data_loader=loader(samples(4, seed=9)))
    measure.attach(setup.trainer)
    at_start = []
    setup.trainer.add_event_handler(Events.STARTED, lambda _: at_start.append(setup.shares.shares.clone()))
    setup.trainer.run()
    assert torch.equal(setup.shares.shares, at_start[0])


def test_state_and_refusals() -> None:
    teachers = ensemble()
    shares = TeacherShares(2)
    measure = TeacherPerformance(shares, teachers, "average", learning=True)
    measure._add(torch.tensor([[[1.0], [3.0]], [[4.0], [4.0]]], dtype=torch.float64))
    shares.update([[0.25], [0.75]])
    other = TeacherPerformance(TeacherShares(2), teachers, "average", learning=True)
    other.load_state_dict(measure.state_dict())
    assert torch.equal(other.shares.shares, shares.shares) and torch.equal(other._sum, measure._sum)
    with pytest.raises(ValueError, match="shares of shape"):
        TeacherPerformance(TeacherShares(3), teachers, "equal").load_state_dict(measure.state_dict())
    for kwargs, message in (
        ({"source": "test"}, "source must be one of"),
        ({"source": "held_out"}, "needs a data_loader"),
        ({"source": "epoch"}, "frozen teachers are measured on held-out"),
        ({"source": "equal", "decay": 1.0}, "decay is 1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            TeacherPerformance(shares, teachers, **kwargs)  # type: ignore[arg-type]
    empty = TeacherPerformance(shares, teachers, data_loader=[])
    with pytest.raises(ValueError, match="hold no batch"):
        empty._measure(Any)  # type: ignore[arg-type]
    assert not math.isnan(float(shares.shares.sum()))
