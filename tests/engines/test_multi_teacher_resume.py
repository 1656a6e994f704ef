"""A training with several teachers that is broken off and resumed ends where the unbroken one ends, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.handlers import LrScheduleHandler
from monai.transforms import Compose, RandFlipd, RandGaussianNoised

from ckdmed.engines import TeacherPerformance, TeachersState, prepare_teachers, save_teachers, weights_hash
from ckdmed.files import load_weights, save_weights
from ckdmed.handlers import ReproducibleEpochs, ResumeCheckpoint
from ckdmed.losses import BCEDiceLoss
from tests.engines.multi_toy import Setup, ensemble, net, samples
from tests.toy import loader

EPOCHS = 4


def make(folder: Path, mode: str, resume: bool) -> Setup:
    # what a new process starts from is not what the killed one had come to
    torch.manual_seed(17 if resume else 3)
    keys = ["image", "label"]
    augmentation = Compose([RandFlipd(keys, prob=0.5), RandGaussianNoised("image", prob=0.8, std=0.2)])
    data = DataLoader(Dataset(samples(12), augmentation), batch_size=4, shuffle=True, num_workers=0)
    setup = Setup(mode, epochs=EPOCHS, train_data_loader=data)
    schedules = [
        None if o is None else torch.optim.lr_scheduler.OneCycleLR(o, max_lr=0.01, total_steps=EPOCHS * 3)
        for o in (setup.optimizer, setup.teacher_optimizer)
    ]
    performance = TeacherPerformance(
        setup.shares,
        setup.ensemble,
        "average" if mode == "online" else "held_out",
        data_loader=loader(samples(4, seed=9)),
        learning=mode == "online",
    )
    objects = {
        "student": setup.student,
        "optimizer": setup.optimizer,
        "lr_scheduler": schedules[0],
        "teachers": TeachersState(setup.teacher, setup.teacher_optimizer, schedules[1], performance),
    }
    handlers: list[Any] = [ReproducibleEpochs(5, data)]
    handlers += [LrScheduleHandler(s, print_lr=False, epoch_level=False) for s in schedules if s is not None]
    handlers += [performance, ResumeCheckpoint(str(folder), objects, resume=resume)]
    for handler in handlers:
        handler.attach(setup.trainer)
    return setup


def broken(engine: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("mode", ["frozen", "fusion", "online"])
def test_resumed_equals_unbroken(tmp_path: Path, mode: str) -> None:
    unbroken = make(tmp_path / "a", mode, resume=False)
    unbroken.trainer.run()
    cut = make(tmp_path / "b", mode, resume=False)
    cut.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=8), broken)
    with pytest.raises(KeyboardInterrupt):
        cut.trainer.run()
    assert weights_hash(cut.student) != weights_hash(unbroken.student)
    resumed = make(tmp_path / "b", mode, resume=True)
    resumed.trainer.run()
    assert resumed.trainer.state.iteration == 12
    for one, other in ((resumed, unbroken),):
        assert weights_hash(one.student) == weights_hash(other.student)
        assert weights_hash(one.teacher) == weights_hash(other.teacher)
        assert torch.equal(one.shares.shares, other.shares.shares)
    state = load_weights(tmp_path / "b" / "resume_epoch=0004.pt")["teachers"]
    assert ("weights" in state) == (mode != "frozen") and (state["sha256"] == "") == (mode == "online")
    if mode == "fusion":
        assert all(name.startswith(("gates", "convs", "head")) for name in state["weights"])


def test_other_teachers_are_refused(tmp_path: Path) -> None:
    cut = make(tmp_path, "frozen", resume=False)
    cut.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=4), broken)
    with pytest.raises(KeyboardInterrupt):
        cut.trainer.run()
    other = make(tmp_path, "frozen", resume=True)
    with torch.no_grad():
        next(other.ensemble.parameters()).add_(1)
    with pytest.raises(RuntimeError, match="its teachers does not match this run's .weights with SHA-256"):
        other.trainer.run()
    with pytest.raises(RuntimeError, match="its teachers does not match this run's .teachers with"):
        make(tmp_path, "online", resume=True).trainer.run()


def test_teachers_are_trained_loaded_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    teachers = ensemble()
    names = teachers.names
    kept = save_weights(tmp_path / "given.pt", net(1, seed=77, base=4).state_dict())
    before = weights_hash(teachers.networks[names[0]])
    settings: dict[str, Any] = {
        "train_data_loader": loader(samples()),
        "val_data_loader": loader(samples(4, seed=9)),
        "loss_function": BCEDiceLoss(),
        "output_dir": str(tmp_path / "teachers"),
        "epochs": 2,
        "learning_rate": 0.01,
    }
    with caplog.at_level("INFO"):
        prepare_teachers(teachers, {names[1]: str(kept)}, **settings)
    assert weights_hash(teachers.networks[names[1]]) == weights_hash(net(1, seed=77, base=4))
    assert weights_hash(teachers.networks[names[0]]) != before
    assert (tmp_path / "teachers" / names[0] / "teacher.pt").is_file()
    assert not any(p.requires_grad for p in teachers.parameters())
    assert "training one for 2 epochs" in caplog.text
    paths = save_teachers(teachers, str(tmp_path / "kept"))
    assert [path.name for path in paths] == ["t1n+t1c+t2f.pt", "t2f.pt"]
    net(3, base=4).load_state_dict(load_weights(paths[0]))
    assert save_teachers(teachers, str(tmp_path / "other"), save=False) == []
    learning = ensemble()
    prepare_teachers(learning, {names[1]: str(kept)}, **{**settings, "output_dir": str(tmp_path / "x")}, learning=True)
    assert weights_hash(learning.networks[names[1]]) == weights_hash(net(1, seed=77, base=4))
    assert all(p.requires_grad for p in learning.parameters()) and not (tmp_path / "x").exists()
    with pytest.raises(ValueError, match=r"no teachers \['flair'\]; there are t1n\+t1c\+t2f, t2f"):
        prepare_teachers(teachers, {"flair": str(kept)}, **settings)
