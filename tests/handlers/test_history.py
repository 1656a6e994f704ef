from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanDice, ValidationHandler, from_engine
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from ckdmed.engines import DistillationTrainer
from ckdmed.files import DiskFullError
from ckdmed.handlers import EventWriter, TrainingHistory
from ckdmed.methods import distillation_loss
from tests.toy import loader, pair, samples, trainer


def run(folder: Path, decollate: bool = False, save: bool = True) -> tuple[TrainingHistory, DistillationTrainer, list]:
    loss = distillation_loss()
    student, teacher = pair(loss)
    optimizer = torch.optim.AdamW(student.parameters(), lr=0.01)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=loader(samples(4, seed=1)),
        network=student.student,
        key_val_metric={"val_mean_dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
    )
    writer = EventWriter(str(folder / "board"))
    history = TrainingHistory(str(folder / "m.jsonl"), evaluator, optimizer, writer, save=save)
    steps: list = []

    class Recorder:
        def attach(self, engine: DistillationTrainer) -> None:
            def record(e: DistillationTrainer) -> None:
                first = e.state.output[0] if isinstance(e.state.output, list) else e.state.output
                steps.append(
                    (float(torch.as_tensor(first["loss"]).detach()), {n: float(v) for n, v in e.state.terms.items()})
                )

            engine.add_event_handler(Events.ITERATION_COMPLETED, record)

    engine = trainer(
        student,
        teacher,
        loss,
        optimizer,
        epochs=4,
        decollate=decollate,
        train_handlers=[ValidationHandler(2, evaluator), history, Recorder()],
    )
    engine.run()
    writer.close()
    return history, engine, steps


@pytest.mark.parametrize("decollate", [False, True])
def test_rows_are_the_means_over_their_epoch(tmp_path: Path, decollate: bool):
    history, _, steps = run(tmp_path, decollate)
    rows = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert rows == history.rows and [row["epoch"] for row in rows] == [1, 2, 3, 4]
    for number, row in enumerate(rows):
        two = steps[2 * number : 2 * number + 2]
        assert row["iteration"] == 2 * number + 2
        assert row["loss"] == pytest.approx(sum(loss for loss, _ in two) / 2, rel=1e-6)
        for name, value in row["terms"].items():
            values = [terms[name] for _, terms in two if name in terms]
            assert value == pytest.approx(sum(values) / len(values), rel=1e-6)
        assert row["learning_rate"] == 0.01 and row["seconds"] >= 0 and row["cpu_seconds"] >= 0
        # of the steps alone
        assert 0 < row["step_seconds"] <= row["seconds"] and 0 < row["step_cpu_seconds"] <= row["cpu_seconds"]
        assert ("metrics" in row) == (row["epoch"] % 2 == 0)
        shares = [row["weights"][name] * value for name, value in row["terms"].items()]
        assert row["loss"] == pytest.approx(sum(shares), rel=1e-4)
        assert row["weights"]["supervised"] == 1 and row["weights"]["soft_targets"] == 0.5
    # the last epoch ends within the last tenth, in which the features weigh nothing
    assert rows[1]["weights"]["features"] == 0.1 and 0 < rows[-1]["weights"]["features"] < 0.1
    assert set(rows[-1]["terms"]) >= {"supervised", "soft_targets", "soft_dice", "edges"}


def test_a_term_that_some_steps_lack_counts_less_and_one_that_is_zero_keeps_its_weight(tmp_path: Path):
    steps = iter([({"label": 1.0, "teacher": 3.0, "none": 0.0}, {"label": 0.5, "teacher": 1.0, "none": 2.0}),
                  ({"teacher": 5.0, "none": 0.0}, {"teacher": 2.0, "none": 2.0})])  # fmt: skip

    def step(engine: Engine, _: object) -> dict[str, torch.Tensor]:
        terms, weights = next(steps)
        engine.state.terms = {name: torch.tensor(value) for name, value in terms.items()}
        engine.state.weights = weights
        return {"loss": torch.tensor(sum(weights[name] * value for name, value in terms.items()))}

    engine, history = Engine(step), TrainingHistory(str(tmp_path / "m.jsonl"))
    history.attach(engine)
    engine.run([0, 1], max_epochs=1)
    (row,) = history.rows
    assert row["terms"] == {"label": 1.0, "teacher": 4.0, "none": 0.0}
    # (0.5 + 0) / 2, (3 + 10) / 2 = 1.625 x 4
    assert row["loss"] == 6.75 and row["weights"] == {"label": 0.25, "teacher": 1.625, "none": 2.0}


def test_tensorboard_gets_the_same_numbers(tmp_path: Path):
    history, _, _ = run(tmp_path)
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()

    def scalars(tag: str) -> dict[int, float]:
        return {e.step: e.value for e in events.Scalars(tag)}

    for row in history.rows:
        assert scalars("epoch/loss")[row["epoch"]] == pytest.approx(row["loss"], rel=1e-5)
        assert scalars("epoch/learning_rate")[row["epoch"]] == pytest.approx(row["learning_rate"])
        for name, value in row["terms"].items():
            assert scalars(f"term/{name}")[row["epoch"]] == pytest.approx(value, rel=1e-5)
        for name, value in row["weights"].items():
            assert scalars(f"weight/{name}")[row["epoch"]] == pytest.approx(value)
    assert scalars("validation/val_mean_dice") == {
        row["epoch"]: pytest.approx(row["metrics"]["val_mean_dice"]) for row in history.rows if "metrics" in row
    }
    assert 1 in scalars("step/loss") and 1 in scalars("step/supervised")


def test_console_names_terms_weights_and_metrics(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO"):
        run(tmp_path)
    lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith("epoch ")]
    assert len(lines) == 4 and lines[1].startswith("epoch 2/4: loss ")
    assert "1 x supervised" in lines[1] and "0.5 x soft_targets" in lines[1] and "validation val_mean_dice" in lines[1]


def test_another_rank_keeps_the_rows_and_writes_nothing(tmp_path: Path):
    history, _, _ = run(tmp_path, save=False)
    assert len(history.rows) == 4 and not (tmp_path / "m.jsonl").exists()


def test_state_is_plain_and_comes_back(tmp_path: Path):
    history, _, _ = run(tmp_path)
    torch.save(history.state_dict(), tmp_path / "state.pt")
    other = TrainingHistory(str(tmp_path / "other.jsonl"))
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert other.rows == history.rows


def test_event_files_for_which_there_is_no_room_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    board = str(tmp_path / "board")
    writer = EventWriter(board)
    calls: dict[str, Callable[[], object]] = {
        "__init__": lambda: EventWriter(board),
        "add_scalar": lambda: writer.add_scalar("loss", 1.0, 1),
        "add_image": lambda: writer.add_image("sheet", torch.zeros(3, 2, 2), 1),
        "flush": writer.flush,
    }
    for name, call in calls.items():
        with monkeypatch.context() as patch:
            patch.setattr(SummaryWriter, name, full)
            with pytest.raises(DiskFullError, match=f"'{board}' could not be written"):
                call()
    writer.close()
