from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanDice, from_engine
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from ckdmed.engines import FrozenTeacher, load_network, prepare_teacher, weights_hash
from ckdmed.engines.teachers.frozen import TeacherIdentity
from ckdmed.files import load_weights, save_weights
from ckdmed.handlers import DivergedError, EventWriter
from ckdmed.losses import supervised_segmentation_loss
from tests.networks.test_checkpoint import write_safetensors
from tests.toy import loader, samples, unet


def evaluator(network: nn.Module) -> SupervisedEvaluator:
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=loader(samples(4, seed=1)),
        network=network,
        key_val_metric={"val_mean_dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
    )


def prepare(network: nn.Module, folder: Path, validator: SupervisedEvaluator | None = None, **kwargs: Any) -> nn.Module:
    settings: dict[str, Any] = {"checkpoint": None, "epochs": 3} | kwargs
    return prepare_teacher(
        network,
        train_data_loader=loader(samples(8), shuffle=True),
        evaluator=validator or evaluator(network),
        loss_function=supervised_segmentation_loss(),
        output_dir=str(folder),
        key_metric="val_mean_dice",
        seed=1,
        **settings,
    )


def test_trains_keeps_the_best_and_freezes(tmp_path: Path):
    network = unet()
    before = weights_hash(network)
    assert prepare(network, tmp_path) is network
    assert weights_hash(network) != before
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    best = unet(seed=7)
    best.load_state_dict(load_weights(tmp_path / "teacher.pt"), strict=True)
    record = json.loads((tmp_path / "teacher.json").read_text())
    assert weights_hash(best) == weights_hash(network) == record["weights_sha256"] and record["epochs"] == 3
    rows = (tmp_path / "teacher_history.jsonl").read_text().splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == [1, 2, 3]


@pytest.mark.parametrize(("last", "kept"), [(False, 0), (True, 2)])
def test_the_best_weights_are_kept_or_the_last(tmp_path: Path, last: bool, kept: int):
    network = unet()
    validator = evaluator(network)
    after_epochs: list[str] = []

    @validator.on(Events.COMPLETED)
    def _(engine: Engine) -> None:
        engine.state.metrics["val_mean_dice"] = 1 / (1 + len(after_epochs))
        after_epochs.append(weights_hash(network))

    prepare(network, tmp_path, validator, last=last)
    assert len(set(after_epochs)) == 3
    assert weights_hash(network) == after_epochs[kept]


@pytest.mark.parametrize(("given", "steps"), [({}, 6), ({"accumulation_steps": 2}, 3), ({"accumulation_steps": 9}, 3)])
def test_gradients_of_several_steps_are_averaged_into_one(tmp_path: Path, given: dict[str, int], steps: int):
    taken: list[torch.optim.Optimizer] = []
    hook = register_optimizer_step_post_hook(lambda optimizer, *rest: taken.append(optimizer))
    try:
        # three epochs of two batches
        prepare(unet(), tmp_path, **given)
    finally:
        hook.remove()
    assert len(taken) == steps


@pytest.mark.parametrize("wanted", [False, True])
def test_the_network_is_compiled_where_that_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: bool):
    compiled: list[nn.Module] = []

    def note(network: nn.Module, **options: Any) -> nn.Module:
        compiled.append(network)
        return network

    monkeypatch.setattr(torch, "compile", note)
    network = unet()
    prepare(network, tmp_path, epochs=1, compile=wanted)
    assert compiled == ([network] if wanted else [])


def test_tensorboard_gets_the_training_under_the_teachers_name(tmp_path: Path):
    writer = EventWriter(str(tmp_path / "board"))
    prepare(unet(), tmp_path, summary_writer=writer, prefix="teacher/t1c")
    writer.close()
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    rows = [json.loads(row) for row in (tmp_path / "teacher_history.jsonl").read_text().splitlines()]
    for tag, wanted in (
        ("epoch/loss", [row["loss"] for row in rows]),
        ("epoch/learning_rate", [row["learning_rate"] for row in rows]),
        ("validation/val_mean_dice", [row["metrics"]["val_mean_dice"] for row in rows]),
    ):
        given = events.Scalars(f"teacher/t1c/{tag}")
        assert [event.step for event in given] == [1, 2, 3]
        assert [event.value for event in given] == pytest.approx(wanted, rel=1e-5), tag
    assert all(tag.startswith("teacher/t1c/") for tag in events.Tags()["scalars"])


def test_broken_off_and_resumed_equals_unbroken(tmp_path: Path):
    unbroken = prepare(unet(dropout=0.3), tmp_path / "unbroken")

    def interrupt(validator: Engine) -> None:
        if validator.state.epoch == 3:
            raise KeyboardInterrupt

    network = unet(dropout=0.3)
    validator = evaluator(network)
    validator.add_event_handler(Events.EPOCH_STARTED, interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare(network, tmp_path / "broken", validator)
    resumed = prepare(unet(seed=5, dropout=0.3), tmp_path / "broken", resume=True)
    assert weights_hash(resumed) == weights_hash(unbroken)


def test_a_finished_teacher_is_not_trained_again_on_resuming(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    trained = weights_hash(prepare(unet(), tmp_path, epochs=1))
    with caplog.at_level("INFO"):
        again = prepare(unet(seed=5), tmp_path, epochs=1, resume=True)
    assert weights_hash(again) == trained and "trained before" in caplog.text


def test_a_checkpoint_is_loaded_and_nothing_written(tmp_path: Path):
    path = save_weights(tmp_path / "given.pt", unet(seed=8).state_dict())
    network = prepare(unet(), tmp_path / "out", checkpoint=str(path))
    assert weights_hash(network) == weights_hash(unet(seed=8))
    assert not (tmp_path / "out").exists() and not any(p.requires_grad for p in network.parameters())


def test_no_teacher_where_none_is_needed(tmp_path: Path):
    network = unet()
    prepare(network, tmp_path / "out", needed=False)
    assert weights_hash(network) == weights_hash(unet()) and not (tmp_path / "out").exists()


def test_the_end_of_the_training_is_validated_whatever_the_interval(tmp_path: Path):
    validated: list[int] = []
    network = unet()
    validator = evaluator(network)
    # the handler hands the trainer's epoch on as the evaluator's number of epochs
    validator.add_event_handler(Events.COMPLETED, lambda engine: validated.append(engine.state.max_epochs))
    prepare(network, tmp_path / "five", validator, epochs=5, val_interval=3)
    assert validated == [3, 5]
    rows = [json.loads(row) for row in (tmp_path / "five" / "teacher_history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows if "metrics" in row] == [3, 5]
    validated.clear()
    prepare(network, tmp_path / "four", validator, epochs=4, val_interval=2)
    prepare(network, tmp_path / "two", validator, epochs=2, val_interval=5)
    assert validated == [2, 4, 2]


def test_a_teacher_whose_metric_is_no_number_is_refused(tmp_path: Path):
    network = unet()
    validator = evaluator(network)
    validator.add_event_handler(
        Events.COMPLETED, lambda engine: engine.state.metrics.update({"val_mean_dice": float("nan")})
    )
    with pytest.raises(RuntimeError, match="not a number at any validation in 2 epochs .one every 5"):
        prepare(network, tmp_path, validator, epochs=2, val_interval=5)


def test_the_teacher_of_an_earlier_run_is_not_overwritten(tmp_path: Path):
    prepare(unet(), tmp_path, epochs=1)
    before = (tmp_path / "teacher.pt").read_bytes()
    with pytest.raises(ValueError, match="holds a teacher of an earlier run"):
        prepare(unet(), tmp_path, epochs=1)
    assert (tmp_path / "teacher.pt").read_bytes() == before


def test_a_teacher_that_diverges_is_not_kept(tmp_path: Path):
    with pytest.raises(DivergedError, match="loss nan in epoch 1 of 3, step 2, at learning rate 9.94"):
        prepare(unet(), tmp_path, learning_rate=1e30)
    assert not list(tmp_path.rglob("*.pt"))


def test_weights_that_are_not_finite_are_no_teacher(tmp_path: Path):
    state = unet().state_dict()
    name = next(iter(state))
    state[name].view(-1)[0] = float("nan")
    path = save_weights(tmp_path / "broken.pt", state)
    with pytest.raises(ValueError, match=rf"broken\.pt' is of a training that diverged: {name}"):
        prepare(unet(), tmp_path, checkpoint=str(path))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"nothing": torch.zeros(1)}, "' does not fit this UNet: .*Missing key"),
        ([1, 2], ": holds no state dict"),
    ],
)
def test_checkpoints_that_do_not_fit_are_named(tmp_path: Path, state: Any, message: str):
    path = save_weights(tmp_path / "other.pt", state)
    with pytest.raises(ValueError, match=rf"other\.pt{message}"):
        load_network(unet(), str(path))


@pytest.mark.parametrize("form", ["plain", "state_dict", "module", "half", "safetensors"])
def test_every_form_of_a_checkpoint_is_read(tmp_path: Path, form: str):
    made = unet()
    with torch.no_grad():
        for value in made.parameters():
            value.copy_(value.half())
    state: Any = made.state_dict()
    if form == "safetensors":
        path = write_safetensors(tmp_path / "net.safetensors", state)
    else:
        held = {"module." + name: value for name, value in state.items()} if form == "module" else state
        held = {name: value.half() for name, value in state.items()} if form == "half" else held
        path = save_weights(tmp_path / "net.pt", {"state_dict": held, "epoch": 3} if form == "state_dict" else held)
    found = load_network(unet(), str(path)).state_dict()
    for name, value in state.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


def test_checkpoint_of_another_width(tmp_path: Path):
    path = save_weights(tmp_path / "wide.pt", unet(base=4).state_dict())
    with pytest.raises(ValueError, match="size mismatch.*Give the widths and sizes that it was trained with"):
        load_network(unet(base=2), str(path))


def test_identity_notices_other_weights():
    teacher = FrozenTeacher(unet())
    state = TeacherIdentity(teacher).state_dict()
    assert state == {"sha256": teacher.state_hash()}
    TeacherIdentity(FrozenTeacher(unet())).load_state_dict(state)
    with pytest.raises(ValueError, match=f"SHA-256 {state['sha256'][:12]}"):
        TeacherIdentity(FrozenTeacher(unet(seed=2))).load_state_dict(state)
