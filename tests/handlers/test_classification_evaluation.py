from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from torch import nn

from ckdmed.handlers import ClassificationEvaluation, ClassificationPictures, CollectLogits
from ckdmed.handlers.classification_evaluation import _worth_seeing
from ckdmed.handlers.probability_writer import ProbabilityWriter
from ckdmed.reports import write_classification_report

NAMES = ("meningioma", "glioma", "pituitary tumour")


class Brightness(nn.Module):
    """Tells a class by the channel that is bright; the convolution gives Grad-CAM something to look at."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.eye(3)[..., None, None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 6 * self.conv(x).mean(dim=(2, 3))


def items(count: int = 12, wrong: int = 3) -> list[dict]:
    """Slices of four patients; the first ``wrong`` look like the next class."""
    found = []
    for number in range(count):
        label = (number // 3) % 3
        image = torch.zeros(3, 16, 16)
        image[(label + 1) % 3 if number < wrong else label] = 0.5 + 0.01 * number
        found.append({"image": image, "label": label, "id": str(number), "patient_group": f"p{number // 3}"})
    return found


def evaluator(network: nn.Module, data: list[dict], handlers: list, decollate: bool = False) -> SupervisedEvaluator:
    return SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(Dataset(data), batch_size=5),
        network=network,
        val_handlers=handlers,
        decollate=decollate,
    )


def test_report_numbers_calibration_and_pictures(tmp_path: Path) -> None:
    network = Brightness()
    calibration = evaluator(network, items(9, wrong=2), [])
    handler = ClassificationEvaluation(
        str(tmp_path),
        NAMES,
        calibrate_with=calibration,
        gradcam={"teacher": (None, "conv"), "student": (network, "conv")},
        settings={"checkpoint": "here"},
        n_gradcam=2,
    )
    evaluator(network, items(), [handler]).run()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["slices"]["accuracy"] == pytest.approx(9 / 12)
    assert summary["slices"]["confusion"] == [[3, 3, 0], [0, 3, 0], [0, 0, 3]]
    # patient 0 has all three wrong slices
    assert summary["patients"]["accuracy"] == pytest.approx(3 / 4)
    assert summary["settings"] == {"checkpoint": "here"} and summary["temperature"]["value"] > 0
    assert summary["temperature"]["nll"] != summary["slices"]["nll"]
    rows = list(csv.DictReader((tmp_path / "probabilities.csv").open()))
    assert [row["id"] for row in rows] == [str(n) for n in range(12)]
    expected = torch.softmax(torch.tensor([0.0, 6 * 0.5, 0.0]), 0)[1]
    assert float(rows[0]["probability_glioma"]) == pytest.approx(float(expected), abs=1e-6)
    for name in ("predictions.png", "gradcam.png", "confusion_slices.png"):
        assert plt.imread(tmp_path / name)[..., :3].std() > 0
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_without_calibration_and_layers(tmp_path: Path) -> None:
    handler = ClassificationEvaluation(str(tmp_path), NAMES)
    run = evaluator(Brightness(), items(), [handler])
    run.run()
    run.run()
    assert handler.summary["temperature"] is None and handler.summary["n_slices"] == 12
    assert not (tmp_path / "gradcam.png").exists()


def test_collected_logits_are_the_networks() -> None:
    network, data = Brightness(), items()
    kept = CollectLogits()
    evaluator(network, data, [kept]).run()
    with torch.no_grad():
        expected = network(torch.stack([item["image"] for item in data]))
    np.testing.assert_allclose(kept.logits, expected.numpy(), rtol=1e-6)
    assert [row["label"] for row in kept.rows] == [item["label"] for item in data] and kept.images == []


def test_mistakes_come_first_the_surest_ahead() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7], [0.99, 0.01], [0.55, 0.45]])
    labels = np.array([1, 1, 1, 1, 0, 1])
    assert _worth_seeing(probabilities, labels, 4)[:2] == [0, 1]
    assert sorted(_worth_seeing(probabilities, labels, 6)) == [0, 1, 2, 3, 4, 5]
    assert _worth_seeing(probabilities, 1 - probabilities.argmax(axis=1), 3) == [4, 0, 2]


def test_training_pictures_use_the_best_weights_and_give_back_the_last(tmp_path: Path) -> None:
    network = Brightness()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    with torch.no_grad():
        network.conv.weight.zero_()
    picture = ClassificationPictures(
        str(tmp_path), str(tmp_path / "none.jsonl"), Dataset(items()), network, NAMES, str(tmp_path / "model.pt")
    )
    predictions = picture.predict(items())
    assert all(torch.equal(answer.image, item["image"]) for answer, item in zip(predictions, items(), strict=True))
    assert (
        torch.stack([answer.student for answer in predictions]).argmax(1).numpy()
        == [1, 1, 1, 1, 1, 1, 2, 2, 2, 0, 0, 0]
    ).all()
    picture(SimpleNamespace(state=SimpleNamespace(epoch=1)))  # type: ignore[arg-type]
    assert plt.imread(tmp_path / "predictions.png")[..., :3].std() > 0
    assert float(network.conv.weight.detach().abs().sum()) == 0


def test_probability_writer(tmp_path: Path) -> None:
    done: list[tuple] = []
    writer = ProbabilityWriter(str(tmp_path), NAMES, lambda name, files: done.append((name, files)), lambda: ["old"])
    (tmp_path / "old_probabilities.csv").write_text(
        "slice,predicted,probability,probability_meningioma,probability_glioma,probability_pituitary tumour\n"
        "0,glioma,0.8,0.1,0.8,0.1\n1,glioma,0.6,0.3,0.6,0.1\n"
    )
    assert writer.write("sub/new", torch.tensor([[0.2, 0.3, 0.5]])) == "sub/new_probabilities.csv"
    writer.write_table()
    rows = list(csv.DictReader((tmp_path / "probabilities.csv").open()))
    assert [(row["name"], row["slices"], row["predicted"]) for row in rows] == [
        ("old", "2", "glioma"),
        ("sub/new", "1", "pituitary tumour"),
    ]
    assert float(rows[0]["probability_meningioma"]) == pytest.approx(0.2)
    assert done == [("sub/new", ["sub/new_probabilities.csv"])]
    assert [rows[0][f"slices_{name}"] for name in NAMES] == ["0", "2", "0"]
    with pytest.raises(ValueError, match=r"x: the probabilities have shape \(1, 2\), but there are 3 classes"):
        writer.write("x", torch.ones(1, 2))


def test_the_table_has_the_inputs_of_all_rounds(tmp_path: Path) -> None:
    """An inference goes on with a second run of its evaluator after an input at which the first failed."""
    engine = Engine(lambda _, batch: [{"pred": torch.tensor([[0.2, 0.3, 0.5]])} for _ in batch])
    ProbabilityWriter(str(tmp_path), NAMES).attach(engine)
    for names in ("ab", "c"):
        engine.run([[{"name": name}] for name in names])
    assert [row["name"] for row in csv.DictReader((tmp_path / "probabilities.csv").open())] == ["a", "b", "c"]


def test_probabilities_of_a_cases_slices_have_their_numbers(tmp_path: Path) -> None:
    writer = ProbabilityWriter(str(tmp_path), ["a", "b"])
    file = writer.write("sub/Case-1", torch.tensor([[0.25, 0.75], [0.5, 0.5]]), torch.tensor([17, 18]))
    rows = list(csv.DictReader((tmp_path / file).open()))
    assert [(row["case"], row["slice"], row["predicted"]) for row in rows] == [
        ("Case-1", "17", "b"),
        ("Case-1", "18", "a"),
    ]
    with pytest.raises(ValueError, match="zip"):
        writer.write("other", torch.ones(2, 2) / 2, torch.tensor([17]))


def test_slices_with_classes_of_their_own_leave_patients_unscored(tmp_path: Path) -> None:
    rows = [{"id": f"a:{n}", "patient_group": "ab"[n % 2], "label": n % 3} for n in range(6)]
    logits = np.eye(3)[[n % 3 for n in range(6)]] * 5.0
    # of a user's own slices nobody said so: the evaluation ended without a word on what to do
    summary, table = write_classification_report(rows, logits, tmp_path / "told", NAMES, n_bootstrap=20)
    assert summary["patients"] is None and summary["slices"]["accuracy"] == 1
    assert table.splitlines()[-1] == "No scores of patients: slices of 2 patients have several classes (a, b)."
    summary, table = write_classification_report(
        rows, logits, tmp_path / "out", NAMES, per_patient=False, n_bootstrap=20
    )
    assert summary["patients"] is None and summary["slices"]["accuracy"] == 1 and summary["n_patients"] == 2
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "probabilities.csv",
        "summary.json",
        "confusion_slices.png",
    }
    assert "slices" in table.splitlines()[0] and "patients" not in table.splitlines()[0]


def test_logits_that_overflowed_are_no_class() -> None:
    network = Brightness()
    with torch.no_grad():
        network.conv.weight.fill_(torch.inf)
    collected = CollectLogits()
    run = evaluator(network, items(6), [])
    collected.attach(run)
    with pytest.raises(ValueError, match="0: the network gave values that are not numbers.*set amp to false"):
        run.run()
