from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import Dataset

from ckdmed.engines import weights_hash
from ckdmed.files import save_weights
from ckdmed.handlers import TrainingPictures
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


def test_pictures_follow_every_validation_and_new_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    network, history = unet(), tmp_path / "metrics.jsonl"
    best = save_weights(tmp_path / "best.pt", network.state_dict())
    pictures = TrainingPictures(str(tmp_path), str(history), Dataset(samples(2)), network, checkpoint=str(best))
    curves: list[int] = []
    drawn: list[int] = []
    engine = Engine(lambda *_: None)

    @engine.on(Events.EPOCH_COMPLETED)
    def note(trainer: Engine) -> None:
        metrics = {"metrics": {"dice": 0.5}} if trainer.state.epoch in (2, 4, 5) else {}
        rows = history.read_text() if history.is_file() else ""
        history.write_text(rows + json.dumps({"epoch": trainer.state.epoch, **metrics}) + "\n")
        if trainer.state.epoch == 5:
            save_weights(best, network.state_dict())

    pictures.attach(engine)
    monkeypatch.setattr("ckdmed.handlers.end_pictures.plot_curves", lambda *_: curves.append(engine.state.epoch))
    monkeypatch.setattr(pictures, "draw", lambda *_: drawn.append(engine.state.epoch))
    engine.run([0], max_epochs=6)
    assert curves == [2, 4, 5, 6] and drawn == [2, 5]
