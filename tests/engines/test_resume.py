"""A training that is broken off and resumed ends where the unbroken one ends, bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.handlers import LrScheduleHandler, MeanDice, ValidationHandler, from_engine
from monai.transforms import Compose, RandFlipd, RandGaussianNoised

from ckdmed.engines import DistillationTrainer, FrozenTeacher, weights_hash
from ckdmed.handlers import BestModel, ReproducibleEpochs, ResumeCheckpoint, TrainingHistory
from ckdmed.methods import distillation_loss
from tests.toy import loader, pair, samples, trainer, unet

EPOCHS = 4


class Run:
    """A whole training, built anew as a new process would; ``run`` may be cut off after some epochs."""

    def __init__(self, folder: Path, resume: bool, epochs: int = EPOCHS, batch_size: int = 4, base: int = 2) -> None:
        # what a new process starts from is not what the killed one had come to
        torch.manual_seed(17 if resume else 3)
        loss = distillation_loss()
        self.student, self.teacher = pair(loss, student=unet(base=base, seed=1, dropout=0.3))
        optimizer = torch.optim.AdamW(self.student.parameters(), lr=0.01)
        keys = ["image", "label"]
        augmentation = Compose(
            [RandFlipd(keys, prob=0.5, spatial_axis=0), RandGaussianNoised("image", prob=0.8, std=0.2)]
        )
        data = DataLoader(Dataset(samples(12), augmentation), batch_size=batch_size, shuffle=True, num_workers=0)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=epochs * len(data))
        self.evaluator = SupervisedEvaluator(
            device=torch.device("cpu"),
            val_data_loader=loader(samples(4, seed=1)),
            network=self.student.student,
            key_val_metric={"val_mean_dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
        )
        self.best = BestModel(str(folder / "model.pt"), self.student.student, "val_mean_dice")
        self.best.attach(self.evaluator)
        self.history = TrainingHistory(str(folder / "metrics.jsonl"), self.evaluator, optimizer)
        self.checkpoint = ResumeCheckpoint(
            str(folder / "resume"),
            {
                "network": self.student,
                "optimizer": optimizer,
                "schedule": schedule,
                "best": self.best,
                "history": self.history,
            },
            resume=resume,
        )
        self.trainer: DistillationTrainer = trainer(
            self.student,
            self.teacher,
            loss,
            optimizer,
            data,
            epochs=epochs,
            train_handlers=[
                ReproducibleEpochs(5, data),
                LrScheduleHandler(schedule, print_lr=False, epoch_level=False),
                ValidationHandler(1, self.evaluator),
                self.history,
                self.checkpoint,
            ],
        )

    def run(self, stop_after: int | None = None) -> Run:
        if stop_after is not None:
            # in the middle of the next epoch, whose work is lost
            broken = Events.ITERATION_COMPLETED(once=stop_after * 3 + 2)
            self.trainer.add_event_handler(broken, self._break)
        try:
            self.trainer.run()
        except KeyboardInterrupt:
            assert stop_after is not None
        return self

    @staticmethod
    def _break(_: Any) -> None:
        raise KeyboardInterrupt

    @property
    def hash(self) -> str:
        return weights_hash(self.student)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("unbroken"), resume=False).run()


def test_resumed_equals_unbroken(tmp_path: Path, unbroken: Run):
    broken = Run(tmp_path, resume=False).run(stop_after=2)
    assert [p.name for p in broken.checkpoint.files()] == ["resume_epoch=0002.pt", "resume_epoch=0001.pt"]
    assert broken.hash != unbroken.hash
    resumed = Run(tmp_path, resume=True).run()
    assert resumed.trainer.state.iteration == 12
    assert resumed.hash == unbroken.hash
    assert resumed.best.state_dict() == unbroken.best.state_dict()
    rows, expected = (
        [{k: v for k, v in r.items() if not k.endswith("seconds")} for r in x.history.rows] for x in (resumed, unbroken)
    )
    assert rows == expected and [row["epoch"] for row in rows] == [1, 2, 3, 4]


def test_resumed_while_no_term_reads_the_features(tmp_path: Path):
    # one step an epoch: the last of the four is within the last tenth, in which the projections get no gradient
    unbroken = Run(tmp_path / "unbroken", resume=False, batch_size=12).run()
    broken = Run(tmp_path / "broken", resume=False, batch_size=12)
    broken.trainer.add_event_handler(Events.EPOCH_STARTED, lambda e: e.state.epoch == EPOCHS and broken._break(e))
    with pytest.raises(KeyboardInterrupt):
        broken.trainer.run()
    resumed = Run(tmp_path / "broken", resume=True, batch_size=12).run()
    assert "features" not in resumed.trainer.state.terms
    assert resumed.hash == unbroken.hash != broken.hash


def test_resumed_twice_equals_unbroken(tmp_path: Path, unbroken: Run):
    Run(tmp_path, resume=False).run(stop_after=1)
    Run(tmp_path, resume=True).run(stop_after=3)
    assert Run(tmp_path, resume=True).run().hash == unbroken.hash


def test_the_newest_broken_file_is_skipped(tmp_path: Path, unbroken: Run, caplog: pytest.LogCaptureFixture):
    broken = Run(tmp_path, resume=False).run(stop_after=3)
    newest = broken.checkpoint.files()[0]
    newest.write_bytes(newest.read_bytes()[:-5000])
    # killed while it wrote
    (newest.parent / ".writing-999999999-x1y2z3.pt").write_bytes(b"half")
    with caplog.at_level("INFO"):
        resumed = Run(tmp_path, resume=True).run()
    assert "resume_epoch=0003.pt' cannot be read as a checkpoint" in caplog.text
    assert "Continuing with the checkpoint before it" in caplog.text
    assert "resuming after epoch 2 of 4" in caplog.text
    assert sorted(p.name for p in newest.parent.iterdir()) == ["resume_epoch=0003.pt", "resume_epoch=0004.pt"]
    assert resumed.hash == unbroken.hash


def test_a_finished_run_is_left_as_it_is(tmp_path: Path, unbroken: Run):
    Run(tmp_path, resume=False).run()
    model = (tmp_path / "model.pt").read_bytes()
    # a kill between the last save and the deletion of what is no longer kept
    shutil.copy(tmp_path / "resume" / "resume_epoch=0004.pt", tmp_path / "resume" / "resume_epoch=0002.pt")
    again = Run(tmp_path, resume=True).run()
    assert again.hash == unbroken.hash and len(again.history.rows) == EPOCHS
    assert (tmp_path / "model.pt").read_bytes() == model
    assert [p.name for p in again.checkpoint.files()] == ["resume_epoch=0004.pt", "resume_epoch=0003.pt"]


def test_nothing_to_resume(tmp_path: Path, unbroken: Run, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO"):
        assert Run(tmp_path, resume=True).run().hash == unbroken.hash
    assert "nothing to resume" in caplog.text


@pytest.mark.parametrize("damaged", [False, True])
def test_what_cannot_be_resumed_is_not_begun_anew_over_its_results(tmp_path: Path, damaged: bool):
    finished = Run(tmp_path, resume=False).run()
    for path in finished.checkpoint.files():
        path.write_bytes(path.read_bytes()[:100]) if damaged else path.unlink()
    files = [tmp_path / "model.pt", tmp_path / "metrics.jsonl"]
    before = [path.read_bytes() for path in files]
    message = (
        "0004.pt' cannot be read, nor can another" if damaged else "model.pt' is of an earlier training of which no"
    )
    with pytest.raises(RuntimeError, match=message):
        Run(tmp_path, resume=True).run()
    assert [path.read_bytes() for path in files] == before


def test_a_kill_before_the_first_checkpoint_costs_an_epoch(
    tmp_path: Path, unbroken: Run, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(ResumeCheckpoint, "write", lambda _, engine: Run._break(engine))
        killed = Run(tmp_path, resume=False).run(stop_after=3)
    assert (tmp_path / "model.pt").is_file() and len(killed.history.rows) == 1
    assert Run(tmp_path, resume=True).run().hash == unbroken.hash


def test_weights_that_are_gone_are_saved_again(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    Run(tmp_path, resume=False).run(stop_after=3)
    (tmp_path / "model.pt").unlink()
    Run(tmp_path, resume=True).run()
    assert (tmp_path / "model.pt").is_file() and "is missing; the best of the epochs that follow" in caplog.text


def test_a_trainer_that_is_run_again_goes_on_with_its_own_weights(tmp_path: Path):
    run = Run(tmp_path, resume=True)
    run.trainer.state.max_epochs = 2
    run.run()
    run.trainer.state.max_epochs = EPOCHS
    with torch.no_grad():
        for parameter in run.student.parameters():
            parameter.zero_()
    found: list[float] = []

    def note() -> None:
        found.append(sum(float(p.detach().abs().sum()) for p in run.student.parameters()))

    run.trainer.add_event_handler(Events.ITERATION_STARTED(once=2 * 3 + 1), note)
    run.run()
    assert run.trainer.state.epoch == EPOCHS and found == [0.0]


def test_a_new_run_does_not_touch_the_checkpoints_of_an_earlier_one(tmp_path: Path):
    folder = tmp_path / "resume"
    folder.mkdir()
    for name in ("resume_epoch=0090.pt", "notes.txt", "model.pt"):
        (folder / name).write_text("x")
    with pytest.raises(RuntimeError, match="resume_epoch=0090.pt' is of an earlier run"):
        Run(tmp_path, resume=False).run(stop_after=1)
    assert sorted(p.name for p in folder.iterdir()) == ["model.pt", "notes.txt", "resume_epoch=0090.pt"]


def test_only_the_newest_are_kept_and_no_temporary_file(tmp_path: Path):
    run = Run(tmp_path, resume=False).run()
    assert [p.name for p in run.checkpoint.files()] == ["resume_epoch=0004.pt", "resume_epoch=0003.pt"]
    assert len(list((tmp_path / "resume").iterdir())) == 2


def test_another_process_than_the_first_reads_and_does_not_write(tmp_path: Path):
    Run(tmp_path, resume=False).run(stop_after=1)
    second = Run(tmp_path, resume=True)
    second.checkpoint.save = False
    second.run()
    assert second.trainer.state.epoch == EPOCHS
    assert [p.name for p in second.checkpoint.files()] == ["resume_epoch=0001.pt"]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"batch_size": 6}, "made with 3 steps per epoch, but this run has 2"),
        ({"epochs": 6}, "training of 4 epochs, but this run has 6"),
        ({"base": 3}, "its network does not match this run's"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, kwargs: dict, message: str):
    Run(tmp_path, resume=False).run(stop_after=1)
    with pytest.raises(RuntimeError, match=message):
        Run(tmp_path, resume=True, **kwargs).run()


def test_files_and_names_that_do_not_belong(tmp_path: Path):
    run = Run(tmp_path, resume=True)
    (tmp_path / "resume").mkdir()
    torch.save({"network": {}}, tmp_path / "resume" / "resume_epoch=0001.pt")
    with pytest.raises(RuntimeError, match=r"lacks \['best', 'epoch', .*; it belongs to a run with other settings"):
        run.run()
    with pytest.raises(ValueError, match=r"objects cannot be named \['epoch'\]"):
        ResumeCheckpoint(str(tmp_path), {"epoch": run.best})


def test_the_teacher_is_not_in_the_checkpoint(tmp_path: Path):
    run = Run(tmp_path, resume=False).run(stop_after=1)
    state = torch.load(run.checkpoint.files()[0], weights_only=True)
    assert isinstance(run.teacher, FrozenTeacher)
    assert set(state["network"]) == set(run.student.state_dict())
    assert not any(name.startswith("teacher") for name in state["network"])
