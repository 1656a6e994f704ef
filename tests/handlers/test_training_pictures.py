from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import Dataset
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ckdmed.engines import weights_hash
from ckdmed.files import save_weights
from ckdmed.handlers import EventWriter, TrainingPictures
from ckdmed.handlers.outlined_slices import slice_title
from ckdmed.reports import style
from tests.reports.pixels import pixels_of
from tests.toy import samples, unet


def draw(folder: Path, network: torch.nn.Module, count: int = 5, **kwargs) -> TrainingPictures:
    row = {"epoch": 1, "loss": 1.0, "terms": {"supervised": 1.0}, "weights": {}, "metrics": {"val_mean_dice": 0.5}}
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    dataset = Dataset(samples(count))
    pictures = TrainingPictures(str(folder), str(folder / "metrics.jsonl"), dataset, network, **kwargs)
    engine = Engine(lambda *_: None)
    pictures.attach(engine)
    engine.run([0], max_epochs=1)
    return pictures


def test_both_pictures_are_drawn(tmp_path: Path):
    draw(tmp_path, unet())
    for name in ("curves.png", "predictions.png"):
        picture = plt.imread(tmp_path / name)
        assert picture.shape[0] > 100 and picture[..., :3].std() > 0


def test_network_predicts_with_the_best_weights_and_keeps_its_own(tmp_path: Path):
    network, best = unet(seed=1).train(), unet(seed=2)
    best.head.conv.bias.data.fill_(50.0)
    path = save_weights(tmp_path / "best.pt", best.state_dict())
    before = weights_hash(network)
    pictures = TrainingPictures(str(tmp_path), "", Dataset(samples(3)), network, checkpoint=str(path))
    drawn = pictures._predict(samples(3))
    assert all(p.all() and p.shape == (32, 32) for p in drawn.predictions)
    assert all((t == s["label"][0].numpy()).all() for t, s in zip(drawn.truths, samples(3)))
    assert weights_hash(network) == before and network.training


def test_slices_are_spread_over_the_dataset(tmp_path: Path):
    dataset = Dataset([{"image": torch.full((1, 4, 4), float(i))} for i in range(10)])
    for count, wanted in ((4, [0, 3, 6, 9]), (20, list(range(10))), (1, [0])):
        pictures = TrainingPictures(str(tmp_path), "", dataset, unet(), count=count)
        assert [int(item["image"].max()) for item in pictures._items()] == wanted
    assert TrainingPictures(str(tmp_path), "", Dataset([]), unet())._items() == []


def test_of_a_volume_the_slice_with_the_most_truth_is_drawn(tmp_path: Path):
    image = torch.arange(4.0).reshape(1, 4, 1, 1).expand(1, 4, 16, 16)
    label = torch.zeros(1, 4, 16, 16)
    label[:, 2, :8], label[:, 1, :2] = 1, 1
    network = torch.nn.Conv3d(1, 1, 1)
    pictures = TrainingPictures(str(tmp_path), "", Dataset([]), network)
    drawn = pictures._predict([{"image": image, "label": label, "id": "a"}])
    assert (drawn.images[0] == 2).all() and drawn.truths[0].sum() == 8 * 16
    assert drawn.predictions[0].shape == (16, 16) and drawn.titles[0].startswith("a\nslice 2\nDice ")


def test_another_rank_draws_nothing(tmp_path: Path):
    draw(tmp_path, unet(), save=False)
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


class Timed:
    """A training in which an epoch takes ten seconds and drawing the curves some, by a clock of its own.

    Args:
        folder: of the history and the best weights.
        validated: epochs that have a validation.
        better: those with new best weights.
        drawing: seconds for the curves, at each drawing the next of them, the last one ever after.
        step: what a step does.
        settings: of the handler.
    """

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        validated: Sequence[int],
        better: Sequence[int] = (),
        drawing: Sequence[float] = (1.0,),
        step: Callable[..., Any] = lambda *_: None,
        **settings: Any,
    ) -> None:
        self.now, self.drawing = 0.0, list(drawing)
        self.curves: list[int] = []
        self.predictions: list[int] = []
        network, history = unet(), folder / "metrics.jsonl"
        best = save_weights(folder / "best.pt", network.state_dict())
        settings = {"checkpoint": str(best), "clock": lambda: self.now, **settings}
        self.pictures = TrainingPictures(str(folder), str(history), Dataset(samples(2)), network, **settings)
        self.engine = Engine(step)

        @self.engine.on(Events.EPOCH_COMPLETED)
        def note(trainer: Engine) -> None:
            self.now += 10
            epoch = trainer.state.epoch
            metrics = {"metrics": {"dice": 0.5}} if epoch in validated else {}
            rows = history.read_text() if history.is_file() else ""
            history.write_text(rows + json.dumps({"epoch": epoch, **metrics}) + "\n")
            if epoch in better:
                save_weights(best, network.state_dict())

        self.pictures.attach(self.engine)
        monkeypatch.setattr("ckdmed.handlers.end_pictures.plot_curves", self.draw_curves)
        monkeypatch.setattr(self.pictures, "draw", lambda *_: self.predictions.append(self.engine.state.epoch))

    def draw_curves(self, *_: Any) -> None:
        self.curves.append(self.engine.state.epoch)
        self.now += self.drawing.pop(0) if len(self.drawing) > 1 else self.drawing[0]


def test_pictures_follow_every_validation_and_new_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    timed = Timed(tmp_path, monkeypatch, validated=(2, 4, 5), better=(5,), drawing=(0.0,))
    timed.engine.run([0], max_epochs=6)
    assert timed.curves == [2, 4, 5, 6] and timed.predictions == [2, 5]


def test_drawing_takes_a_small_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    every = range(1, 100)
    # a second after each fifty, so after the fifth epoch again: the time since the drawing's end counts
    timed = Timed(tmp_path, monkeypatch, validated=every)
    timed.engine.run([0], max_epochs=17)
    assert timed.curves == [1, 6, 11, 16, 17]
    # however long one takes, the time behind it makes up for it
    other = Timed(tmp_path, monkeypatch, validated=every, drawing=(1.0, 3.0, 0.1))
    other.engine.run([0], max_epochs=24)
    assert other.curves == [1, 6, 21, 22, 23, 24]
    wide = Timed(tmp_path, monkeypatch, validated=every, share=0.1)
    wide.engine.run([0], max_epochs=3)
    assert wide.curves == [1, 2, 3]
    # the time of a drawing itself is no time since
    slow = Timed(tmp_path, monkeypatch, validated=every, drawing=(10.0,), share=0.5)
    slow.engine.run([0], max_epochs=4)
    assert slow.curves == [1, 3, 4]
    never = Timed(tmp_path, monkeypatch, validated=every, share=0)
    never.engine.run([0], max_epochs=9)
    assert never.curves == [1, 9]
    with pytest.raises(ValueError, match="share must be at least 0, got -0.1"):
        TrainingPictures(str(tmp_path), "", Dataset([]), unet(), share=-0.1)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), RuntimeError("the training diverged")])
def test_what_was_passed_over_is_drawn_when_a_training_is_broken_off(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def step(trainer: Engine, _: Any) -> None:
        if trainer.state.epoch == 4:
            raise error

    board: list[int] = []
    timed = Timed(tmp_path, monkeypatch, validated=(1, 2, 3), better=(3,), step=step)
    monkeypatch.setattr(timed.pictures, "_to_tensorboard", lambda _, epoch: board.append(epoch))
    with pytest.raises(type(error)) as raised:
        timed.engine.run([0], max_epochs=9)
    assert raised.value is error and timed.curves == [1, 4] == timed.predictions
    # the picture is of the last validation
    assert board == [1, 3]
    # what is drawn already is not drawn again
    drawn = Timed(tmp_path, monkeypatch, validated=(3,), step=step)
    with pytest.raises(type(error)):
        drawn.engine.run([0], max_epochs=9)
    assert drawn.curves == [3]
    # another process writes nothing, and ends as well
    follower = Timed(tmp_path, monkeypatch, validated=(1, 2, 3), step=step, save=False)
    with pytest.raises(type(error)):
        follower.engine.run([0], max_epochs=9)
    assert follower.curves == []
    # a second error does not hide the first one
    full = Timed(tmp_path, monkeypatch, validated=(1, 2, 3), better=(3,), step=step)

    def fails(*_: Any) -> None:
        if full.engine.state.epoch == 4:
            raise OSError("the disk is full")

    monkeypatch.setattr(full.pictures, "draw", fails)
    with caplog.at_level("WARNING"), pytest.raises(type(error)) as first:
        full.engine.run([0], max_epochs=9)
    assert first.value is error and "no pictures of the last validation: the disk is full" in caplog.text


def test_a_drawing_that_fails_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    timed = Timed(tmp_path, monkeypatch, validated=(1,))
    tried: list[int] = []

    def fails(*_: Any) -> None:
        tried.append(1)
        raise OSError("the disk is full")

    monkeypatch.setattr(timed.pictures, "draw", fails)
    with pytest.raises(OSError, match="the disk is full"):
        timed.engine.run([0], max_epochs=2)
    assert tried == [1]


def test_a_training_does_not_depend_on_what_is_drawn(tmp_path: Path):
    outcomes = []
    for share in (0.0, float("inf")):
        torch.manual_seed(0)
        network, drawn = unet(dropout=0.5), []
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        history = tmp_path / f"{share}.jsonl"

        def step(trainer: Engine, _: Any) -> None:
            optimizer.zero_grad()
            network(torch.rand(1, *samples(1)[0]["image"].shape)).square().mean().backward()
            optimizer.step()

        engine = Engine(step)

        @engine.on(Events.EPOCH_COMPLETED)
        def note(trainer: Engine) -> None:
            history.write_text(json.dumps({"epoch": trainer.state.epoch, "loss": 1.0, "metrics": {"dice": 0.5}}) + "\n")

        pictures = TrainingPictures(str(tmp_path), str(history), Dataset(samples(1)), network, share=share)
        pictures.attach(engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: drawn.append(pictures._drawn_at))
        engine.run([0], max_epochs=2)
        outcomes.append((weights_hash(network), torch.get_rng_state().tolist()))
        assert drawn == ([1, 1] if share == 0 else [1, 2])
    assert outcomes[0] == outcomes[1]


def board_of(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_tensorboard_gets_the_sheet_and_only_once_for_the_same_weights(tmp_path: Path):
    network = unet()
    best = save_weights(tmp_path / "best.pt", network.state_dict())
    writer = EventWriter(str(tmp_path / "board"))
    pictures = draw(tmp_path, network, checkpoint=str(best), summary_writer=writer)
    pictures(SimpleNamespace(state=SimpleNamespace(epoch=2)))  # type: ignore[arg-type]
    (image,) = board_of(tmp_path / "board").Images("predictions")
    sheet = plt.imread(tmp_path / "predictions.png")
    assert image.step == 1 and (image.height, image.width) == sheet.shape[:2]
    logged = plt.imread(io.BytesIO(image.encoded_image_string))
    assert (logged == sheet[..., :3]).all()
    writer.close()


def test_the_teacher_is_drawn_and_nothing_of_it_or_of_what_is_random_changes(tmp_path: Path):
    network, teacher = unet(seed=1, dropout=0.5), unet(seed=2, dropout=0.5)
    teacher.train().head.eval()
    states = [weights_hash(network), weights_hash(teacher)]
    modes = [module.training for module in teacher.modules()]
    random = torch.get_rng_state()
    alone, both = (
        TrainingPictures(str(tmp_path), "", Dataset([]), network, teacher=given)._predict(samples(2))
        for given in (None, teacher)
    )
    assert [weights_hash(network), weights_hash(teacher)] == states and torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in teacher.modules()] == modes
    assert all(parameter.grad is None for parameter in teacher.parameters())
    teacher.eval()
    with torch.no_grad():
        wanted = teacher(torch.stack([item["image"] for item in samples(2)]))[:, 0].sigmoid() >= 0.5
    assert (np.stack(both.teachers) == wanted.numpy()).all()
    assert all((a == b).all() for a, b in zip(alone.predictions, both.predictions, strict=True))
    alone.draw(tmp_path / "alone.png")
    both.draw(tmp_path / "both.png")
    assert pixels_of(tmp_path / "alone.png", style.TEACHER) == 0 < pixels_of(tmp_path / "both.png", style.TEACHER)


def test_titles_give_case_modality_slice_and_dice(tmp_path: Path):
    label = torch.zeros(1, 16, 16)
    label[:, :8] = 1
    network, teacher = (torch.nn.Conv2d(6, 1, 1) for _ in range(2))
    for net in (network, teacher):
        torch.nn.init.zeros_(net.weight)
    network.bias.data.fill_(1.0)
    teacher.bias.data.fill_(-1.0)
    # two modalities of three neighbouring slices, the middle one of which is the sample
    image = torch.arange(6.0).reshape(6, 1, 1).expand(6, 16, 16)
    item = {"image": image, "label": label, "id": "BraTS-GLI-00001-000:7", "case": "BraTS-GLI-00001-000", "slice": 7}
    settings = {"modalities": ["t1c", "t2f"], "teacher": teacher}
    drawn = TrainingPictures(str(tmp_path), "", Dataset([]), network, **settings)._predict([item])
    assert drawn.titles == ["BraTS-GLI-00001-000\nt1c, slice 7\nDice 0.667, teacher 0.000"]
    assert (drawn.images[0] == 2).all()
    # a slice of Figshare bears its number in the data set as its name
    assert slice_title({"id": "2713", "patient": "100360"}, "t1c") == "100360\nt1c, slice 2713"
    assert slice_title({"id": "a"}) == "a" and slice_title({}, number=0, region="TC") == "slice 0, TC"
    # one of a user's own datalist bears its file, since every picture is the slice 0 of its file
    own = {"id": "images/case00_1", "patient": "case00", "slice": 0}
    assert slice_title(own, region="core") == "images/case00_1\ncore"
    wrong = TrainingPictures(str(tmp_path), "", Dataset([]), network, modalities=["a", "b", "c", "d"])
    with pytest.raises(ValueError, match="6 channels, but there are 4 modalities, a, b, c, d"):
        wrong._predict([item])


def test_each_of_several_regions_is_drawn_under_its_name(tmp_path: Path):
    label = torch.zeros(2, 16, 16)
    label[0, :8], label[1, :4] = 1, 1
    network = torch.nn.Conv2d(1, 2, 1)
    torch.nn.init.zeros_(network.weight)
    # the first region everywhere, the second nowhere
    network.bias.data = torch.tensor([1.0, -1.0])
    item = {"image": torch.zeros(1, 16, 16), "label": label, "id": "a"}
    drawn = TrainingPictures(str(tmp_path), "", Dataset([]), network, regions=["whole", "core"])._predict([item])
    assert drawn.titles == ["a\nwhole\nDice 0.667", "a\ncore\nDice 0.000"] and drawn.columns == 2
    assert [int(mask.sum()) for mask in drawn.truths] == [128, 64]
    one = TrainingPictures(str(tmp_path), "", Dataset([]), network, regions=["tumour"])._predict([item])
    assert one.titles == ["a\nDice 0.667"]
