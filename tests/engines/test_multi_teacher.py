from __future__ import annotations

from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents, SupervisedEvaluator, SupervisedTrainer
from monai.transforms import Compose, RandAffined, RandFlipd, RandRotate90d

from ckdmed.engines import (
    ChannelMap,
    CooperativeTeachers,
    DistilledStudent,
    FrozenTeacher,
    MultiTeacherTrainer,
    TeacherAverage,
    TeacherEnsemble,
    attach_fusion,
    weights_hash,
)
from ckdmed.handlers import DivergedError, GradientReport
from ckdmed.losses import HEAD, LossValues, TeacherShares
from tests.engines import multi_toy
from tests.engines.multi_toy import MODALITIES, SIZE, Setup, cooperative, ensemble, net, samples
from tests.toy import loader


class Snapshot:
    """Weights, buffers and gradients of a module, as bytes."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.hash = weights_hash(module)
        self.grads = [None if p.grad is None else p.grad.clone() for p in module.parameters()]

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Snapshot)
        same = all(
            (a is None and b is None) or (a is not None and b is not None and torch.equal(a, b))
            for a, b in zip(self.grads, other.grads, strict=True)
        )
        return self.hash == other.hash and same


def test_channel_map_by_names() -> None:
    channels = ChannelMap(["t1n", "t1c", "t2w", "t2f"])
    assert channels(["t2f", "t1c"]) == [3, 1]
    assert ChannelMap(["t1n", "t1c"], neighbours=1)(["t1c"]) == [1, 3, 5]
    assert ChannelMap(["t1n", "t1c"], neighbours=1)(["t1c", "t1n"]) == [1, 0, 3, 2, 5, 4]
    assert channels.views([["t1c", "t2f"], ["t2f"]]) == {"t1c+t2f": [1, 3], "t2f": [3]}
    with pytest.raises(ValueError, match="hold t1n, t1c, t2w, t2f, not flair"):
        channels(["flair"])
    with pytest.raises(ValueError, match="list of names, each once"):
        channels("t1c")
    with pytest.raises(ValueError, match="list of lists"):
        channels.views(["t1c", "t2f"])
    with pytest.raises(ValueError, match="there must be at least one view, and each only once"):
        channels.views([["t1c"], ["t1c"]])
    with pytest.raises(ValueError, match="neighbours"):
        ChannelMap(["t1c"], -1)


def test_views_share_the_random_spatial_transform() -> None:
    # a checkerboard in every channel, scaled by its number: whatever moves one moves all alike
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2
    image = torch.stack([(n + 1.0) * board for n in range(3)])
    augmentation = Compose(
        [
            RandFlipd(["image"], prob=0.5),
            RandRotate90d(["image"], prob=0.5),
            RandAffined(["image"], prob=1.0, rotate_range=0.5, padding_mode="zeros"),
        ]
    )
    augmentation.set_random_state(seed=3)
    moved = augmentation({"image": image})["image"].as_tensor().unsqueeze(0)
    assert not torch.equal(moved[0], image)
    channels = ChannelMap(MODALITIES)
    teacher, student = moved[:, channels(["t2f"])], moved[:, channels(["t1c"])]
    torch.testing.assert_close(teacher / 3, student / 2)


def test_each_network_sees_its_channels_alone() -> None:
    teachers = ensemble()
    image = torch.rand(2, 3, SIZE, SIZE, requires_grad=True)
    said = teachers.eval()(image)
    assert said.shape == (2, 4, SIZE, SIZE) and teachers.names == ["t1n+t1c+t2f", "t2f"]
    (seen,) = torch.autograd.grad(said[:, 2:].sum(), image, retain_graph=True)
    assert seen[:, 2].any() and not seen[:, :2].any()
    student = DistilledStudent(net(1), input_channels=[1])
    (seen,) = torch.autograd.grad(student(image).logits.sum(), image)
    assert seen[:, 1].any() and not seen[:, [0, 2]].any()
    with pytest.raises(ValueError, match="student sees channels"):
        student(image[:, :1])
    with pytest.raises(ValueError, match="a teacher sees channel 2"):
        teachers(image[:, :2])
    with pytest.raises(ValueError, match="same names"):
        TeacherEnsemble({"a": net(1)}, {"b": [0]})
    with pytest.raises(ValueError, match="the teacher '../precious' cannot be the name"):
        # its weights are written under this name
        TeacherEnsemble({"../precious": net(1)}, {"../precious": [0]})


def test_the_average_weighs_each_region() -> None:
    teachers, shares = ensemble().eval(), TeacherShares(2, 2)
    shares.update([[1.0, 1.0], [0.0, 3.0]])
    image = torch.rand(1, 3, SIZE, SIZE)
    first, second = teachers(image).chunk(2, dim=1)
    got = TeacherAverage(teachers, shares)(image)
    torch.testing.assert_close(got[:, 0], first[:, 0])
    torch.testing.assert_close(got[:, 1], 0.25 * first[:, 1] + 0.75 * second[:, 1])


@pytest.mark.parametrize("mode", ["frozen", "fusion", "online"])
def test_who_learns(mode: str) -> None:
    setup = Setup(mode)
    assert isinstance(setup.trainer, SupervisedTrainer)
    before = {part: weights_hash(module) for part, module in _parts(setup).items()}
    setup.trainer.run()
    changed = {part for part, module in _parts(setup).items() if weights_hash(module) != before[part]}
    expected = {"frozen": {"student"}, "fusion": {"student", "fusion"}, "online": {"student", "fusion", "ensemble"}}
    assert changed == expected[mode]
    if mode == "online":
        learnt = {n for n, p in setup.teacher.named_parameters() if p.grad is not None}
        assert learnt == {n for n, _ in setup.teacher.named_parameters()}
    else:
        assert all(p.grad is None for p in setup.ensemble.parameters())
        assert not any(module.training for module in setup.ensemble.modules())


def _parts(setup: Setup) -> dict[str, torch.nn.Module]:
    parts: dict[str, torch.nn.Module] = {"student": setup.student, "ensemble": setup.ensemble}
    if isinstance(setup.teacher, CooperativeTeachers) and setup.teacher.fusion is not None:
        parts["fusion"] = setup.teacher.fusion
    return parts


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_students_step_leaves_the_teachers_bit_for_bit(accumulation: int) -> None:
    setup = Setup("online", accumulation_steps=accumulation)
    after_teachers: list[Snapshot] = []
    students: list[str] = []
    compared = 0

    @setup.trainer.on(IterationEvents.FORWARD_COMPLETED)
    def teachers_are_done(_: Any) -> None:
        after_teachers.append(Snapshot(setup.teacher))
        students.append(weights_hash(setup.student))

    @setup.trainer.on(Events.ITERATION_COMPLETED)
    def student_is_done(engine: Any) -> None:
        nonlocal compared
        assert Snapshot(setup.teacher) == after_teachers[-1]
        assert any(p.grad.any() for p in setup.teacher.parameters())
        stepped = engine.state.iteration % accumulation == 0
        # batch statistics of the student move in its forward pass already; its weights in its step
        assert (weights_hash(setup.student) != students[-1]) == stepped
        compared += 1

    setup.trainer.run()
    assert compared == 4
    moved = [after_teachers[i].hash != after_teachers[i + 1].hash for i in range(3)]
    assert moved == [True] * 3


def test_accumulated_teachers_equal_one_large_batch() -> None:
    # without batch statistics two batches of four are one of eight
    items = samples(8)
    hashes = []
    for size, steps in ((8, 1), (4, 2)):
        setup = Setup("online", epochs=1, train_data_loader=loader(items, size), accumulation_steps=steps)
        setup.teacher.train = lambda mode=True: setup.teacher  # type: ignore[method-assign, assignment, misc]
        setup.teacher.eval()
        for module in setup.teacher.modules():
            module.training = False
        setup.trainer.run()
        hashes.append(torch.cat([p.flatten() for p in setup.teacher.parameters()]))
    torch.testing.assert_close(hashes[0], hashes[1], atol=2e-4, rtol=0)


def test_frozen_teachers_are_never_touched_and_the_student_alone_steps() -> None:
    setup = Setup("frozen", epochs=3)
    first = Snapshot(setup.teacher)
    setup.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda _: _check(Snapshot(setup.teacher) == first))
    setup.trainer.network.train()
    setup.trainer.run()
    assert Snapshot(setup.teacher) == first and isinstance(setup.teacher, FrozenTeacher)


def test_an_evaluation_of_frozen_teachers_leaves_them_frozen() -> None:
    setup = Setup("frozen", epochs=2)
    first = Snapshot(setup.teacher)
    average = TeacherAverage(setup.ensemble, setup.shares)
    assert not average.train().training and not any(module.training for module in setup.ensemble.modules())
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"), val_data_loader=loader(samples(4, seed=9)), network=average
    )
    setup.trainer.add_event_handler(Events.STARTED, lambda _: evaluator.run())
    # whatever else puts the networks into training mode
    setup.trainer.add_event_handler(Events.STARTED, lambda _: [n.train() for n in setup.ensemble.modules()])
    setup.trainer.run()
    assert Snapshot(setup.teacher) == first


def _check(holds: bool) -> None:
    assert holds


def test_terms_of_both_are_reported_and_the_loss_is_the_students() -> None:
    setup = Setup("online", epochs=1)
    seen = []

    @setup.trainer.on(Events.ITERATION_COMPLETED)
    def look(engine: Any) -> None:
        terms, weights = engine.state.terms, engine.state.weights
        total = sum(weights[name] * terms[name] for name in terms)
        torch.testing.assert_close(total, engine.state.output["loss"].detach())
        seen.append({name for name in terms if weights[name] == 0})
        assert engine.teacher_output is None and engine.teacher_values is None

    setup.trainer.run()
    assert seen == [{"teacher_t1n+t1c+t2f", "teacher_t2f", "cooperative"}] * 2


def test_teachers_do_not_learn_from_unlabelled_samples() -> None:
    items = samples(8, labelled=True)
    hashes = []
    for spoil in (0.0, 1.0):
        for item in items:
            if not item["labelled"]:
                item["label"] = torch.full_like(item["label"], spoil)
        setup = Setup("online", epochs=1, train_data_loader=loader(items))
        setup.trainer.run()
        hashes.append((weights_hash(setup.teacher), weights_hash(setup.student)))
    assert hashes[0] == hashes[1]


def test_teachers_get_better() -> None:
    losses = []
    setup = Setup("online", epochs=15)
    setup.trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda e: losses.append(float(e.state.terms["teacher_t1n+t1c+t2f"]))
    )
    setup.trainer.run()
    assert losses[-1] < 0.75 * losses[0]


def test_gradient_report_reads_the_students_terms(caplog: pytest.LogCaptureFixture) -> None:
    setup = Setup("online", epochs=1)
    GradientReport(setup.student.student).attach(setup.trainer)
    with caplog.at_level("INFO"):
        setup.trainer.run()
    assert "response" in caplog.text and "deep_cooperative" in caplog.text and "teacher_t2f" not in caplog.text


def test_three_dimensions() -> None:
    def deep(channels: int) -> torch.nn.Module:
        return net(channels, spatial_dims=3)

    teachers = TeacherEnsemble({"t1c": deep(1), "t2f": deep(1)}, {"t1c": [1], "t2f": [2]})
    taps = {"t1c": "decoder.d2", "t2f": "decoder.d2"}
    fusion = attach_fusion(teachers, taps, 2, (1, 3, 8, 8, 8))
    said = CooperativeTeachers(teachers, taps, fusion)(torch.rand(1, 3, 8, 8, 8))
    assert said.logits.shape == (1, 4, 8, 8, 8) and said.features[HEAD].shape == (1, 2, 4, 4, 4)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="both a teacher_optimizer and a teacher_loss"):
        setup = Setup("online")
        MultiTeacherTrainer(
            device=torch.device("cpu"),
            max_epochs=1,
            train_data_loader=loader(samples()),
            network=setup.student,
            teacher=setup.teacher,
            distillation_loss=setup.loss,
            optimizer=setup.optimizer,
            teacher_optimizer=setup.teacher_optimizer,
        )
    with pytest.raises(ValueError, match="nothing would learn"):
        CooperativeTeachers(ensemble(), learning=False)
    with pytest.raises(ValueError, match="each teacher needs a tap"):
        CooperativeTeachers(ensemble(), {"t2f": "decoder.d2"}, cooperative().fusion)
    teachers = ensemble()
    with pytest.raises(ValueError, match="several grids"):
        attach_fusion(teachers, dict(zip(teachers.names, ("decoder.d2", "decoder.d1"))), 2, (1, 3, SIZE, SIZE))


@pytest.mark.parametrize("mode", ["online", "fusion"])
def test_teachers_that_diverge_stop_the_training_at_that_step(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Setup(mode, epochs=2)
    loss = made.trainer.teacher_loss
    assert loss is not None
    forward = loss.forward

    def broken(*args: Any) -> LossValues:
        values = forward(*args)
        factor = float("nan") if made.trainer.state.iteration == 2 else 1.0
        return LossValues(values.total * factor, values.terms, values.weights)

    monkeypatch.setattr(loss, "forward", broken)
    rates = r"at learning rate 0\.01 \(0\.01 for the teachers\)"
    with pytest.raises(DivergedError, match=rf"loss \d\S+, loss of the teachers nan, .*step 2, {rates}"):
        made.trainer.run()
    assert made.trainer.state.iteration == 2


@pytest.mark.parametrize("mode", ["online", "frozen"])
def test_weights_of_teachers_are_looked_at_where_they_learn(mode: str) -> None:
    made = Setup(mode, epochs=1)

    def spoil(engine: Engine) -> None:
        # after the epoch's last pass: no loss tells of it
        if engine.state.iteration == engine.state.epoch_length:
            next(made.trainer.teacher.parameters()).data.fill_(float("inf"))

    made.trainer.add_event_handler(Events.ITERATION_COMPLETED, spoil)
    if mode == "online":
        with pytest.raises(DivergedError, match=r"the last step made teacher\.\S+ not finite \(1 tensor\)"):
            made.trainer.run()
    else:
        made.trainer.run()


def test_teachers_that_learn_pay_what_their_modules_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = multi_toy.net

    def heads_after_a_training(factor: float) -> torch.Tensor:
        def asking(*args: Any, **kwargs: Any) -> torch.nn.Module:
            network = plain(*args, **kwargs)
            network.head.output_penalty = lambda output: factor * output.square().mean()  # type: ignore[assignment]
            return network

        monkeypatch.setattr(multi_toy, "net", asking)
        setup = Setup("online", epochs=1)
        setup.trainer.run()
        return torch.cat([network.head.conv.weight.flatten() for network in setup.ensemble.networks.values()])

    free, paying = heads_after_a_training(0.0), heads_after_a_training(100.0)
    assert paying.abs().sum() < free.abs().sum()
